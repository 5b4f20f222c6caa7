"""Answers, read: those that real devices printed (verbatim, from public reports), and those that are none."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.drivers.netscaler.nitro.bodies import Answer, outcomes, read_body, rows_of, scrubbed
from isthmus.drivers.netscaler.nitro.errors import MEANINGS, Meaning, NitroError

DONE = '{ "errorcode": 0, "message": "Done", "severity": "NONE" }'

# Status, body, and what it means. Sources: the vendor's own issue threads and documentation.
SEEN = {
    "telegraf#11478, a login": (
        201,
        '{ "errorcode": 0, "message": "Done", "severity": "NONE", "sessionid": "##8F90AB" }',
        None,
    ),
    "ansible#492, it exists": (
        409,
        '{ "errorcode": 273, "message": "Resource already exists [name, 10.32.158.11]", "severity": "ERROR" }',
        (273, Meaning.EXISTS),
    ),
    "ansible#233, it does not": (
        404,
        '{ "errorcode": 258, "message": "No such resource [name, x]", "severity": "ERROR" }',
        (258, Meaning.MISSING),
    ),
    "ansible#191, an argument that needs another": (
        400,
        '{ "errorcode": 1093, "message": "Argument pre-requisite missing [weight, serviceName]", "severity": "ERROR" }',
        (1093, Meaning.REFUSED),
    ),
    "terraform#981, an argument that is wrong": (
        599,
        '{ "errorcode": 278, "message": "Invalid argument [maxbandwidth]", "severity": "ERROR" }',
        (278, Meaning.REFUSED),
    ),
    "node-controller#7, the PHP layer, compact": (
        599,
        '{"errorcode":-1,"message":"Invalid args in query parameters","severity":"ERROR"}',
        (-1, Meaning.REFUSED),
    ),
    "ansible#287, a binding with nothing bound": (200, DONE, None),
    "the vendor's page on CSRF, no basic authentication": (
        401,
        '{"errorcode": 1244,"message": "Authentication Failed: Use of Basic Authentication is Disabled."'
        ',"severity": "ERROR"\n}',
        (1244, Meaning.SESSION),
    ),
    "an old release, a write that was done": (201, "", None),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_devices_said(name: str) -> None:
    """Each printed answer means what the device meant."""
    status, text, meant = SEEN[name]
    error = read_body(Answer(status, text.encode())).error
    assert (None if error is None else (error.code, error.meaning)) == meant
    assert error is None or (error.http, error.severity) == (status, "ERROR")


def test_a_bulk_answer() -> None:
    """The vendor's example of part success: the first of two exists, the second is done, in that order."""
    text = """{
    "errorcode": 1243,
    "message": "Bulk operation failed",
    "severity": "ERROR",
    "response":
    [
        { "errorcode": 273, "message": "Resource already exists", "severity": "ERROR" },
        { "errorcode": 0, "message": "Done", "severity": "NONE" }
    ]
}"""
    rows = [{"name": "a"}, {"name": "b"}]
    first, second = outcomes(rows, read_body(Answer(207, text.encode())), 207)
    assert first.error is not None
    assert first.error.meaning is Meaning.EXISTS
    assert (second.row, second.done) == ({"name": "b"}, True)


@pytest.mark.parametrize(
    ("items", "unknown"),
    [
        ([{"errorcode": 0}], [False, True, True]),
        ([], [True, True, True]),
        ([{"errorcode": 0}] * 4, [True, True, True]),
        ([{"errorcode": 0}, {"message": "?"}, 7], [False, True, True]),
        ([{"errorcode": 0}, {"errorcode": "0"}, {"errorcode": None}], [False, False, True]),
        ([{"errorcode": 368}, {"errorcode": 444}, {"errorcode": 293}], [True, True, True]),
    ],
)
def test_items_of_unknown_fate(items: list[object], unknown: list[bool]) -> None:
    """What an answer does not tell of readably, or tells of too often, or what passes by itself, is not known to stand."""
    body = {"errorcode": 1243, "message": "Bulk operation failed", "severity": "ERROR", "response": items}
    found = outcomes([{"id": n} for n in range(3)], read_body(Answer(207, json.dumps(body).encode())), 207)
    assert [one.unknown for one in found] == unknown
    assert all(one.error is None for one in found)


# What arrives when something else answers, or the answer is cut off.
NONE_OF_ITS = {
    "a login page": (200, b"<html><body>Please log in</body></html>", "not JSON"),
    "cut off": (200, DONE[:25].encode(), "not JSON"),
    "no body for a read": (404, b"", "no body"),
    "a list": (200, b"[]", "a list"),
    "a number": (200, b"17", "a number"),
    "a code that is text": (200, b'{"errorcode": "many"}', "error code"),
    "a code that is true": (200, b'{"errorcode": true}', "error code"),
    "a code of a thousand digits": (200, b'{"errorcode": "' + b"9" * 1000 + b'"}', "error code"),
    "a part success without parts": (207, DONE.encode(), "parts"),
    "a status that NITRO does not have": (418, DONE.encode(), "status 418"),
    "accepted, which NITRO never says": (202, DONE.encode(), "status 202"),
    "nested to the bottom": (200, b'{"a":' * 200_000, "not JSON"),
    "a number that is too long": (200, b'{"errorcode": 0, "a": ' + b"9" * 5000 + b"}", "not JSON"),
}


