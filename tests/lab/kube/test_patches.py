"""The three ways to patch, as functions and over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.lab.kube import ApiError
from isthmus.lab.kube.patch import json_patch, merge_patch, strategic_patch
from isthmus.lab.kube.shapes import builtin_shapes
from lab.kube.talking import Json


@pytest.mark.parametrize(
    ("document", "operations", "after"),
    [
        # RFC 6902, appendix A
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "q"}], {"foo": ["bar", "q", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
        ({"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}], {"a": {}, "b": {"y": 1}}),
        ({"foo": [1, 2, 3]}, [{"op": "move", "from": "/foo/0", "path": "/foo/2"}], {"foo": [2, 3, 1]}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": 1}], {"foo": ["bar", 1]}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patch(document: Any, operations: Any, after: Any) -> None:
    """Every operation does what RFC 6902 says."""
    assert json_patch(document, operations) == after


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({}, 400),
        ([{"op": "spill", "path": "/a"}], 422),
        ([{"op": "add", "path": "a", "value": 1}], 422),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "remove", "path": "/b"}], 422),
        ([{"op": "add", "path": "/b/c", "value": 1}], 422),
        ([{"op": "replace", "path": "/l/5", "value": 1}], 422),
        ([{"op": "add", "path": "/a/b", "value": 1}], 422),
    ],
)
def test_json_patches_that_do_not_fit(operations: Any, code: int) -> None:
    """What is no patch is 400, what does not fit the document 422."""
    with pytest.raises(ApiError) as raised:
        json_patch({"a": 1, "l": [1]}, operations)
    assert raised.value.status == code


@pytest.mark.parametrize(
    ("document", "patch", "after"),
    [
        # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        (["a"], {"a": 1}, {"a": 1}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, "bar", "bar"),
    ],
)
def test_merge_patch(document: Any, patch: Any, after: Any) -> None:
    """Merging follows RFC 7386."""
    assert merge_patch(document, patch) == after


PORTS = {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}}


@pytest.mark.parametrize(
    ("patch", "ports"),
    [
        ({"spec": {"ports": [{"port": 80, "nodePort": 1}]}}, [{"port": 80, "name": "a", "nodePort": 1}, "b"]),
        ({"spec": {"ports": [{"port": 82}]}}, ["a", "b", {"port": 82}]),
        ({"spec": {"ports": [{"port": 80, "$patch": "delete"}]}}, ["b"]),
        ({"spec": {"ports": [{"port": 9}, {"$patch": "replace"}]}}, [{"port": 9}]),
        ({"spec": {"$setElementOrder/ports": [{"port": 81}, {"port": 80}]}}, ["b", "a"]),
        ({"spec": {"ports": None}}, None),
        ({"spec": {"$retainKeys": []}}, None),
        ({"spec": {"$patch": "replace", "ports": []}}, []),
    ],
)
def test_strategic_merge_of_service_ports(patch: Json, ports: Any) -> None:
    """Ports merge by their number, and directives do what they say."""
    short = {"a": {"port": 80, "name": "a"}, "b": {"port": 81, "name": "b"}}
    expected = None if ports is None else [short.get(port, port) if isinstance(port, str) else port for port in ports]
    assert strategic_patch(PORTS, patch, builtin_shapes("services"))["spec"].get("ports") == expected


def test_strategic_merge_of_scalars_and_plain_lists() -> None:
    """Sets of scalars grow and shrink, lists without a key are replaced."""
    shapes = builtin_shapes("nodes")
    live = {"metadata": {"finalizers": ["a/a", "b/b"]}, "status": {"images": [1, 2]}}
    patch = {
        "metadata": {"finalizers": ["c/c"], "$deleteFromPrimitiveList/finalizers": ["a/a"]},
        "status": {"images": [3]},
    }
    after = strategic_patch(live, patch, shapes)
    assert sorted(after["metadata"]["finalizers"]) == ["b/b", "c/c"]
    assert after["status"]["images"] == [3]


def test_strategic_patches_without_sense() -> None:
    """An item without its key and an unknown directive are 400."""
    for patch in ({"spec": {"ports": [{"name": "a"}]}}, {"spec": {"$patch": "explode"}}):
        with pytest.raises(ApiError) as raised:
            strategic_patch(PORTS, patch, builtin_shapes("services"))
        assert raised.value.status == 400
