"""What one device has heard of the nodes of one link, and what that means: who is silent, in which way, since when it counts.

A pure machine: questions come out, answers go in, with the time. Twice in a row is silence, once may be a lost packet. A
node that has just joined, or whose end of the path has just moved, has a few seconds before anything counts against it.

The one confusing thing is who is blamed. If nobody at all answers, no node is: the fault is the device's own or on the way
that all share, and is told once. And a pod that is silent on a node that answers is told as that: a policy may forbid it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from isthmus.core.reach import SMALL, Answer, End, Question, closer

Kind: TypeAlias = Literal["unreachable", "mtu", "pod"]
Way: TypeAlias = Literal["out", "back", ""]
KINDS: tuple[Kind, ...] = ("unreachable", "mtu", "pod")
GRACE = 5.0
"""Seconds for which silence does not count against a node that is new on the path."""
TWICE = 2
LONG_AT_ONCE = 1000
"""So many nodes are asked with a long packet in one turn, the others with a short one."""
CLOSER_AT_ONCE = 16
"""So many are asked what exactly gets lost, in one go."""


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong with a node, as a sentence that names it."""

    kind: Kind
    text: str


Common: TypeAlias = dict[int, Trouble]
"""What all nodes have in common, by IP version."""


class _Line:
    """What was heard from one node over one IP version; counts are misses in a row."""

    __slots__ = ("carries", "end", "full", "long", "pod", "pod_at", "pod_why", "small", "way", "why")

    def __init__(self, end: End) -> None:
        self.end = end
        self.small = self.long = self.pod = self.carries = 0
        self.why = self.pod_why = self.pod_at = ""
        self.way: Way = ""
        self.full = Answer(reached=False)

    @property
    def dead(self) -> bool:
        return self.small >= TWICE

    @property
    def narrow(self) -> bool:
        return self.long >= TWICE and not self.small

    @property
    def suspect(self) -> bool:
        return 0 < self.small < TWICE or 0 < self.long < TWICE


class _Node:
    __slots__ = ("ends", "heard", "lines", "since")

    def __init__(self, ends: tuple[End, ...], since: float) -> None:
        self.ends = ends
        self.since = since
        self.heard = False
        self.lines: dict[int, _Line] = {end.address.version: _Line(end) for end in ends}


