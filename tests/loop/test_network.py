"""A cluster's view gets the CNI from what the API publishes, keeps it while that cannot be read, and tells who waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.world import World
from isthmus.kube.client import KubeClient
from isthmus.kube.kubeconfig import load
from isthmus.kube.transport import Patience
from isthmus.lab.kube import KubeApi
from isthmus.loop import network
from isthmus.loop.network import NetworkReader

KINDNET: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "kindnet", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"app": "kindnet"}},
        "template": {
            "metadata": {"labels": {"app": "kindnet"}},
            "spec": {"containers": [{"name": "kindnet-cni", "image": "docker.io/kindest/kindnetd:v20250512"}]},
        },
    },
}


class Story:
    """A reader over the lab's API, what it told, and a clock that stands still."""

    def __init__(self, api: KubeApi, client: KubeClient) -> None:
        self.api, self.world, self.told, self.now = api, World(), list[str](), 0.0
        self.reader = NetworkReader(
            "east", client, self.world, lambda _: self.told.append(self.found), lambda: self.now
        )

    @property
    def found(self) -> str:
        found = self.world.view("east").cni
        return f"{found.cni} {found.certainty}" if found is not None else "nothing"

    @property
    def waits(self) -> str:
        return self.world.view("east").doubt("network") or ""


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    patience, api = Patience(connect=0.5, request=0.5, headers=0.5), KubeApi()
    async with (
        api.serving(host="127.0.0.1", port=0) as endpoint,
        KubeClient(load(Path(endpoint.kubeconfig_path)), patience=patience) as client,
    ):
        yield Story(api, client)


async def test_decides_once_and_again_when_something_changed(story: Story) -> None:
    """The first look and each other answer are told; looking at the same again is not, and is done rarely when certain."""
    assert [await story.reader.look(), await story.reader.look()] == [network.SOON, 2 * network.SOON]
    assert (story.told, story.waits) == (["unknown unknown"], "")
    story.api.put(KINDNET)
    assert await story.reader.look() == network.EVERY
    assert story.told == ["unknown unknown", "kindnet certain"]


async def test_what_cannot_be_read_changes_nothing(story: Story) -> None:
    """An API that fails leaves the last decision in force."""
    story.api.put(KINDNET)
    await story.reader.look()
    story.api.faults.fail_next(50, status=500, verb="list", resource="daemonsets")
    assert await story.reader.look() == 1.0
    assert (story.found, story.told) == ("kindnet certain", ["kindnet certain"])


async def test_the_first_answer_waits_for_what_fails_and_not_for_ever(story: Story) -> None:
    """Where something failed, nothing is decided at first, and it is said why; in the end it is decided without."""
    story.api.faults.fail_next(50, status=500, verb="list", resource="daemonsets")
    assert [await story.reader.look(), await story.reader.look()] == [1.0, 2.0]
    assert story.told == []
    assert "could not be read" in story.waits
    assert "daemonsets" in story.waits
    story.now += network.PATIENCE
    await story.reader.look()
    assert (story.told, story.waits) == (["unknown unknown"], "")
    assert any("daemonsets" in one for one in story.world.view("east").homes.decision.remarks)  # type: ignore[union-attr]


async def test_a_bug_of_ours_ends_nothing(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised while reading is a failure to read, and is tried again."""

    async def broken(client: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(network, "gather", broken)
    assert await story.reader.look() == 1.0
    assert "ZeroDivisionError" in story.waits


async def test_less_that_may_be_read_makes_no_cni_less_known(story: Story) -> None:
    """A right that is taken away later does not make a certain CNI unknown, for routes would follow it."""
    story.api.put(KINDNET)
    await story.reader.look()
    story.api.faults.fail_next(50, status=403, verb="list", resource="daemonsets")
    await story.reader.look()
    found = story.world.view("east").cni
    assert found is not None
    assert story.found == "kindnet certain"
    assert any(one.startswith("kept as it was, for less can be read") for one in found.remarks)


async def test_new_nodes_have_only_an_uncertain_answer_looked_at_again(story: Story) -> None:
    """A node that comes costs no request where the CNI is certain."""
    await story.reader.look()
    await story.reader.look()
    story.reader.stir()
    assert await story.reader.look() == network.SOON
    story.api.put(KINDNET)
    await story.reader.look()
    story.reader.stir()
    assert not story.reader._stirred.is_set() or await story.reader.look() == network.EVERY
