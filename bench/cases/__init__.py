"""The benches by name. A plain table: each is a module with ``async def measure() -> list[Row]``."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CASES", "Case"]


class Case(NamedTuple):
    """Where a bench is, and whether it needs network namespaces."""

    module: str
    packets: bool = True


CASES: dict[str, Case] = {
    "nodes-5000": Case("nodes"),
    "node-join": Case("node_join"),
    "node-noop": Case("node_noop", packets=False),
    "services-cold": Case("services_cold"),
    "service-plus-one": Case("service_plus_one"),
    "restart": Case("restart"),
    "informer-5000": Case("informer", packets=False),
    "memory": Case("memory"),
    "dataplane": Case("dataplane"),
    "failover": Case("failover"),
    "netscaler": Case("netscaler", packets=False),
}
