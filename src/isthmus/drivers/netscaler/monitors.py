"""Monitors of our own: one for each check and protocol, shared by all service groups that ask in that way.

They hold nothing by themselves, so none is a resource: they are made before a group needs them, and removed when none does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isthmus.drivers.netscaler.names import Names
from isthmus.drivers.netscaler.nitro import Meaning, Nitro, Row
from isthmus.drivers.netscaler.observe import Known
from isthmus.model.resources import VirtualServer

__all__ = ["make_monitors", "remove_monitors"]


async def make_monitors(
    nitro: Nitro, names: Names, known: Known, servers: Sequence[VirtualServer], may_write: Callable[[], None]
) -> dict[str, str]:
    """Make the monitors that ``servers`` need and that are not there; return why some servers cannot have theirs."""
    wanted: dict[str, Row] = {}
    for server in servers:
        if server.check is not None:
            name = names.monitor(server.check, server.protocol)
            if name not in known.monitors:
                wanted[name] = {
                    "monitorname": name,
                    "type": "TCP" if server.protocol == "tcp" else "PING",
                    "interval": server.check.interval,
                    "resptimeout": server.check.timeout,
                    "retries": server.check.failures,
                }
    if not wanted:
        return {}
    may_write()
    failed: dict[str, str] = {}
    for name, result in zip(wanted, await nitro.add("lbmonitor", list(wanted.values())), strict=True):
        if result.done or (result.error is not None and result.error.meaning is Meaning.EXISTS):
            known.monitors |= {name}
        else:
            failed[name] = str(result.error or result.why)
    return {
        server.identity: failed[name]
        for server in servers
        if server.check is not None and (name := names.monitor(server.check, server.protocol)) in failed
    }


async def remove_monitors(nitro: Nitro, known: Known) -> None:
    """Remove those of our monitors that no service group was bound to when everything was looked at last."""
    idle = sorted(known.idle_monitors)
    if idle:
        rows: list[Row] = [
            {"monitorname": name, "type": "TCP" if "_tcp_" in name.removeprefix("isth") else "PING"} for name in idle
        ]
        await nitro.remove("lbmonitor", rows)
        known.monitors -= known.idle_monitors
        known.idle_monitors = frozenset()