@pytest.mark.parametrize("name", NONE_OF_ITS)
def test_what_is_no_answer(name: str) -> None:
    """It is an error that says so, and of a write nobody knows what it did."""
    status, body, words = NONE_OF_ITS[name]
    read = read_body(Answer(status, body), "adc1")
    assert read.error is not None
    assert read.error.meaning is Meaning.UNREADABLE
    assert words in str(read.error)
    assert outcomes([{"id": 1}], read, status)[0].unknown


@pytest.mark.parametrize(
    ("status", "meant"), [(503, Meaning.UNAVAILABLE), (502, Meaning.UNAVAILABLE), (401, Meaning.SESSION)]
)
def test_the_web_server_speaks_for_itself(status: int, meant: Meaning) -> None:
    """A 503 or 401 without NITRO's words means what it always does."""
    error = read_body(Answer(status, b"<html>no</html>")).error
    assert error is not None
    assert error.meaning is meant


@pytest.mark.parametrize("body", [b'{"errorcode": 0, "vxlan": "none"}', b'{"errorcode": 0, "vxlan": [1]}'])
def test_rows_of_a_wrong_type(body: bytes) -> None:
    """Rows that are none are an error, not an empty list: absence is never concluded from nonsense."""
    with pytest.raises(NitroError, match="vxlan is not a list of objects"):
        rows_of(read_body(Answer(200, body)), "vxlan")


def test_rows_of_every_shape() -> None:
    """Lists, single objects, keys in another case, and no key at all."""
    shapes = {
        b'{"errorcode": 0, "vxlan": [{"id": "1"}]}': [{"id": "1"}],
        b'{"errorcode": 0, "vxlan": {"id": "1"}}': [{"id": "1"}],
        b'{"errorcode": 0, "Vxlan": [{"id": "1"}]}': [{"id": "1"}],
        b'{"vxlan": [{"id": "1"}]}': [{"id": "1"}],
        DONE.encode(): [],
    }
    for body, rows in shapes.items():
        assert rows_of(read_body(Answer(200, body)), "vxlan") == rows


def test_bytes_that_are_no_text() -> None:
    """A comment in Latin-1, as old configurations hold them, costs that letter and not the whole list."""
    read = read_body(Answer(200, b'{"errorcode": 0, "nsip": [{"comment": "Z\xfcrich\t"}]}'))
    assert rows_of(read, "nsip")[0]["comment"].startswith("Z")


def test_344_is_no_session() -> None:
    """344 is "No Service": taken for a session's end it would make a login out of each read of a missing service."""
    assert MEANINGS[344] is Meaning.MISSING
    assert {code for code, meaning in MEANINGS.items() if meaning is Meaning.SESSION} == {352, 444, 1026, 1027}


def test_quotes_hold_no_secret() -> None:
    """A device that repeats our password in its message does not get it into an error."""
    body = b'{"errorcode": 278, "message": "Invalid argument [hunter2-4711]\\n\\u001b[31m", "severity": "ERROR"}'
    error = read_body(Answer(599, body), secrets=("hunter2-4711",)).error
    assert error is not None
    assert str(error) == "278 Invalid argument [[redacted]] [31m"


@given(st.binary(max_size=300), st.integers(100, 999))
def test_bytes_are_read_or_refused(body: bytes, status: int) -> None:
    """Whatever comes, reading it never fails."""
    read = read_body(Answer(status, body))
    found = outcomes([{"id": 1}, {"id": 2}], read, status)
    assert len(found) == 2
    if status not in (200, 201, 207, 209):
        assert not any(one.done for one in found)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["errorcode", "message", "severity", "response", "vxlan", "x"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)


@given(_JSON, st.sampled_from([200, 201, 207, 209, 400, 401, 404, 409, 503, 599]))
def test_any_json_is_read_or_refused(content: object, status: int) -> None:
    """Whatever JSON comes, the family's errors are all that is raised."""
    read = read_body(Answer(status, json.dumps(content).encode()))
    assert len(outcomes([{"id": 1}], read, status)) == 1
    with contextlib.suppress(NitroError):
        assert all(isinstance(row, dict) for row in rows_of(read, "vxlan", status))


@given(st.text(max_size=400), st.lists(st.text(min_size=1, max_size=6), max_size=3))
def test_quotes_are_one_short_line(text: str, secrets: list[str]) -> None:
    """What is quoted is printable, on one line, and short."""
    quoted = scrubbed(text, secrets)
    assert quoted.isprintable()
    assert len(quoted) <= 300
