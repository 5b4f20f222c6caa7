"""Who is silent is judged from answers alone: pure, round by round."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from unittest.mock import Mock

import pytest

from isthmus.drivers.linux.hops import Hops, ProbeTiming
from isthmus.drivers.linux.members import MemberWatch
from isthmus.model.resources import Route

ROUTES = [Route(ip_network(f"10.0.{n}.0/24"), ip_address(f"192.0.2.{n}"), "t0") for n in range(1, 4)]
PODS = [ip_address(f"10.0.{n}.9") for n in range(1, 4)]


def after(*rounds: str) -> list[bool]:
    """Return who of three is silent after rounds such as ``"+-."``: answered, did not, was not asked."""
    hops = Hops(ProbeTiming())
    hops.follow(ROUTES)
    return judged(hops, rounds)


def judged(hops: Hops, rounds: Sequence[str]) -> list[bool]:
    """Play ``rounds``."""
    verdict = hops.judge()
    for one in rounds:
        for route, sign in zip(ROUTES, one, strict=True):
            if sign != ".":
                hops.asked((route.via, route.link))
            if sign == "+":
                hops.answered((route.via, route.link))
        verdict = hops.judge()
    return [verdict(pod) for pod in PODS]


def test_two_misses_in_a_row_are_silence() -> None:
    """One miss is a lost packet."""
    assert after("+++", "+-+") == [False, False, False]
    assert after("+++", "+-+", "+-+") == [False, True, False]
    assert after("+++", "+-+", "+++", "+-+") == [False, False, False]


def test_two_answers_in_a_row_end_it() -> None:
    """One answer may be a flap."""
    assert after("+++", "+-+", "+-+", "+++") == [False, True, False]
    assert after("+++", "+-+", "+-+", "+++", "+++") == [False, False, False]


def test_who_never_answered_is_not_judged() -> None:
    """A firewall that drops echo is no sign of death."""
    assert after(*["+-+"] * 9) == [False, False, False]


def test_who_was_not_asked_has_not_missed() -> None:
    """Our own full queue is no sign of death."""
    assert after("+++", *["+.+"] * 9) == [False, False, False]


@pytest.mark.parametrize("why", [errno.EPERM, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN])
def test_what_this_host_could_not_send_was_not_asked(why: int) -> None:
    """A full table of connections or a rule of the gateway's own takes no pod away; no way there does."""
    watch = MemberWatch(ProbeTiming(), None, None, None)  # type: ignore[arg-type]
    watch._hops.follow(ROUTES)
    hop = (ROUTES[1].via, "lo")
    for one in (why, errno.ENETUNREACH):
        watch._sockets = {4: _Failing(one)}  # type: ignore[dict-item]
        watch._hops.asked = asked = Mock()  # type: ignore[method-assign]
        watch._ask(4, 1, hop)
        assert asked.called == (one == errno.ENETUNREACH)


class _Failing:
    def __init__(self, number: int) -> None:
        self._number = number

    def sendmsg(self, *_: object) -> None:
        raise OSError(self._number, "no")


def test_when_all_are_silent_nobody_is() -> None:
    """It is the gateway that was cut off."""
    assert after("+++", *["---"] * 9) == [False, False, False]


def test_what_is_known_survives_new_routes_and_a_restart() -> None:
    """Routes that come and go do not clear a node; pods that had no slots before a restart are behind silent nodes."""
    hops = Hops(ProbeTiming())
    hops.follow(ROUTES)
    assert judged(hops, ["+++", "+-+", "+-+"]) == [False, True, False]
    hops.follow([*ROUTES, Route(ip_network("10.0.9.0/24"), ip_address("192.0.2.9"), "t0")])
    assert judged(hops, []) == [False, True, False]
    again = Hops(ProbeTiming())
    again.follow(ROUTES)
    again.recall([PODS[1], ip_address("203.0.113.1")])
    assert judged(again, ["+-+"]) == [False, True, False]
    assert judged(again, ["+++", "+++"]) == [False, False, False]


def test_the_most_specific_route_decides() -> None:
    """A pod CIDR inside another one is its own node's."""
    hops = Hops(ProbeTiming(failures=1))
    wide = Route(ip_network("10.0.0.0/16"), ip_address("192.0.2.8"), "t0")
    hops.follow([wide, *ROUTES])
    for answers in (True, False):
        for route in (wide, *ROUTES):
            hops.asked((route.via, route.link))
            if answers or route is not wide:
                hops.answered((route.via, route.link))
        verdict = hops.judge()
    assert [verdict(pod) for pod in (PODS[0], ip_address("10.0.77.1"), ip_address("192.0.2.200"))] == [
        False,
        True,
        False,
    ]
