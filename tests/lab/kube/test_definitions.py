"""CustomResourceDefinitions and the resources they define."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from isthmus.lab.kube import ApiError, KubeApi
from lab.kube.definitions import definition, pool
from lab.kube.talking import Json

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POOLS = "/apis/lab.dev/v1/pools"


@pytest.fixture
def api(options: Json) -> KubeApi:
    api = KubeApi(**options)
    api.put(definition())
    return api


def test_versions_share_their_objects() -> None:
    """An object written in one version is read in another; only the apiVersion differs."""
    api = KubeApi(tls=False)
    versions = definition()["spec"]["versions"]
    beta = {**copy.deepcopy(versions[0]), "name": "v1beta1", "storage": False}
    gone = {**copy.deepcopy(versions[0]), "name": "v1alpha1", "storage": False, "served": False}
    api.put(definition(versions=[beta, *versions, gone]))
    api.put({**pool("a"), "apiVersion": "lab.dev/v1beta1"})
    assert api.get("pools", "a")["apiVersion"] == "lab.dev/v1"
    assert api.kinds.groups()["lab.dev"] == ["v1", "v1beta1"]


def _without_schema() -> Json:
    return {"name": "v1", "served": True, "storage": True}


def _schema(**root: Any) -> Json:
    return {**_without_schema(), "schema": {"openAPIV3Schema": root}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"names": {"plural": "things", "kind": "Thing"}}, "metadata.name"),
        ({"scope": "Galaxy"}, "spec.scope"),
        ({"versions": []}, "spec.versions"),
        ({"versions": [_without_schema()]}, "spec.versions[0].schema.openAPIV3Schema"),
        ({"versions": [_schema(type="string")]}, "spec.versions[0].schema.openAPIV3Schema.type"),
        (
            {"versions": [_schema(type="object", properties={"spec": {}})]},
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].type",
        ),
        (
            {"versions": [_schema(type="object", properties={"spec": {"type": "array"}})]},
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].items",
        ),
        (
            {"versions": [_schema(type="object", properties={"s": {"type": "string", "pattern": "("}})]},
            "spec.versions[0].schema.openAPIV3Schema.properties[s].pattern",
        ),
        ({"versions": [{**_schema(type="object"), "storage": False}]}, "spec.versions"),
    ],
)
def test_bad_definitions(changes: Json, field: str) -> None:
    """A definition that the real server refuses is refused, with the field."""
    with pytest.raises(ApiError) as raised:
        KubeApi(tls=False).put(definition(**changes))
    assert (raised.value.status, (raised.value.details or {})["causes"][0]["field"]) == (422, field)


def test_the_scope_stays(api: KubeApi) -> None:
    """A definition's scope cannot be changed."""
    with pytest.raises(ApiError, match=r"spec\.scope: Invalid value: \"Namespaced\": field is immutable"):
        api.put(definition(scope="Namespaced"))


def test_a_restore_brings_definitions_back(api: KubeApi) -> None:
    """After a restore the server serves what the backup defines."""
    api.put(pool("a"))
    backup = api.backup()
    api.delete("CustomResourceDefinition", "pools.lab.dev")
    api.restore(backup)
    assert api.get("Pool", "a")["spec"]["size"] == 4
