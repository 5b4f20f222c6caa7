"""A claim as decisions hold it says what the user's object says, and becomes that object again."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.model.claims import object_of, vip_facts
from isthmus.model.kinds import VirtualIP, parse

_HOLDER = {"cluster": "east", "namespace": "shop", "service": "web"}
SPECS: list[dict[str, Any]] = [
    {"address": "192.0.2.1", "pool": "vips", "holder": _HOLDER},
    {"address": "192.0.2.1", "holder": _HOLDER},
    {"address": "192.0.2.1", "reservation": True, "description": "the printer"},
]


def _claim(spec: dict[str, Any], **metadata: Any) -> VirtualIP:
    head = {"apiVersion": "isthmus.dev/v1alpha1", "kind": "VirtualIP"}
    found = parse({**head, "metadata": {"name": "192.0.2.1", **metadata}, "spec": spec}).object
    assert isinstance(found, VirtualIP)
    return found


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("metadata", [{}, {"labels": {"team": "a"}, "annotations": {"why": "because"}}])
def test_nothing_a_user_wrote_is_lost(spec: dict[str, Any], metadata: dict[str, Any]) -> None:
    claim = _claim(spec, **metadata)
    assert object_of(vip_facts(claim)).document() == claim.document()


def test_labels_do_not_make_it_another_claim() -> None:
    plain, labelled = (vip_facts(_claim(SPECS[0], **more)) for more in ({}, {"labels": {"team": "a"}}))
    assert plain.claims_as(labelled)
    assert not plain.claims_as(vip_facts(_claim(SPECS[1])))
