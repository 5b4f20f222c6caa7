"""A world, a device in memory and a planner between them, driven by hand and without an event loop.

:class:`Rig` is what most tests of the core hold in their hands: change its ``world``, say which scopes are dirty, and look
at the plan or at what the device then holds. Law 2 is asked for wherever a plan is carried out.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar

from isthmus.core.planner import DevicePlanner
from isthmus.core.world import World
from isthmus.drivers.base import Outcome
from isthmus.drivers.memory import MemoryDriver
from isthmus.model.facts import DeviceFacts, Endpoint, Interface, NodeFacts, ServiceFacts, ServicePort, SliceFacts
from isthmus.model.kinds import AddressPool, ClusterLink, EdgeDevice, KubeCluster, VirtualIP, parse, vip_name
from isthmus.model.plan import Change, Plan, Scope
from isthmus.model.resources import AnyResource

T = TypeVar("T")

NOW = 1_700_000_000.0
FACTS = DeviceFacts(
    (
        Interface("lo", mtu=65536, addresses=(ip_interface("127.0.0.1/8"), ip_interface("::1/128"))),
        Interface("eth0", "02:00:00:00:00:01", 1500, (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))),
    )
)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing but its turn, as the device in memory's do."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def document(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return what a user would write."""
    return {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": dict(spec),
    }


def put_kind(world: World, written: Mapping[str, Any]) -> None:
    """Take one object of the user's, parsed as a file is."""
    parsed = parse(written)
    assert parsed.object is not None, [str(problem) for problem in parsed.problems]
    kind = parsed.object
    if isinstance(kind, KubeCluster):
        world.cluster_kinds[kind.name] = kind
    elif isinstance(kind, EdgeDevice):
        world.devices[kind.name] = kind
    elif isinstance(kind, ClusterLink):
        world.links[kind.name] = kind
    elif isinstance(kind, AddressPool):
        world.pools[kind.name] = kind
    elif isinstance(kind, VirtualIP):
        world.put_vip(kind.name, kind)


def node(name: str, address: str | Sequence[str] = (), pods: str | Sequence[str] = (), **rest: Any) -> NodeFacts:
    """Return a Node with InternalIPs and pod CIDRs in text."""
    addresses = [address] if isinstance(address, str) else address
    prefixes = [pods] if isinstance(pods, str) else pods
    rest.setdefault("uid", f"uid-{name}")
    return NodeFacts(
        name=name,
        addresses=tuple(ip_address(text) for text in addresses),
        pod_cidrs=tuple(ip_network(text) for text in prefixes),
        **rest,
    )


def service(key: str, *ports: int, **rest: Any) -> ServiceFacts:
    """Return a Service ``namespace/name`` of type LoadBalancer and our class, with TCP ports."""
    namespace, _, name = key.partition("/")
    rest.setdefault("load_balancer_class", "isthmus.dev/load-balancer")
    return ServiceFacts(
        namespace=namespace,
        name=name,
        type=rest.pop("type", "LoadBalancer"),
        ports=tuple(ServicePort(f"p{port}", "tcp", port) for port in ports),
        **rest,
    )


def endpoints(key: str, of: str, *found: Endpoint, ports: Iterable[int] = (80,), version: int = 4) -> SliceFacts:
    """Return an EndpointSlice ``namespace/name`` of the Service ``of``; port ``n`` is served on ``8000 + n``."""
    namespace, _, name = key.partition("/")
    return SliceFacts(
        namespace=namespace,
        name=name,
        service=of,
        version=version,
        ports=tuple((f"p{port}", "tcp", 8000 + port) for port in ports),
        endpoints=found,
    )


def vip(address: str, holder: str | None = None, *, cluster: str = "east", pool: str | None = None) -> VirtualIP:
    """Return a claim of ``address`` for the Service ``namespace/name``, or a reservation."""
    spec: dict[str, Any] = {"address": address}
    if pool is not None:
        spec["pool"] = pool
    if holder is None:
        spec["reservation"] = True
    else:
        namespace, _, name = holder.partition("/")
        spec["holder"] = {"cluster": cluster, "namespace": namespace, "service": name}
    parsed = parse(document("VirtualIP", vip_name(ip_address(address)), spec)).object
    assert isinstance(parsed, VirtualIP), "a claim parses"
    return parsed


