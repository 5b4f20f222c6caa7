"""A Lease has one holder: by cases, and over random lives of candidates whose requests are slow, lost and reordered."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.election import (
    PROFILES,
    Read,
    Record,
    Renew,
    Seat,
    Take,
    Terms,
    Wait,
    failed,
    new_epoch,
    next_step,
    read,
    renewed,
    taken,
)

TERMS = Terms()
SEAT = Seat("a", TERMS)
OTHER = Record("b", 7, "t1", 15.0)


def test_the_first_to_look_at_nothing_takes_it() -> None:
    """A Lease that never was, one that was given back, and our own of an earlier life are taken at once."""
    assert next_step(SEAT, 100.0) == Read()
    for found in (None, Record("", 7), Record("a", 7)):
        assert next_step(read(SEAT, found, 100.0), 100.0) == Take()


def test_another_holder_is_waited_for_by_our_own_clock() -> None:
    """It is free once its record has stood still for its duration since *we* saw it change, whatever it says of times."""
    seat = read(SEAT, OTHER, 100.0)
    assert next_step(seat, 100.0) == Wait(2.0)
    assert next_step(seat, 114.0) == Wait(1.0)
    seat = read(seat, OTHER, 114.0)
    assert next_step(seat, 115.0) == Take()
    seat = read(seat, msgspec.structs.replace(OTHER, stamp="t0"), 114.0)
    assert next_step(seat, 128.9) == Wait(pytest.approx(0.1)), "a time that went back is a change like any other"


def test_a_holder_stops_before_anybody_can_begin() -> None:
    """It may write until the renew deadline after it sent its last accepted renewal, and renews long before."""
    seat = taken(read(SEAT, None, 100.0), 5, 100.0)
    assert seat.holds(109.9)
    assert not seat.holds(110.0)
    assert next_step(seat, 101.0) == Wait(1.0)
    assert next_step(seat, 102.0) == Renew()
    late = failed(seat, 109.5)
    assert next_step(late, 109.6) == Wait(pytest.approx(0.4)), "it is awake when its time ends"
    assert next_step(late, 110.5) == Read()
    assert renewed(late, 112.0).holds(113.0), "nobody took it: the same term goes on"
    assert renewed(late, 112.0).epoch == 5


def test_another_name_in_the_record_ends_a_term() -> None:
    """Whoever reads somebody else's name stops at once; so does who reads an epoch that is not its own."""
    seat = taken(read(SEAT, None, 100.0), 5, 100.0)
    for found in (OTHER, Record("", 5), Record("a", 4)):
        now = read(seat, found, 101.0)
        assert (now.epoch, now.holds(101.0)) == (0, False)
    assert read(seat, Record("a", 5, "t"), 101.0).holds(101.0)


def test_a_deleted_lease_is_made_again_by_its_holder() -> None:
    """The holder renews what is gone; others wait as long as if it had just been renewed."""
    holder = read(taken(read(SEAT, None, 100.0), 5, 100.0), None, 101.0)
    assert holder.holds(101.0)
    assert next_step(holder, 102.0) == Renew()
    other = read(read(Seat("c", TERMS), OTHER, 100.0), None, 110.0)
    assert next_step(other, 124.9) == Wait(pytest.approx(0.1))
    assert next_step(other, 125.0) == Take()


def test_a_deleted_lease_is_not_taken_up_again_after_the_time_to_write() -> None:
    """Who finds it gone after its own time is over may have missed another's whole term: it is a candidate like any."""
    slept = read(failed(taken(read(SEAT, None, 100.0), 5, 100.0), 3000.0), None, 3600.0)
    assert (slept.epoch, slept.holds(3600.0)) == (0, False)
    assert next_step(slept, 3614.9) == Wait(pytest.approx(0.1)), "another may hold it that was deleted under it"
    assert next_step(slept, 3615.0) == Take()


def test_what_a_hand_wrote_into_a_lease_makes_no_holder_shorter() -> None:
    """A duration cut down, a holder blanked, a Lease deleted: its holder writes on for as long as it promised."""
    fast = read(Seat("c", PROFILES["fast"]), OTHER, 100.0)
    for edited in (
        msgspec.structs.replace(OTHER, duration=1.0, stamp="t2"),
        msgspec.structs.replace(OTHER, holder="", stamp="t2"),
        msgspec.structs.replace(OTHER, holder="nobody", duration=1.0),
        None,
    ):
        assert next_step(read(fast, edited, 110.0), 124.9) == Wait(pytest.approx(0.1)), edited
    assert next_step(read(fast, Record("", 7, "t2", 1.0), 110.0), 110.0) == Take(), "given back by its holder"


def test_an_epoch_that_no_clock_brought_about_counts_for_nothing() -> None:
    """Else whoever takes the Lease next has one that no gateway agent accepts, for good."""
    seat = read(SEAT, Record("a", 999_999_999_999_999_999), 100.0)
    assert new_epoch(seat.highest, 1_700_000_000_000) == 1_700_000_000_000
    held = taken(seat, 1_700_000_000_000, 100.0)
    assert read(held, Record("a", 999_999_999_999_999_999), 101.0).epoch == 0


