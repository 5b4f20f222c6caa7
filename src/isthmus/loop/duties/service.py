"""Gives a Service its addresses, and says in the Service itself how it stands.

A claim is made in the store first and believed only then; the address appears in the Service's status once a device serves
it. What a Service no longer may have is given back, and whoever waits for an address is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

from isthmus.core.allocate import Allocator, Claim, Decision
from isthmus.core.services import is_ours
from isthmus.core.world import Holder
from isthmus.errors import KubeNotFound, StateError
from isthmus.kube.kinds import SERVICES
from isthmus.kube.parse import SERVED_CONDITION
from isthmus.loop.cluster import Context
from isthmus.loop.duties.echoes import Echoes
from isthmus.loop.duties.rivals import Rivals
from isthmus.model.claims import object_of
from isthmus.model.facts import ServiceFacts
from isthmus.model.kinds import VirtualIP, vip_name
from isthmus.model.kinds.kind import Metadata
from isthmus.model.kinds.vip import Holder as HolderPart
from isthmus.model.kinds.vip import VirtualIPSpec
from isthmus.model.plan import Scope
from isthmus.model.resources import IPAddress
from isthmus.telemetry import get_logger


class Taken(StateError):
    """The store says that somebody has that address; ``vip`` is the claim that stands."""

    def __init__(self, vip: VirtualIP) -> None:
        super().__init__(f"{vip.spec.address} is claimed by {vip.spec.holder or 'a reservation'}")
        self.vip = vip


class Claims(Protocol):
    """Where claims are kept: a name can be created once, whoever tries."""

    async def create(self, vip: VirtualIP) -> None:
        """Store the claim; raise :class:`Taken` if its name exists."""

    async def delete(self, vip: VirtualIP) -> None:
        """Remove the claim if it is still this holder's; one that is gone already is no error."""


class Tell(Protocol):
    """Says a Kubernetes Event on a Service; neither waits nor fails."""

    def __call__(self, service: ServiceFacts, reason: str, message: str, *, warning: bool) -> None: ...


