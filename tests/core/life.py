"""A machine that plays random lives of one device; ``test_life.py`` says of which devices.

The machine changes a small world, the device and the planner's knowledge, and makes passes as the device's worker does:
keyed where scopes are dirty, whole where somebody else moved something or a change did not end well. At each pass it asks:

- is a keyed plan the plan of a fresh planner that looks at everything?
- does it make before it breaks, delete nothing it cannot know about, and leave foreign things alone?
- is the state on the device what the present world alone says, as a device that saw none of this would have it?
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_interface
from typing import Any, ClassVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from isthmus.drivers.base import Outcome
from isthmus.drivers.memory import Fault, lose_reply, raise_error, refuse
from isthmus.errors import DeviceUnreachable
from isthmus.model.facts import DeviceFacts, DeviceTraits
from isthmus.model.kinds import vip_name
from isthmus.model.plan import Plan, Scope
from isthmus.model.resources import AnyResource, Partial

from .places import NODES, OWN_NODE, SERVICES, VIPS, nodes, own_node, services, slices
from .rig import FACTS, Rig, drive, vip

OVERLAY = {"networks": ["10.200.0.0/24", "fd99::/64"]}
FOREIGN = (
    "policy-route 192.0.2.2 10.244.1.0/24",
    "policy-route 10.200.0.254 10.244.2.0/24",
    "route 10.244.1.0/24",
    "route fd00:1::/64",
    "fdb isth7700 0a:58:00:00:00:01",
    "neighbor isthf1 10.244.1.0",
    "vxlan 7700/7700",
    "vxlan 1/8472",
    "vip 192.0.2.1",
)
NEEDED = {"node": {"nodes"}, "link": {"nodes"}, "service": {"nodes", "services", "endpointslices"}}


def position(change: Any) -> tuple[bool, int]:
    rank = change.resource.rank
    return (True, -rank) if change.action == "delete" else (False, rank)


class Life(RuleBasedStateMachine):
    """One device, one cluster, a link whose path is the subclass's, and now and then a second link by another path."""

    path: ClassVar[str] = "direct"
    traits: ClassVar[tuple[DeviceTraits, ...]] = (DeviceTraits(),)
    networks: ClassVar[tuple[str, ...]] = ()
    by_source: ClassVar[bool] = False
    overlay: ClassVar[dict[str, Any]] = OVERLAY
    addresses: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(
            self.path,
            link={"overlay": self.overlay, "podNetworks": list(self.networks), **self.sources("lab", self.path)},
            device={"deletes": {"floor": 100000}},
            facts=self.facts(self.traits[0]),
        )
        self.dirty: set[Scope] = set()
        self.whole = True
        self.ordered = False

    def facts(self, traits: DeviceTraits) -> DeviceFacts:
        lo, eth0 = FACTS.interfaces
        more = tuple(ip_interface(text) for text in self.addresses)
        return DeviceFacts((lo, msgspec.structs.replace(eth0, addresses=(*eth0.addresses, *more))), traits)

    def sources(self, link: str, path: str) -> dict[str, Any]:
        """Return what a link says about policy routes, if this life has them: each link has addresses of its own."""
        if not self.by_source:
            return {}
        own = {"lab": ["192.0.2.2", "2001:db8::2", "192.0.2.3"], "more": ["192.0.2.4"]}[link]
        return {"policyRoutes": {"sources": own} if path == "direct" else {}}

    @initialize(names=st.sets(st.sampled_from(NODES)), data=st.data())
    def begin(self, names: set[str], data: st.DataObject) -> None:
        world = self.rig.world
        world.device_addresses["lab", "gw"] = (ip_interface("10.200.0.254/24"), ip_interface("fd99::ffff/64"))
        for name in sorted(names):
            self.rig.put(data.draw(nodes(name)))
        for key in SERVICES:
            self.rig.put(data.draw(services(key)), data.draw(slices(key, f"{key.split('/')[1]}-1")))
        self.rig.put(
            vip("192.0.2.100", "shop/web"), vip("2001:db8::100", "shop/web"), vip("203.0.113.10", "shop/api")
        )
        if self.path == "flannel":
            self.rig.put(data.draw(own_node()))

    # --- the cluster ------------------------------------------------------------------------------------------------

    def doubtful(self, *kinds: str) -> bool:
        """Say whether the informers of ``kinds`` keep what they have instead of believing what they hear."""
        return any(kind in self.rig.world.view("east").suspect for kind in kinds)

    @precondition(lambda self: not self.doubtful("nodes"))
    @rule(name=st.sampled_from(NODES), data=st.data())
    def node_is(self, name: str, data: st.DataObject) -> None:
        self.dirty |= self.rig.put(data.draw(nodes(name)))

    @precondition(lambda self: not self.doubtful("nodes"))
    @rule(name=st.sampled_from((*NODES, OWN_NODE)))
    def node_goes(self, name: str) -> None:
        self.dirty |= self.rig.world.put_node("east", name, None)

    @precondition(lambda self: self.path == "flannel" and not self.doubtful("nodes"))
    @rule(data=st.data())
    def own_node_is(self, data: st.DataObject) -> None:
        self.dirty |= self.rig.put(data.draw(own_node()))

    @precondition(lambda self: not self.doubtful("services"))
    @rule(key=st.sampled_from(SERVICES), data=st.data())
    def service_is(self, key: str, data: st.DataObject) -> None:
        self.dirty |= self.rig.put(data.draw(services(key)))

    @precondition(lambda self: not self.doubtful("services"))
    @rule(key=st.sampled_from(SERVICES))
    def service_goes(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        self.dirty |= self.rig.world.put_service("east", (namespace, name), None)

    @precondition(lambda self: not self.doubtful("endpointslices"))
    @rule(key=st.sampled_from(SERVICES), number=st.integers(1, 2), there=st.booleans(), data=st.data())
    def slice_is(self, key: str, number: int, there: bool, data: st.DataObject) -> None:
        namespace, _, name = key.partition("/")
        if there:
            self.dirty |= self.rig.put(data.draw(slices(key, f"{name}-{number}")))
        else:
            self.dirty |= self.rig.world.put_slice("east", (namespace, f"{name}-{number}"), None)

    @rule(address=st.sampled_from(VIPS), holder=st.sampled_from((*SERVICES, None, "gone")))
    def claim_is(self, address: str, holder: str | None) -> None:
        name = vip_name(ip_address(address))
        self.dirty |= self.rig.world.put_vip(name, None if holder == "gone" else vip(address, holder))

    # --- the user's kinds; each edit dirties its links, as following the configuration does -------------------------

    @rule(selected=st.booleans(), tunnel=st.sampled_from(((), ("192.0.2.1",), ("2001:db8::1",), ("198.51.100.1",))))
    def edit(self, selected: bool, tunnel: tuple[str, ...]) -> None:
        selector = {"matchExpressions": [{"key": "edge", "operator": "DoesNotExist"}]} if selected else {}
        self.rig.kind(
            "EdgeDevice",
            "gw",
            {"driver": "memory", "deletes": {"floor": 100000}, "tunnelAddresses": list(tunnel)},
        )
        spec = {
            "path": self.path,
            "overlay": self.overlay,
            "podNetworks": list(self.networks),
            "nodeSelector": selector,
        }
        self.link("lab", spec | self.sources("lab", self.path))

    @rule(address=st.sampled_from(((), ("10.200.0.254/24",), ("10.200.0.254/24", "fd99::ffff/64"))))
    def overlay_address(self, address: tuple[str, ...]) -> None:
        self.rig.world.device_addresses["lab", "gw"] = tuple(ip_interface(text) for text in address)
        self.dirty.add(Scope("link", "lab"))

    @rule(path=st.sampled_from(("direct", "overlay", None)))
    def second_link(self, path: str | None) -> None:
        if path is not None:
            vxlan = {"networks": ["10.201.0.0/24"], "vni": 7701, "port": 7701}
            spec = {"path": path, "overlay": vxlan, "nodeGracePeriod": "1s"}
            self.link("more", spec | self.sources("more", path))
        elif "more" in self.rig.world.links:
            self.link("more", {"path": "direct"}, deletionTimestamp="2024-01-01T00:00:00Z")
            self.rig.forgive()
            self.rig.settle()
            del self.rig.world.links["more"]  # its finalizer kept it until all of it was gone
            self.whole = True

    def link(self, name: str, spec: dict[str, Any], **metadata: Any) -> None:
        self.rig.kind("ClusterLink", name, {"cluster": "east", "devices": ["gw"], **spec}, **metadata)
        self.dirty.add(Scope("link", name))

    # --- knowledge --------------------------------------------------------------------------------------------------

    @rule(
        kind=st.sampled_from(("nodes", "services", "endpointslices")),
        what=st.sampled_from(("pending", "suspect", "")),
    )
    def knowledge(self, kind: str, what: str) -> None:
        view = self.rig.world.view("east")
        if what == "pending":
            view.pending.add(kind)
        elif what == "suspect":
            view.suspect[kind] = "an empty list after a full one"
        else:
            view.pending.clear()
            view.suspect.clear()
            self.whole = True  # what was held in doubt is judged anew

    @rule(seconds=st.sampled_from((1, 5, 40, 1000)))
    def time_passes(self, seconds: int) -> None:
        self.rig.now += seconds
        self.dirty |= set(self.rig.planner.due(self.rig.now))

    @rule()
    def restart(self) -> None:
        self.rig.planner = self.rig.fresh(remember=self.rig.planner)
        self.whole = True

    # --- the device ---------------------------------------------------------------------------------------------------

    @rule(identity=st.sampled_from(FOREIGN), there=st.booleans())
    def foreigner(self, identity: str, there: bool) -> None:
        driver = self.rig.driver
        if identity.startswith("vxlan "):
            # One per IP version: where only one is taken, a tunnel of ours that stood in the other stays there.
            self.vxlans(identity, there)
        elif not there:
            driver.unplant(identity)
        elif not (identity.startswith("vip ") and any(identity[4:] in key for key in driver.resources)):
            driver.plant(identity, f"somebody's {identity}")
        self.whole = True

    def vxlans(self, identity: str, there: bool) -> None:
        driver = self.rig.driver
        for family in ("ipv4", "ipv6"):
            if not there:
                driver.unplant(f"{identity} {family}")
            elif not any(key.startswith("tunnel ") for key in driver.resources):
                driver.plant(f"{identity} {family}", "somebody's VXLAN")

    @precondition(lambda self: len(self.traits) > 1)
    @rule(data=st.data())
    def device_becomes(self, data: st.DataObject) -> None:
        self.rig.driver.facts = self.facts(data.draw(st.sampled_from(self.traits)))
        self.whole = True

    @precondition(lambda self: self.rig.driver.resources)
    @rule(data=st.data())
    def drift(self, data: st.DataObject) -> None:
        self.rig.driver.lose(data.draw(st.sampled_from(sorted(self.rig.driver.resources))))
        self.whole = True

    @precondition(lambda self: self.rig.driver.resources)
    @rule(data=st.data())
    def half_lost(self, data: st.DataObject) -> None:
        """Somebody takes away one of the objects that a thing of ours is made of."""
        resource = self.rig.driver.resources[data.draw(st.sampled_from(sorted(self.rig.driver.resources)))]
        self.rig.driver.tamper(Partial(resource.identity, resource.rank, "one of its objects"))
        self.whole = True

    @rule(faults=st.lists(st.sampled_from(("lost", "lost request", "refused", "away", "away late")), max_size=3))
    def faults(self, faults: list[str]) -> None:
        made: dict[str, Callable[[], Fault]] = {
            "lost": lose_reply,
            "lost request": lambda: lose_reply(carried_out=False),
            "refused": refuse,
            "away": raise_error,
            "away late": lambda: raise_error(carried_out=True),
        }
        self.rig.driver.fail_next(*(made[name]() for name in faults))

    # --- passes -------------------------------------------------------------------------------------------------------

    @rule()
    def make_pass(self) -> None:
        rig = self.rig
        if self.whole:
            plan = rig.full()
        else:
            witness = rig.fresh(remember=rig.planner).full(rig.now) if self.all_known() else None
            plan = rig.planner.keyed(self.dirty, rig.now)
            if witness is not None:
                assert plan.changes == witness.changes, "a keyed pass comes to what a look at everything comes to"
        self.whole, self.dirty = False, set()
        self.check(plan)
        self.carry_out(plan)

    def all_known(self) -> bool:
        view = self.rig.world.view("east")
        return not view.pending and not view.suspect

    def check(self, plan: Plan) -> None:
        positions = [position(change) for change in plan.changes]
        assert positions == sorted(positions), "creates and updates by rising rank, then deletes by falling rank"
        assert len({change.identity for change in plan.changes}) == len(plan.changes), "one change per identity"
        view = self.rig.world.view("east")
        for change in plan.changes:
            if change.action != "delete":
                continue
            for scope in change.scopes:
                link = self.rig.world.links.get(scope.link)
                assert link is not None, "absence from the configuration deletes nothing"
                if link.metadata.deletion_timestamp is None:
                    unsure = view.pending | view.suspect.keys()
                    assert not unsure & NEEDED[scope.kind], "what is not known for sure deletes nothing"

    def carry_out(self, plan: Plan) -> None:
        foreign = dict(self.rig.driver.foreign)
        try:
            outcomes = self.rig.apply(plan)
        except DeviceUnreachable:
            self.whole = True
            return
        finally:
            assert self.rig.driver.foreign == foreign, "foreign things stay as they are"
        self.after(outcomes)

    def after(self, outcomes: list[Outcome]) -> None:
        unknown = {outcome.change.identity for outcome in outcomes if outcome.result == "unknown"}
        if unknown:
            seen = drive(self.rig.driver.observe(unknown))
            self.rig.planner.see(seen.resources, seen.foreign, None, unknown)
        if any(outcome.result != "done" or outcome.disturbed for outcome in outcomes):
            self.whole = True

    # --- laws ---------------------------------------------------------------------------------------------------------

    @invariant()
    def bounded(self) -> None:
        """Nothing is remembered of what is neither wanted nor there, once everything was looked at."""
        planner = self.rig.planner
        if not self.whole:
            assert planner.owners.keys() <= set(planner.wishes.identities()) | planner.observed.keys()

    @precondition(lambda self: self.all_known())
    @rule()
    def settles_to_what_the_world_says(self) -> None:
        rig = self.rig
        rig.forgive()
        rig.settle()
        self.whole, self.dirty = False, set()
        assert rig.fresh().full(rig.now).lines()[:-1] == self.said(), (
            "a restart in sync writes nothing, and says the same"
        )
        stranger = self.elsewhere()
        assert rig.holds() == stranger, "the state is a function of the world, not of the way there"

    def said(self) -> list[str]:
        plan = self.rig.full()
        assert plan.empty, plan.lines()
        return plan.lines()[:-1]

    def elsewhere(self) -> dict[str, AnyResource]:
        """Return what a device holds that sees only the present world, told in another order."""
        here, there = self.rig.world, Rig()
        there.now = self.rig.now
        there.driver.facts = self.rig.driver.facts
        there.driver.foreign.update(self.rig.driver.foreign)
        there.world.devices, there.world.links = dict(here.devices), dict(here.links)
        there.world.device_addresses = dict(here.device_addresses)
        view = here.view("east")
        for claim in sorted(here.vips, reverse=True):
            there.world.put_vip(claim, here.vips[claim])
        for found in sorted(view.slices, reverse=True):
            there.put(*(facts for _, facts in sorted(view.slices[found].items(), reverse=True)))
        there.put(*(view.services[key] for key in sorted(view.services, reverse=True)))
        there.put(*(view.nodes[name] for name in sorted(view.nodes, reverse=True)))
        there.settle()
        return there.holds()

    def teardown(self) -> None:
        self.rig.world.view("east").pending.clear()
        self.rig.world.view("east").suspect.clear()
        self.settles_to_what_the_world_says()
