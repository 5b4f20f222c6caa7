"""Whatever a client sends, the server answers with a Status of the four hundreds, or with success; never with a bug."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from isthmus.lab.kube import ApiError, KubeApi
from isthmus.lab.kube.columns import layout
from isthmus.lab.kube.objects import Options
from isthmus.lab.kube.patch import json_patch, merge_patch, strategic_patch
from lab.kube.definitions import definition, pool
from lab.kube.talking import Json, config_map, node, service

SELECTOR = {"matchLabels": {"a": "b"}}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
META = {
    "labels": {"a": "b"},
    "annotations": {"a": "b"},
    "finalizers": ["a.b/c"],
    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
    "managedFields": [
        {"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:spec": {"f:x": {}}}}
    ],
}


def made(version: str, kind: str, **rest: Any) -> Json:
    return {"kind": kind, "apiVersion": version, "metadata": {"name": "x"}, **rest}


OBJECTS: list[Json] = [
    {
        **node("x", **META),
        "spec": {"podCIDRs": ["10.0.0.0/24"], "podCIDR": "10.0.0.0/24", "taints": [{"key": "a"}], "providerID": "p"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP"}]},
    },
    {
        **service(
            "x",
            type="LoadBalancer",
            clusterIP="10.96.0.9",
            clusterIPs=["10.96.0.9"],
            ipFamilies=["IPv4"],
            ipFamilyPolicy="SingleStack",
            selector={"a": "b"},
            externalIPs=["192.0.2.1"],
            loadBalancerClass="a/b",
            ports=[{"port": 80, "name": "a", "protocol": "TCP", "targetPort": "x", "nodePort": 1}],
        ),
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    },
    config_map("x", **META) | {"data": {"a": "b"}, "immutable": True},
    made("v1", "Secret", type="t", data={"a": "Yg=="}, stringData={"c": "d"}),
    made("v1", "Namespace", spec={"finalizers": ["a"]}, status={"phase": "p"}),
    made("v1", "Pod", spec={"nodeName": "n", "containers": [{"name": "c"}]}),
    made("coordination.k8s.io/v1", "Lease", spec={"holderIdentity": "h"}),
    made(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        addressType="IPv4",
        endpoints=[{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}],
        ports=[{"name": "a", "port": 80, "protocol": "TCP"}],
    ),
    made("v1", "Event", involvedObject={"kind": "K", "name": "n"}, reason="r"),
    made("apps/v1", "DaemonSet", spec={"selector": SELECTOR, "template": TEMPLATE}),
    definition(),
    pool("x", rules=[{"name": "a"}], free={"a": 1}, deep={"enabled": False}, labels={"a": "b"}),
]  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        if key not in ("kind", "apiVersion"):
            yield from places(child, (*path, key))


PLACES = [(index, path) for index, obj in enumerate(OBJECTS) for path in places(obj)]
GARBAGE = st.sampled_from(
    [None, "", "x", -1, 0, 70000, 1.5, True, [], {}, [None], [1], [[]], [{}], {"a": None}, {"a": 1}]
)


def broken(index: int, path: tuple[Any, ...], value: Any) -> Json:
    obj = copy.deepcopy(OBJECTS[index])
    parent: Any = obj
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = copy.deepcopy(value)
    return obj


def refusal(change: Callable[[], object]) -> int:
    """Return the status that ``change`` is refused with; 0 when it is not."""
    try:
        change()
    except ApiError as error:
        return error.status
    return 0


@pytest.fixture(scope="module")
def furnished() -> KubeApi:
    """Return a server that holds one sound object of each kind."""
    api = KubeApi(tls=False)
    for obj in OBJECTS:
        plain = copy.deepcopy(obj)
        plain["metadata"].pop("managedFields", None)
        api.put(plain)
    return api


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example((1, ("metadata",)), None, "create")  # a Service without a name
@given(st.sampled_from(PLACES), GARBAGE, st.sampled_from(["create", "update", "status", "apply", "patch"]))
def test_no_object_breaks_the_server(furnished: KubeApi, place: tuple[int, Any], value: Any, way: str) -> None:
    """An object with one field of any kind of rubbish is stored or refused, and what is stored can be shown."""
    api, body = furnished, broken(*place, value)
    sound = OBJECTS[place[0]]
    resource = api.kinds.of_object(sound["apiVersion"], sound["kind"])
    assert resource is not None
    namespace = "default" if resource.namespaced else ""
    name = sound["metadata"]["name"]
    backup = api.backup()
    options = Options(manager="m", force=True, subresource="status" if way == "status" else "")

    def write() -> None:
        if way == "create":
            if isinstance(body["metadata"], dict):
                body["metadata"] |= {"name": "", "generateName": "y"}
            record = api.objects.create(resource, namespace, body)
        elif way == "apply":
            record, _ = api.objects.apply(resource, namespace, name, body, options)
        elif way == "patch":
            record = api.objects.patch(resource, namespace, name, lambda old: merge_patch(old, body))
        else:
            record, _ = api.objects.update(resource, namespace, name, body, options)
        shown = api.objects.show(resource, record)
        assert len(layout(resource).cells(shown, api.objects.now())) == len(layout(resource).columns)

    assert refusal(write) in (0, *range(400, 501)), "500 is what the real server says to some, too"
    api.restore(backup)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "-", "port", "/spec/ports", "$patch"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["spec", "ports", "port", "metadata", "finalizers", "$patch", "$retainKeys", "$setElementOrder/ports",
             "$deleteFromPrimitiveList/finalizers", "op", "path", "from", "value"]
        ),
        inner,
        max_size=3,
    ),
    max_leaves=12,
)  # fmt: skip


OPERATION = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": st.sampled_from(["", "/", "/a", "/l/0", "/l/-", "/l/x", "/a/b/c"]),
        "from": st.sampled_from(["", "/a", "/l/1", "/q"]),
        "value": JSON,
    }
)


@settings(max_examples=400, deadline=None)
@given(JSON, st.lists(OPERATION, max_size=3))
def test_no_patch_breaks_the_server(patch: Any, operations: list[Json]) -> None:
    """A patch of any shape gives a document or a refusal."""
    shapes = KubeApi(tls=False).resource("services").shapes
    live: Json = {"a": {"b": 1}, "l": [1, {"c": 2}], "metadata": {}, "spec": {"ports": [{"port": 80}]}}
    for change in (
        lambda: json_patch(copy.deepcopy(live), patch),
        lambda: json_patch(copy.deepcopy(live), operations),
        lambda: merge_patch(copy.deepcopy(live), patch),
        lambda: strategic_patch(copy.deepcopy(live), patch, shapes),
    ):
        assert refusal(change) in (0, 400, 422)
