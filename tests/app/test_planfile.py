"""A plan in a file is read back as it was, or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.app import planfile
from isthmus.app.planfile import differences, read_plans, write_plans
from isthmus.errors import InputError
from isthmus.model.plan import Change, Plan, Scope
from isthmus.model.resources import Member, Route, VirtualServer

NODE = Scope("node", "lab", "n1")


def route(last: int, *, action: Any = "create", before: Route | None = None, adopts: str = "") -> Change:
    """Return a change of the route to 10.244.1.0/24 via 192.0.2.``last``."""
    after = Route(ip_network("10.244.1.0/24"), ip_address(f"192.0.2.{last}"), "eth0")
    return Change(action, after.identity, before, after, (NODE,), adopts)


SERVER = VirtualServer(ip_address("2001:db8::10"), "tcp", 80, (Member(ip_address("10.244.1.5"), 8080),))
PLAN = Plan("gw1", (route(1), Change("delete", SERVER.identity, SERVER, None)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with a plan."""
    file = tmp_path / "plan.json"
    write_plans(file, [PLAN], ["a remark"], now=1_700_000_000.0, allow_deletes=True, repair_drift=False)
    return file


def test_what_is_written_is_read(path: Path) -> None:
    """Changes, consent and time come back as they were, and nothing else lies beside the file."""
    found = read_plans(path)
    assert found.changes == {"gw1": PLAN.changes}
    assert (found.allow_deletes, found.repair_drift, found.made_at) == (True, False, "2023-11-14T22:13:20Z")
    assert list(path.parent.iterdir()) == [path]


def _resealed(change: Callable[[dict[str, Any]], None]) -> Callable[[str], str]:
    """Return an edit that makes the checksum fit again, as somebody would who knows how."""

    def edit(text: str) -> str:
        document = json.loads(text)
        change(document)
        document.pop("checksum")
        return json.dumps({**document, "checksum": planfile._checksum(document)})

    return edit


def _first(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["plans"][0]["changes"][0]
    return found


WRONG: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda text: "", "not whole JSON"),
    "half": (lambda text: text[: len(text) // 2], "not whole JSON"),
    "deep": (lambda text: "[" * 200_000, "not whole JSON"),
    "not an object": (lambda text: "[]", "says no format"),
    "an edited next hop": (lambda text: text.replace("192.0.2.1", "192.0.2.6"), "was changed since"),
    "an edited time": (lambda text: text.replace("2023-11-14", "2023-11-15"), "was changed since"),
    "an added remark": (lambda text: text.replace("a remark", "all is well"), "was changed since"),
    "no checksum": (lambda text: text.replace('"checksum": "', '"checksun": "'), "was changed since"),
    "another version": (lambda text: text.replace("plan/2", "plan/9"), 'reads "isthmus-plan/2"'),
    "no plans": (_resealed(lambda d: d.pop("plans")), "is no plan of ours"),
    "plans of nothing": (_resealed(lambda d: d.update(plans=3)), "is no plan of ours"),
    "an unknown action": (_resealed(lambda d: _first(d).update(action="burn")), "is no plan of ours"),
    "an unknown kind": (_resealed(lambda d: _first(d)["after"].update(kind="Bomb")), "is no plan of ours"),
    "an unknown field": (_resealed(lambda d: _first(d)["after"].update(colour="red")), "is no plan of ours"),
    "a missing field": (_resealed(lambda d: _first(d)["after"].pop("via")), "is no plan of ours"),
    "a bad address": (_resealed(lambda d: _first(d)["after"].update(via="nowhere")), "is no plan of ours"),
    "an empty change": (_resealed(lambda d: _first(d).update(after=None)), "is no plan of ours"),
    "a device that is no name": (_resealed(lambda d: d["plans"][0].update(device=["gw1"])), "is no plan of ours"),
    "a scope that is no scope": (_resealed(lambda d: _first(d).update(scopes=[7])), "is no plan of ours"),
    "a link that moves the cursor": (
        _resealed(lambda d: _first(d)["after"].update(link="\x1b[2J")),
        "is no plan of ours",
    ),
    "a time that moves the cursor": (_resealed(lambda d: d.update(madeAt="\x1b[2J")), "is no plan of ours"),
    "consent in words": (_resealed(lambda d: d.update(allowDeletes="yes")), "is no plan of ours"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_whole_plan_is_refused(path: Path, what: str) -> None:
    """Each wrong file is named with the reason and the way out, and nothing of it is taken."""
    edit, reason = WRONG[what]
    path.write_text(edit(path.read_text()))
    with pytest.raises(InputError, match="isthmus plan --out") as told:
        read_plans(path)
    assert reason in str(told.value)
    assert "\x1b" not in str(told.value)
    assert str(path) in str(told.value)


def test_an_oversized_file_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file larger than any plan is refused before it is parsed, and none such is written."""
    monkeypatch.setattr(planfile, "LARGEST", 500)
    with pytest.raises(InputError, match="larger than"):
        read_plans(path)
    with pytest.raises(InputError, match="larger"):
        write_plans(path, [PLAN], [], now=0.0, allow_deletes=False, repair_drift=False)


def test_a_place_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    """A directory that is not there is an answer, not a crash."""
    nowhere = tmp_path / "nowhere" / "plan.json"
    with pytest.raises(InputError, match="cannot be written"):
        write_plans(nowhere, [PLAN], [], now=0.0, allow_deletes=False, repair_drift=False)
    with pytest.raises(InputError, match="cannot be read"):
        read_plans(nowhere)


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """A link, like /dev/stdout, and a device stay what they are."""
    file, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(file)
    write_plans(link, [PLAN], [], now=0.0, allow_deletes=False, repair_drift=False)
    assert (link.is_symlink(), read_plans(file).changes) == (True, {"gw1": PLAN.changes})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_plans(pipe, [PLAN], [], now=0.0, allow_deletes=False, repair_drift=False)
        assert (pipe.is_fifo(), os.read(reader, 65536)) == (True, file.read_bytes())
    finally:
        os.close(reader)


@given(st.data())
def test_any_single_edit_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whichever character somebody changes, the file is refused, or it still says exactly the same."""
    file = tmp_path_factory.mktemp("plan") / "plan.json"
    write_plans(file, [PLAN], [], now=0.0, allow_deletes=False, repair_drift=False)
    text, before = file.read_text(), read_plans(file)
    place = data.draw(st.integers(0, len(text) - 1))
    file.write_text(text[:place] + data.draw(st.sampled_from('0aZ"{ ')) + text[place + 1 :])
    try:
        after = read_plans(file)
    except InputError:
        return
    assert after == before


@pytest.mark.parametrize(
    ("reviewed", "now", "lines"),
    [
        ([], [], []),
        ([route(1)], [route(1)], []),
        ([route(1)], [], ["gone:    + route 10.244.1.0/24 via 192.0.2.1 dev eth0"]),
        ([], [route(1)], ["new:     + route 10.244.1.0/24 via 192.0.2.1 dev eth0"]),
        (
            [route(1)],
            [route(2)],
            [
                "another: + route 10.244.1.0/24 via 192.0.2.2 dev eth0   "
                "(reviewed: + route 10.244.1.0/24 via 192.0.2.1 dev eth0)"
            ],
        ),
    ],
)
def test_what_moved_is_named(reviewed: list[Change], now: list[Change], lines: list[str]) -> None:
    """The difference names what is new, gone and another, and is empty only for the very same changes."""
    assert differences(reviewed, now) == lines