class Silence:
    """All nodes of one link as one device hears them; ``remedy`` says what to do about an MTU."""

    def __init__(self, device: str, *, remedy: str = "") -> None:
        self.remedy = remedy
        self._device = device
        self._nodes: dict[str, _Node] = {}
        self._next_long = 0
        self._named: dict[str, Trouble] = {}

    # --- what to ask --------------------------------------------------------------------------------------------

    def follow(self, present: Mapping[str, tuple[End, ...]], now: float) -> None:
        """Take the nodes that take part now; what was heard of others, or at other ends, is forgotten."""
        for name in self._nodes.keys() - present.keys():
            del self._nodes[name]
        for name, found in present.items():
            known = self._nodes.get(name)
            if known is None or (known.ends is not found and known.ends != found):
                self._nodes[name] = _Node(found, now)

    def turn(self) -> list[tuple[str, list[Question]]]:
        """Return what to ask every node: an echo each, a long one where it is its turn or a long one was lost."""
        names = sorted(self._nodes)
        start = self._next_long % max(1, len(names))
        self._next_long = start + LONG_AT_ONCE
        asked = []
        for place, name in enumerate(names):
            turns = (place - start) % len(names) < LONG_AT_ONCE
            questions: list[Question] = []
            for line in self._nodes[name].lines.values():
                sizes = {SMALL, line.end.mtu} if line.long else {line.end.mtu if turns else SMALL}
                questions += line.end.ask(name, *sorted(sizes))
            asked.append((name, questions))
        return asked

    def again(self, names: Iterable[str]) -> list[Question]:
        """Return what to ask those of ``names`` at once that missed once: everything, and for some of them exactly what."""
        asked: list[Question] = []
        closely = CLOSER_AT_ONCE
        for name in names:
            for line in self._nodes[name].lines.values() if name in self._nodes else ():
                if not line.suspect:
                    continue
                asked += line.end.ask(name, *sorted({SMALL, line.end.mtu}))
                if line.long and line.end.mtu > SMALL and closely:
                    closely -= 1
                    asked += closer(name, line.end)
        return asked

    # --- what was heard -----------------------------------------------------------------------------------------

    def hear(self, answers: Mapping[Question, Answer], now: float) -> None:
        """Take answers to questions that were asked together."""
        together: dict[tuple[str, int], list[tuple[Question, Answer]]] = {}
        for question, answer in answers.items():
            together.setdefault((question.node, question.version), []).append((question, answer))
        for (name, version), heard in together.items():
            node = self._nodes.get(name)
            line = node.lines.get(version) if node is not None else None
            if node is None or line is None:
                continue
            counts = now - node.since >= GRACE
            echoes = {
                q.size: a for q, a in heard if q.role == "node" and not q.port and q.address == line.end.address
            }
            if echoes:
                node.heard = True
                _take_echoes(line, echoes, {q.size: a for q, a in heard if q.port}, counts=counts)
            for question, answer in heard:
                if question.role == "pod":
                    _take_pod(line, question, answer, counts=counts)

    # --- what it means ------------------------------------------------------------------------------------------

    @property
    def asked(self) -> int:
        """Return how many nodes have been asked at least once."""
        return sum(1 for node in self._nodes.values() if node.heard)

    @property
    def followed(self) -> int:
        """Return how many nodes there are to ask."""
        return len(self._nodes)

    def common(self) -> Common:
        """Return, by IP version, what all nodes (two at least) have in common: nobody is to blame for it."""
        found: Common = {}
        for version in (4, 6):
            lines = [n.lines[version] for n in self._nodes.values() if n.heard and version in n.lines]
            if len(lines) < 2:
                continue
            if all(line.dead for line in lines):
                why = Counter(line.why for line in lines).most_common(1)[0][0]
                text = (
                    f"none of {len(lines)} nodes answers over IPv{version}"
                    f" ({why}): look at {self._device} itself first, its address, its tunnel, its firewall"
                )
                found[version] = Trouble("unreachable", text)
            elif all(line.narrow for line in lines):
                text = (
                    f"packets of {lines[0].end.mtu} bytes get through to none of {len(lines)} nodes over IPv{version},"
                    f" short ones to all: the way that they share carries less{_carries(lines[0])}{self._way_out()}"
                )
                found[version] = Trouble("mtu", text)
        return found

    def troubles(self, common: Common) -> dict[str, Trouble]:
        """Return what is wrong per node; what all have in ``common`` is nobody's own."""
        found = {}
        for name, node in self._nodes.items():
            lines = [line for version, line in node.lines.items() if version not in common]
            trouble = self._trouble(name, lines)
            if trouble is not None:
                found[name] = trouble
        return dict(sorted(found.items()))

    def kinds(self, common: Common, troubles: Mapping[str, Trouble]) -> dict[str, int]:
        """Return how many nodes are in each kind of trouble, common or their own."""
        own: Counter[str] = Counter(trouble.kind for trouble in troubles.values())
        for trouble in common.values():
            own[trouble.kind] = max(own[trouble.kind], self.asked)
        return {kind: own[kind] for kind in KINDS}

    def _trouble(self, name: str, lines: list[_Line]) -> Trouble | None:
        dead = [
            f"its end of the path, {line.end.address}, does not answer {line.end.source} ({line.why})"
            for line in lines
            if line.dead
        ]
        if dead:
            return Trouble("unreachable", f"node {name}: {'; '.join(dead)}")
        narrow = [self._narrow(line) for line in lines if line.narrow]
        if narrow:
            return Trouble("mtu", f"node {name}: {'; '.join(narrow)}{self._way_out()}")
        mute = [
            f"a pod on it, {line.pod_at}, does not answer {line.end.source} ({line.pod_why})"
            for line in lines
            if line.pod >= TWICE
        ]
        return Trouble("pod", f"node {name}: {'; '.join(mute)}") if mute else None

    def _narrow(self, line: _Line) -> str:
        size = line.end.mtu
        if line.full.fragment:
            return (
                f"the way back, from it to {self._device}, carries less than the way out: an answer of {size} bytes comes"
                f" in pieces of {line.full.fragment}"
            )
        where = {
            "out": f"on the way out, from {self._device} to it",
            "back": f"on the way back, from it to {self._device}",
            "": "on the way out or back",
        }[line.way]
        return f"packets of {size} bytes are lost {where}, short ones pass ({line.full.why}){_carries(line)}"

    def _way_out(self) -> str:
        return f"; {self.remedy}" if self.remedy else ""

    # --- what is new --------------------------------------------------------------------------------------------

    def news(self, common: Common, troubles: Mapping[str, Trouble]) -> Iterator[tuple[str, Trouble | None]]:
        """Yield what changed since this was asked last: a name and its trouble, none for "well again"; "" is everybody."""
        now = {**troubles, **({"": next(iter(common.values()))} if common else {})}
        before, self._named = self._named, now
        for name in before.keys() - now.keys():
            if not name or name in self._nodes:
                yield name, None
        for name, trouble in now.items():
            if name not in before or before[name].kind != trouble.kind:
                yield name, trouble


def _take_echoes(line: _Line, echoes: Mapping[int, Answer], knocks: Mapping[int, Answer], *, counts: bool) -> None:
    if any(answer.reached for answer in echoes.values()):
        line.small = 0
    elif counts:
        line.small += 1
        line.why = next(iter(echoes.values())).why
    size = line.end.mtu
    full = echoes.get(size) if size > SMALL else None
    if full is None:
        return
    if full.whole:
        line.long, line.carries, line.way = 0, 0, ""
        return
    if counts:
        line.long += 1
        line.full = full
    if len(echoes) > 2:  # the ladder was asked, too
        line.carries = max((of for of, answer in echoes.items() if answer.whole), default=0)
    if full.fragment:
        line.way = "back"
    elif full.mtu:
        line.way, line.carries = "out", line.carries or full.mtu
    elif SMALL in knocks and knocks[SMALL].reached:
        line.way = "back" if knocks[size].reached else "out"


def _take_pod(line: _Line, question: Question, answer: Answer, *, counts: bool) -> None:
    at = str(question.address)
    if answer.reached or line.pod_at != at:
        line.pod, line.pod_at = 0, at
    if not answer.reached and counts:
        line.pod += 1
        line.pod_why = answer.why


def _carries(line: _Line) -> str:
    return f"; {line.carries} bytes pass" if line.carries > SMALL else ""