def test_epochs_rise_whatever_the_clock_does() -> None:
    """An epoch is above all that were seen; after a lost Lease it is still not below the time."""
    assert new_epoch(0, 1_700_000_000_000) == 1_700_000_000_000
    assert new_epoch(1_800_000_000_000, 1_700_000_000_000) == 1_800_000_000_001


@pytest.mark.parametrize("terms", [(15, 15, 2), (10, 15, 2), (15, 10, 10), (15, 10, 0)])
def test_times_that_let_two_hold_are_refused(terms: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="retry < renew < duration"):
        Terms(*terms)


# --- random lives -----------------------------------------------------------------------------------------------------


class Server:
    """A Lease behind compare-and-swap."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.version = 0
        self.epochs: list[int] = []

    def write(self, record: Record | None, over: int | None) -> bool:
        """Write if the version is what it was (none: if there is nothing)."""
        standing = None if self.record is None else self.version
        if over != standing:
            return False
        self.record, self.version = record, self.version + 1
        if record is not None and record.epoch not in self.epochs:
            self.epochs.append(record.epoch)
        return True


class Life:
    """Some candidates over one server, in one random order of things."""

    def __init__(self, seed: int, candidates: int, terms: Terms) -> None:
        self.random = random.Random(seed)
        self.terms = terms
        self.server = Server()
        self.time = 0.0
        self.serial = itertools.count()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.seats = {name: Seat(name, terms) for name in "abcde"[:candidates]}
        self.versions: dict[str, int | None] = dict.fromkeys(self.seats)
        self.stopped: dict[str, float] = {}
        self.held: set[str] = set()
        for name in self.seats:
            self.later(self.random.random(), lambda name=name: self.turn(name))  # type: ignore[misc]

    def later(self, pause: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.time + pause, next(self.serial), what))

    def slow(self) -> float:
        """Return how long a request or its answer takes: mostly nothing, sometimes longer than the Lease lasts."""
        return self.random.choice((0.0, 0.01, 0.1, self.terms.retry, self.terms.renew, self.terms.duration * 1.2))

    def run(self, until: float) -> None:
        while self.queue and self.queue[0][0] <= until:
            self.time, _, what = heapq.heappop(self.queue)
            what()
            holders = [name for name, seat in self.seats.items() if seat.holds(self.time)]
            assert len(holders) <= 1, f"{holders} hold at {self.time}"
            self.held.update(holders)

    def turn(self, name: str) -> None:
        """Let a candidate do its next step; sometimes its process stands still before, or between reading and writing."""
        if self.random.random() < 0.05:
            self.later(self.random.uniform(0, self.terms.duration * 2), lambda: self.turn(name))
            return
        seat = self.seats[name]
        match next_step(seat, self.time):
            case Read():
                self.look(name)
            case Wait(seconds):
                self.later(seconds, lambda: self.look(name) if not self.seats[name].epoch else self.turn(name))
            case Take():
                self.write(name, new_epoch(seat.highest, int(self.time)), took=True)
            case Renew():
                self.write(name, seat.epoch, took=False)

    def look(self, name: str) -> None:
        def reach() -> None:
            record = self.server.record
            version = self.server.version if record is not None else None
            self.later(self.slow(), lambda: answer(record, version))

        def answer(record: Record | None, version: int | None) -> None:
            self.versions[name] = version
            self.seats[name] = read(self.seats[name], record, self.time)
            self.later(0.0, lambda: self.turn(name))

        self.later(self.slow(), reach)

    def write(self, name: str, epoch: int, *, took: bool) -> None:
        sent_at, over = self.time, self.versions[name]
        record = Record(name, epoch, f"{name} {self.time}", self.terms.duration)

        def reach() -> None:
            good = self.server.write(record, over)
            version = self.server.version
            if self.random.random() < 0.1:
                self.later(self.terms.renew / 2, lost)
            else:
                self.later(self.slow(), lambda: answer(good, version))

        def answer(good: bool, version: int) -> None:
            seat = self.seats[name]
            if not good:
                self.look(name)
                return
            self.versions[name] = version
            self.seats[name] = taken(seat, epoch, sent_at) if took else renewed(seat, sent_at)
            self.later(0.0, lambda: self.turn(name))

        def lost() -> None:
            self.seats[name] = failed(self.seats[name], self.time)
            self.later(0.0, lambda: self.turn(name))

        self.later(self.slow(), reach)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), candidates=st.integers(1, 4), profile=st.sampled_from(sorted(PROFILES)))
def test_never_two_at_a_time(seed: int, candidates: int, profile: str) -> None:
    """Whatever is slow, lost or stands still: one holder at a time, and each has a higher epoch than the one before."""
    terms = PROFILES[profile]
    life = Life(seed, candidates, terms)
    life.run(terms.duration * 40)
    assert life.server.epochs == sorted(life.server.epochs)
    assert life.held, "somebody came to hold it"