class Service:
    """Looks at one Service (named ``namespace/name``)."""

    def __init__(
        self, context: Context, allocator: Allocator, claims: Claims, tell: Tell, freed: Callable[[], None]
    ) -> None:
        """``freed`` has every Service of every cluster looked at that waits for an address: pools are shared."""
        self._context = context
        self._allocator = allocator
        self._claims = claims
        self._tell = tell
        self._freed = freed
        self._log = get_logger("loop").bind(cluster=context.cluster)
        self.waiting: dict[str, str] = {}
        self._said: dict[str, tuple[str, str]] = {}
        self._rivals = Rivals()
        self._echoes = Echoes()
        self._uids: dict[str, str] = {}
        self._wrote: dict[str, tuple[str, str]] = {}

    async def look(self, name: str) -> float | None:
        """Claim, give back, and show what is true."""
        namespace, _, service_name = name.partition("/")
        holder: Holder = (self._context.cluster, namespace, service_name)
        if self._allocator.doubt(self._context.cluster) is not None:
            return None  # looked at again once the cluster is read
        decision = self._allocator.decide(holder)
        try:
            with self._allocator.proposing(decision.claims):
                for claim in decision.claims:
                    await self._claim(claim)
        except Exception:
            self._freed()  # somebody may have been told meanwhile that nothing is free
            raise
        if (namespace, service_name) not in self._context.world.view(self._context.cluster).services:
            self._said.pop(name, None)  # one of the same name is another Service
            self._rivals.forget(name)
            self._echoes.forget(name)
            self._uids.pop(name, None)
            self._wrote.pop(name, None)
        service, ours = self._asked(holder)
        if service is not None and not ours:
            await self._take_back(service, name, holder)
        for vip in decision.release:
            await self._release(vip)
        if decision.refused:
            self.waiting[name] = "; ".join(refused.message for refused in decision.refused)
        else:
            self.waiting.pop(name, None)
        if service is not None and ours:
            return await self._show(service, name, holder, decision)
        return None

    def _asked(self, holder: Holder) -> tuple[ServiceFacts | None, bool]:
        """Return the Service, none if it is gone or going, and whether it asks for us."""
        cluster, namespace, name = holder
        service = self._context.world.view(cluster).services.get((namespace, name))
        kind = self._context.world.cluster_kinds.get(cluster)
        if service is None or kind is None or service.deleting:
            return None, False
        return service, is_ours(service, kind)

    async def _take_back(self, service: ServiceFacts, name: str, holder: Holder) -> None:
        """Take what we said out of a Service that is not ours any more, before its addresses are given back.

        What is in its status may also be another installation's, whose Service it is: that is never touched, or two
        controllers would take each other's words back for ever. Ours it is where we hold an address for the Service,
        or have spoken of it since we started.
        """
        if not self._context.world.addresses_of(holder) and name not in self._said:
            return
        if service.served is not None or service.ingress:
            await self._write(service, name, [], None)
        self._said.pop(name, None)

    async def _claim(self, claim: Claim) -> None:
        cluster, namespace, service = claim.holder
        vip = VirtualIP(
            metadata=Metadata(name=vip_name(claim.address)),
            spec=VirtualIPSpec(
                address=claim.address,
                pool=claim.pool,
                holder=HolderPart(cluster=cluster, namespace=namespace, service=service),
            ),
        )
        try:
            await self._claims.create(vip)
        except Taken as taken:
            # Somebody was faster; now we know, and the key comes back to decide anew.
            self._context.touch(self._context.world.put_vip(taken.vip.name, taken.vip))
            raise
        self._log.info(
            "address assigned", address=str(claim.address), pool=claim.pool, service=f"{namespace}/{service}"
        )
        self._context.touch(self._context.world.put_vip(vip.name, vip))
        facts = self._context.world.view(cluster).services.get((namespace, service))
        if facts is not None:
            self._tell(facts, "AddressAssigned", f"{claim.address} from pool {claim.pool}", warning=False)

    async def _release(self, name: str) -> None:
        vip = self._context.world.vips.get(name)
        if vip is None:
            return
        await self._claims.delete(object_of(vip))
        self._log.info("address given back", address=str(vip.address), was=vip.whose)
        self._context.touch(self._context.world.put_vip(name, None))
        self._allocator.forget()
        self._freed()

    def _scopes(self, names: Iterable[str]) -> set[Scope]:
        links = self._context.world.links_of_cluster(self._context.cluster)
        return {Scope("service", link.name, name) for link in links for name in names}

    async def _show(self, service: ServiceFacts, name: str, holder: Holder, decision: Decision) -> float | None:
        if self._uids.setdefault(name, service.uid) != service.uid:
            # Made anew under its old name, its status is empty because it is another object, not because of a rival.
            self._uids[name] = service.uid
            self._rivals.forget(name)
        held = self._context.world.addresses_of(holder)
        scopes = self._scopes([name])
        served = any(self._context.devices.serves(scope) for scope in scopes)
        state = self._state(held, decision, scopes, served=served)
        shown = [a for a in held if served or a in service.ingress]
        wish, standing = (tuple(shown), state), (service.ingress, service.served)
        if wish == standing:
            self._rivals.stands(name)
            self._echoes.forget(name)
            return None
        if wait := self._echoes.wait(name, wish, (service.uid, standing), self._context.now()):
            return wait
        if pause := self._rivals.pause(name, standing, self._context.now()):
            if self._rivals.is_news(name):
                self._log.warning("another controller writes a service's status", service=name, stands=str(standing))
                self._tell(
                    service,
                    "StatusContested",
                    "another controller takes back what we write here, so we write no more for five minutes; give one of "
                    "the two another class (spec.loadBalancer.class of its KubeCluster)",
                    warning=True,
                )
            return pause
        await self._write(service, name, shown, state)
        self._rivals.wrote(name, wish, standing)
        self._echoes.wrote(name, wish, (service.uid, standing), self._context.now())
        if state[0] == "True":
            self._said.pop(name, None)  # should the same trouble come back, that is news
        elif self._said.get(name) != (state[1], state[2]):
            self._said[name] = (state[1], state[2])
            if state[1] != "Programming":
                self._tell(service, state[1], state[2], warning=True)
        return None

    def _state(
        self, held: list[IPAddress], decision: Decision, scopes: set[Scope], *, served: bool
    ) -> tuple[str, str, str]:
        """Return status, reason and message of our condition."""
        if decision.refused:
            return "False", decision.refused[0].reason, "; ".join(refused.message for refused in decision.refused)
        if not held:
            return "False", "NoAddress", "no address is assigned yet"
        complaints = sorted({found for scope in scopes if (found := self._context.devices.complaint(scope))})
        if served:
            addresses = ", ".join(str(address) for address in held)
            if not self._context.devices.has_members(scopes):
                return "False", "NoEndpoints", f"{addresses}: no endpoint is ready; clients are refused"
            if complaints:
                return "True", "PartlyServed", f"{addresses}: {'; '.join(complaints)}"
            return "True", "Served", addresses
        if complaints:
            return "False", "NotServed", "; ".join(complaints)
        return "False", "Programming", "no device serves it yet"

    async def _write(
        self, service: ServiceFacts, name: str, shown: list[IPAddress], state: tuple[str, str, str] | None
    ) -> None:
        """Write a status over the very state of the Service that it was decided for, or raise KubeConflict.

        A process may be stopped with this request in hand until another one leads. No API knows of epochs; but whatever the
        other has written since, or anybody has asked for, has another version, and the old words come to nothing.
        """
        status: dict[str, Any] = {
            "loadBalancer": {"ingress": [_ingress(address) for address in shown]} if shown else {},
        }
        if state is not None:
            changed = service.served is None or service.served[0] != state[0] or not service.served_since
            since = _stamp(self._context.now()) if changed else service.served_since
            status["conditions"] = [
                {
                    "type": SERVED_CONDITION,
                    "status": state[0],
                    "reason": state[1],
                    "message": state[2],
                    "lastTransitionTime": since,
                }
            ]
        # With the uid, one of the same name that was made meanwhile is not told what was meant for this one.
        metadata = {"name": service.name, "namespace": service.namespace, "uid": service.uid}
        if service.version:
            # The watch may not have shown yet what we wrote over this version; that is no news to us.
            over, made = self._wrote.get(name, ("", ""))
            metadata["resourceVersion"] = made if over == service.version else service.version
        try:
            written = await self._context.client.apply_status(
                SERVICES,
                {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "status": status},
                force=True,
            )
        except KubeNotFound:
            return  # deleted meanwhile; the watch tells
        self._wrote[name] = (service.version, str((written.get("metadata") or {}).get("resourceVersion") or ""))


def _ingress(address: IPAddress) -> dict[str, str]:
    return {"ip": str(address)}


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
