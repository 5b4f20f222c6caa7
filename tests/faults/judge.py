"""The judge: what must never happen on the way, and what must be so in the end.

On the way: no delete on ignorance, nothing of somebody else's touched, no write of a controller whose time is over, no
address with two owners, none that moves unasked. In the end: the gateway holds what it should, every Service says so, claims
and Services agree, and nobody writes any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from faults.api import Json, Key
from faults.gateway import Gateway
from faults.objects import pieces, wanted
from faults.outside import CLASS, Edge, Outside
from faults.seam import Process
from faults.truth import DEVICE, LINK
from faults.virtual import CLOCK
from isthmus.kube.parse import SERVED_CONDITION
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource

if TYPE_CHECKING:
    from faults.netscaler import NetScaler

_NEWS = 60.0
"""Seconds that news may be under way: a process was stopped, or a request hung."""
_LATE = 150.0
"""The same where it was stopped several times."""
ATTACHMENT = f"isthmus.dev/overlay.{LINK}"


class Judge:
    """Sees every change of the gateway, of the API and of the claims; ``wrongs`` is what must not have happened."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.wrongs: list[str] = []
        self.writes = 0
        self.outside: Outside | None = None
        self._epoch = 0
        self._tell = tell
        self._made: dict[str, float] = {}
        self._gone: dict[str, float] = {}
        self._claimed: dict[str, float] = {}
        self._turned: dict[str, float] = {}
        self._shown: dict[str, tuple[str, ...]] = {}

    def wrong(self, text: str) -> None:
        """Note a broken law."""
        self.wrongs.append(f"{CLOCK.monotonic() - 1000:.2f} s: {text}")
        self._tell(f"WRONG  {text}")

    # --- on the way ---------------------------------------------------------------------------------------------

    def change(self, change: Change, gateway: Gateway, process: Process, epoch: int) -> None:
        """Judge one change of the gateway before it takes effect."""
        self._tell(f"{process.name:6} {change.describe()}")
        self._write(process, epoch, change.identity)
        if change.identity in gateway.memory.foreign and change.action == "delete":
            self.wrong(f"{change.identity} is somebody else's and is deleted")
        now = CLOCK.monotonic()
        if change.after is not None:
            # What comes back after it has just gone is still the old news: a process may have been stopped in between.
            if change.identity not in gateway.resources and now - self._gone.get(change.identity, 0.0) > _NEWS:
                self._made[change.identity] = now
            return
        self._gone[change.identity] = now
        if change.identity in gateway.resources and not self._was_unwanted(change.identity, gateway):
            self.wrong(f"{change.identity} is deleted on ignorance: it was wanted ever since it was made")

    def _write(self, process: Process, epoch: int, what: str) -> None:
        self.writes += 1
        if epoch < self._epoch:
            self.wrong(f"{process.name} writes {what} in epoch {epoch}, and {self._epoch} has begun")
        self._epoch = max(epoch, self._epoch)
        if process.dead:
            self.wrong(f"{process.name} is dead and writes {what}")

    def _was_unwanted(self, identity: str, gateway: Gateway) -> bool:
        return any(wanted is not None and identity not in wanted for wanted in self._wanted_since(identity, gateway))

    def _wanted_since(self, made: str, edge: Edge) -> Iterator[dict[str, AnyResource] | None]:
        """Yield what should have stood there at each moment since ``made`` was, the latest first."""
        assert self.outside is not None, "the outside is made with the judge"
        for moment in self.outside.history.since(self._made.get(made, 0.0)):
            yield moment.wanted(edge.facts, edge.foreign, CLOCK.wall() - CLOCK.skew)

    # --- on the way, on a NetScaler -----------------------------------------------------------------------------

    def asked(self, process: Process, what: str) -> None:
        """Note a request that asks for a change, whatever came of it."""
        self.writes += 1
        self._tell(f"{process.name:6} {what}")

    def changed(self, process: Process, what: str) -> None:
        """Judge a request that has changed something: whose turn it was."""
        self.writes -= 1
        self._write(process, process.epoch, what)

    def made(self, key: tuple[str, ...]) -> None:
        """Note that an object came to stand there."""
        now, name = CLOCK.monotonic(), " ".join(key)
        if now - self._gone.get(name, 0.0) > _NEWS:
            self._made[name] = now

    def removed(self, process: Process, key: tuple[str, ...], edge: NetScaler) -> None:
        """Judge that an object was removed by name: it must have been unwanted at some time."""
        name = " ".join(key)
        self._gone[name] = CLOCK.monotonic()
        for resources in self._wanted_since(name, edge):
            if resources is not None and key not in pieces(wanted(resources)):
                return
        if key[0] == "member" and self._is_over(key, edge):
            return
        self.wrong(f"{process.name}: {name} is deleted on ignorance: it was wanted ever since it was made")

    def _is_over(self, member: tuple[str, ...], edge: NetScaler) -> bool:
        """Say whether a member's node has been silent for longer than its grace, by the true clock or the controller's."""
        assert self.outside is not None, "the outside is made with the judge"
        for moment in self.outside.history.since(CLOCK.monotonic() - _NEWS):
            for now in {CLOCK.wall(), CLOCK.wall() - CLOCK.skew}:
                resources = moment.wanted_now(edge.facts, edge.foreign, now)
                if resources is not None and member not in pieces(wanted(resources)):
                    return True
        return False

    def claim(self, name: str) -> None:
        """Note that a claim was made."""
        self._claimed[name] = CLOCK.monotonic()

    def release(self, name: str) -> None:
        """Judge that a claim is given back: its Service must have been without need of it at some time."""
        assert self.outside is not None, "the outside is made with the judge"
        for claim in self.outside.history.moments[-1].memory.claims:
            if claim.name != name or claim.spec.holder is None:
                continue
            key = (claim.spec.holder.namespace, claim.spec.holder.service)
            uids = set()
            for moment in self.outside.history.since(self._claimed.get(name, 0.0)):
                stored = moment.objects["services"].get(key)
                obj = stored.read() if stored is not None else None
                uids.add(obj["metadata"]["uid"] if obj is not None and _asks(obj) else None)
            if None not in uids:
                self.wrong(f"{name} is given back although {'/'.join(key)} asked for it ever since it was claimed")

    def written(self, kind: str, key: Key, before: Json | None, after: Json | None) -> None:
        """Judge a change in the API, whoever made it."""
        if kind == "services":
            self._service(key, before, after)
        if kind == "nodes" and before is not None and after is not None:
            had = (before["metadata"].get("annotations") or {}).get(ATTACHMENT)
            has = (after["metadata"].get("annotations") or {}).get(ATTACHMENT)
            if had is not None and has is None:
                self.wrong(f"node {key[1]} is taken off its overlay, and nobody said so")

    def _service(self, key: Key, before: Json | None, after: Json | None) -> None:
        assert self.outside is not None, "the outside is made with the judge"
        if after is None or not _asks(after):
            uid = (before or after or {})["metadata"]["uid"]
            self._shown.pop(uid, None)
            self._turned[uid] = CLOCK.monotonic()
            return
        uid, shown = after["metadata"]["uid"], _shown(after)
        if CLOCK.monotonic() - self._turned.get(uid, -_LATE) < _LATE:
            return  # it asked for no address lately, so what it shows may still be taken back
        had = self._shown.get(uid, ())
        if had and shown and set(had) != set(shown):
            self.wrong(f"the address of {'/'.join(key)} moves from {', '.join(had)} to {', '.join(shown)}")
        if had and not shown:
            self.wrong(f"{'/'.join(key)} loses its address {', '.join(had)}, and keeps asking for one")
        if shown:
            self._shown[uid] = shown
        for other, stored in self.outside.api.objects["services"].items():
            rival = stored.read() if other != key else None
            if rival is not None and _asks(rival) and set(_shown(rival)) & set(shown):
                self.wrong(f"{'/'.join(key)} and {'/'.join(other)} both show {', '.join(shown)}")

    # --- in the end ---------------------------------------------------------------------------------------------

    def amiss(self) -> list[str]:
        """Return what is not yet as it should be."""
        outside = self.outside
        assert outside is not None, "the outside is made with the judge"
        outside.note(memory=True)
        moment = outside.history.moments[-1]
        edge = outside.edge
        wanted = moment.wanted(edge.facts, edge.foreign, CLOCK.wall())
        if wanted is None:
            return ["no path is chosen"]
        return edge.amiss(wanted) + self._services(moment) + self._nodes(outside)

    def _services(self, moment: Any) -> list[str]:
        held: dict[Key, list[str]] = {}
        for claim in moment.memory.claims:
            held.setdefault((claim.spec.holder.namespace, claim.spec.holder.service), []).append(
                str(claim.spec.address)
            )
        pools = [kind for kind in moment.kinds if type(kind).__name__ == "AddressPool"]
        room = sum(pool.spec.size(4) for pool in pools)
        found = []
        services = {key: stored.read() for key, stored in moment.objects["services"].items()}
        for key in sorted(held.keys() | services.keys()):
            obj = services.get(key)
            asks = obj is not None and _asks(obj)
            name, own = "/".join(key), held.get(key, [])
            if not asks:
                if own:
                    found.append(f"{', '.join(own)} is still claimed for {name}")
                if obj is not None and _shown(obj):
                    found.append(f"{name} still shows {', '.join(_shown(obj))}")
                continue
            if not own and len(moment.memory.claims) < room:
                found.append(f"{name} has no address, and there are free ones")
            if len(own) > 1:
                found.append(f"{name} has two addresses: {', '.join(own)}")
            if obj is not None and sorted(_shown(obj)) != sorted(own):
                found.append(f"{name} shows {_shown(obj)} and has {own}")
            if own and obj is not None and _said(obj) not in ("Served", "NoEndpoints", "PartlyServed"):
                found.append(f"{name} has {own} and says {_said(obj) or 'nothing'}")
        return found

    def _nodes(self, outside: Outside) -> list[str]:
        if outside.path == "flannel":
            own = outside.api.get("nodes", f"isthmus-{LINK}-{DEVICE}")
            return (
                []
                if own is not None and own["spec"].get("podCIDR")
                else ["no Node with a pod CIDR stands for the gateway"]
            )
        if outside.path not in ("overlay", "policy"):
            return []
        return [
            f"node {name} has no place on the overlay"
            for (_, name), stored in sorted(outside.api.objects["nodes"].items())
            if ATTACHMENT not in (stored.read()["metadata"].get("annotations") or {})
        ]


def _asks(service: Json) -> bool:
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") == CLASS


def _shown(service: Json) -> tuple[str, ...]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return tuple(entry["ip"] for entry in ingress)


def _said(service: Json) -> str:
    conditions = (service.get("status") or {}).get("conditions") or []
    return next((str(entry["reason"]) for entry in conditions if entry["type"] == SERVED_CONDITION), "")
