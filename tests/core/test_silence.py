"""Who is silent, and in which way: stories of answers, and laws over random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.reach import SMALL, Answer, End, Question
from isthmus.core.silence import CLOSER_AT_ONCE, GRACE, LONG_AT_ONCE, Silence, Trouble

MTU = 1450
SOURCE = ip_address("172.31.255.254")
World = Callable[[Question], Answer]


def end(number: int, mtu: int = MTU) -> tuple[End, ...]:
    return (End(ip_address(f"172.31.{number >> 8}.{number & 255}"), SOURCE, mtu),)


def fleet(count: int) -> dict[str, tuple[End, ...]]:
    return {f"n{number:04}": end(number + 1) for number in range(count)}


def well(question: Question) -> Answer:
    """Everybody answers everything."""
    return Answer(reached=True, milliseconds=1.0)


def but(*nodes: str, answer: World) -> World:
    """Everybody answers but ``nodes``, which answer as ``answer`` says."""
    return lambda question: answer(question) if question.node in nodes else well(question)


def deaf(question: Question) -> Answer:
    """No answer to anything."""
    return Answer(reached=False, why="no answer in 1.6 s")


def narrow(most: int, *, there: bool) -> World:
    """What is longer than ``most`` is lost: on the way there, or only on the way back."""

    def answer(question: Question) -> Answer:
        passes = question.size <= most or (question.port and not there)
        return well(question) if passes else Answer(reached=False, why="no answer in 1.6 s")

    return answer


class Told:
    """A machine that is past its grace, and what it says after some turns."""

    def __init__(self, count: int = 20) -> None:
        self.silence = Silence("gw", remedy="mend it")
        self.nodes = fleet(count)
        self.now = 1000.0
        self.silence.follow(self.nodes, self.now)
        self.now += GRACE

    def turn(self, world: World, *, again: int = 2) -> None:
        """Ask everybody, then those who missed, as the prober does."""
        self.silence.follow(self.nodes, self.now)
        asked = self.silence.turn()
        self.hear(world, (question for _, questions in asked for question in questions))
        for _ in range(again):
            self.hear(world, self.silence.again([name for name, _ in asked]))

    def hear(self, world: World, questions: Iterable[Question]) -> None:
        self.now += 1.0
        self.silence.hear({question: world(question) for question in questions}, self.now)

    def troubles(self) -> dict[str, Trouble]:
        return self.silence.troubles(self.silence.common())

    def kinds(self) -> dict[str, str]:
        return {name: trouble.kind for name, trouble in self.troubles().items()}

    def news(self) -> dict[str, bool]:
        """Return who is new in trouble, or (false) out of it."""
        return {
            name: trouble is not None for name, trouble in self.silence.news(self.silence.common(), self.troubles())
        }


def test_a_node_that_does_not_answer_is_named_in_one_turn() -> None:
    """Asked again at once, it has missed twice; the others are not mentioned."""
    told = Told()
    told.turn(but("n0007", answer=deaf))
    assert told.kinds() == {"n0007": "unreachable"}
    assert "node n0007: its end of the path, 172.31.0.8, does not answer" in told.troubles()["n0007"].text
    told.turn(well)
    assert not told.kinds()


def test_a_lost_packet_is_no_silence() -> None:
    """Who misses once and answers when asked again is not named."""
    told = Told()
    told.turn(but("n0007", answer=deaf), again=0)
    told.hear(well, told.silence.again(told.nodes))
    assert not told.kinds()
    assert not told.silence.again(told.nodes), "and is not suspected any more"


def test_the_way_out_and_the_way_back_are_told_apart() -> None:
    """A datagram to a closed port gets there or not, whatever the way back carries; the ladder says what passes."""
    for there, words in ((True, "on the way out, from gw to it"), (False, "on the way back, from it to gw")):
        told = Told()
        told.turn(but("n0003", answer=narrow(1400, there=there)))
        assert told.kinds() == {"n0003": "mtu"}
        text = told.troubles()["n0003"].text
        assert f"packets of {MTU} bytes are lost {words}, short ones pass" in text
        assert "; 1400 bytes pass; mend it" in text


def test_an_answer_in_pieces_is_the_way_back() -> None:
    """The kernel says how large the pieces were."""
    told = Told()
    told.turn(but("n0003", answer=lambda q: Answer(reached=True, fragment=1396 if q.size > 1400 else 0)))
    assert told.kinds() == {"n0003": "mtu"}
    assert "comes in pieces of 1396" in told.troubles()["n0003"].text


def test_somebody_on_the_way_who_says_so_is_the_way_out() -> None:
    """Fragmentation needed, or a link of the device's own that is too small."""
    told = Told()
    told.turn(
        but("n0003", answer=lambda q: well(q) if q.size <= 1380 else Answer(reached=False, why="says", mtu=1380))
    )
    assert "on the way out" in told.troubles()["n0003"].text
    assert "1380 bytes pass" in told.troubles()["n0003"].text