class Rig:
    """One device ``gw``, one cluster ``east``, one link ``lab`` between them; everything read, unless told otherwise."""

    device = "gw"

    def __init__(
        self,
        path: str = "direct",
        *,
        link: Mapping[str, Any] | None = None,
        device: Mapping[str, Any] | None = None,
        facts: DeviceFacts = FACTS,
    ) -> None:
        self.world = World()
        self.world.config_doubt = None
        self.driver = MemoryDriver(facts=facts)
        self.now = NOW
        self.kind("KubeCluster", "east", {"inCluster": True})
        self.kind("EdgeDevice", "gw", {"driver": "memory", **(device or {})})
        self.kind("ClusterLink", "lab", {"cluster": "east", "devices": ["gw"], "path": path, **(link or {})})
        self.world.view("east").pending.clear()
        self.planner = self.fresh()

    def kind(self, kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> None:
        """Take one object as a user writes it."""
        put_kind(self.world, document(kind, name, spec, **metadata))

    def fresh(self, *, remember: DevicePlanner | None = None) -> DevicePlanner:
        """Return a new planner that has seen the device, as after a restart; it may remember owners from another."""
        planner = DevicePlanner(self.world, self.device, self.driver)
        if remember is not None:
            planner.owners.update(remember.owners)
        self.look(planner)
        return planner

    def look(self, planner: DevicePlanner | None = None) -> None:
        """Have a planner (ours by default) see everything on the device."""
        seen = drive(self.driver.observe())
        (planner or self.planner).see(seen.resources, seen.foreign, seen.facts)

    # --- passes ---------------------------------------------------------------------------------------------------

    def full(self) -> Plan:
        """Look and ask everything; change nothing."""
        self.look()
        return self.planner.full(self.now)

    def apply(self, plan: Plan) -> list[Outcome]:
        """Carry ``plan`` out and tell the planner, as the worker does."""
        return [self._told(outcome) for outcome in self.outcomes(plan.changes)]

    def outcomes(self, changes: Sequence[Change]) -> list[Outcome]:
        """Have the device carry out ``changes``."""

        async def collect() -> list[Outcome]:
            return [outcome async for outcome in self.driver.apply(changes)]

        return drive(collect())

    def _told(self, outcome: Outcome) -> Outcome:
        if outcome.result == "done":
            self.planner.carried_out(outcome.change, self.now)
        return outcome

    def settle(self) -> Plan:
        """Make full passes until nothing changes (a disturbing change needs a second one); return the first plan."""
        first = self.full()
        plan = first
        for _ in range(4):
            if plan.empty:
                return first
            self.apply(plan)
            plan = self.full()
        raise AssertionError(f"the device does not settle: {plan.lines()}")

    def touch(self, scopes: Iterable[Scope]) -> Plan:
        """Make a keyed pass over ``scopes`` and carry it out."""
        plan = self.planner.keyed(scopes, self.now)
        self.apply(plan)
        return plan

    def holds(self) -> dict[str, AnyResource]:
        """Return what the device holds of ours."""
        return dict(self.driver.resources)

    def forgive(self) -> None:
        """Let the device work from here on, whatever failures were planted."""
        self.driver._faults.clear()

    # --- facts ----------------------------------------------------------------------------------------------------

    def put(self, *facts: NodeFacts | ServiceFacts | SliceFacts | VirtualIP) -> set[Scope]:
        """Take facts of cluster ``east`` and claims; return the scopes that are dirty for it."""
        dirty: set[Scope] = set()
        for one in facts:
            if isinstance(one, NodeFacts):
                dirty |= self.world.put_node("east", one.name, one)
            elif isinstance(one, ServiceFacts):
                dirty |= self.world.put_service("east", one.key, one)
            elif isinstance(one, SliceFacts):
                dirty |= self.world.put_slice("east", one.key, one)
            else:
                dirty |= self.world.put_vip(one.name, one)
        return dirty