def test_when_nobody_answers_nobody_is_blamed() -> None:
    """One sentence about the device instead of twenty about nodes; a single node is named, though."""
    told = Told()
    told.turn(deaf)
    assert not told.kinds()
    assert "none of 20 nodes answers over IPv4" in told.silence.common()[4].text
    assert told.silence.kinds(told.silence.common(), {}) == {"unreachable": 20, "mtu": 0, "pod": 0}
    assert told.news() == {"": True}
    told.turn(but("n0001", answer=deaf))
    assert told.kinds() == {"n0001": "unreachable"}
    assert told.news() == {"": False, "n0001": True}
    alone = Told(1)
    alone.turn(deaf)
    assert alone.kinds() == {"n0000": "unreachable"}


def test_a_way_that_is_too_narrow_for_all_is_told_once() -> None:
    """Short packets reach all and long ones none: that is the path's own MTU."""
    told = Told()
    told.turn(narrow(1400, there=True))
    assert not told.kinds()
    assert "packets of 1450 bytes get through to none of 20 nodes" in told.silence.common()[4].text


def test_a_new_node_has_a_few_seconds() -> None:
    """Until its own side is there, its silence does not count; after that it does, and a node that moved is new again."""
    told = Told()
    told.nodes["new"] = end(900)
    world = but("new", answer=deaf)
    told.silence.follow(told.nodes, told.now)
    began = told.now
    while told.now < began + GRACE - 3:
        told.turn(world)
        assert not told.kinds()
    told.now = began + GRACE
    told.turn(world)
    assert told.kinds() == {"new": "unreachable"}
    told.nodes["new"] = end(901)
    assert told.news() == {"new": True}
    told.turn(world, again=0)
    assert not told.kinds()
    del told.nodes["new"]
    told.turn(world)
    assert not told.news(), "who is gone has not recovered"


def test_a_silent_pod_on_a_node_that_answers() -> None:
    """It is told as that, after two turns; another pod begins anew."""
    told = Told(2)
    pod = Question("n0000", "pod", ip_address("10.244.0.9"), SOURCE)
    for expected in ({}, {"n0000": "pod"}):
        told.turn(well)
        told.silence.hear({pod: deaf(pod)}, told.now)
        assert told.kinds() == expected
    other = Question("n0000", "pod", ip_address("10.244.0.10"), SOURCE)
    told.silence.hear({other: deaf(other)}, told.now)
    assert not told.kinds()


def test_the_cost_of_a_turn_is_bounded() -> None:
    """One echo a node, a long one for a thousand in turn; five turns have asked five thousand long ones."""
    told = Told(5000)
    long: set[str] = set()
    for _ in range(5):
        asked = [question for _, questions in told.silence.turn() for question in questions]
        assert len(asked) == 5000
        turn = {question.node for question in asked if question.size > SMALL}
        assert len(turn) == LONG_AT_ONCE
        long |= turn
    assert len(long) == 5000
    told.hear(deaf, (q for _, questions in told.silence.turn() for q in questions))
    again = told.silence.again(told.nodes)
    assert len(again) <= 2 * 5000 + 20 * CLOSER_AT_ONCE


@settings(max_examples=60, deadline=None)
@given(
    dead=st.sets(st.integers(0, 11), max_size=6),
    thin=st.sets(st.integers(0, 11), max_size=6),
    lost=st.lists(st.sets(st.integers(0, 11), max_size=3), max_size=4),
)
def test_the_end_depends_on_what_is_and_not_on_what_was(dead: set[int], thin: set[int], lost: list[set[int]]) -> None:
    """Whatever got lost before, two turns of one world name exactly those who are silent in it, each as what it is."""
    told = Told(12)
    names = sorted(told.nodes)
    for some in lost:
        told.turn(but(*(names[number] for number in some), answer=deaf), again=0)

    def world(question: Question) -> Answer:
        number = names.index(question.node)
        if number in dead:
            return deaf(question)
        return narrow(1400, there=True)(question) if number in thin else well(question)

    for _ in range(2):
        told.turn(world)
    kinds = {names[n]: "mtu" for n in thin - dead} | {names[n]: "unreachable" for n in dead}
    assert told.kinds() == kinds
