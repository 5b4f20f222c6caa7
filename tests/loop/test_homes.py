"""The objects by which a CNI says where pods are, followed: absent, forbidden, there, appearing later, gone silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.world import World
from isthmus.errors import KubeUnreachable
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import KindRef
from isthmus.kube.kubeconfig import load
from isthmus.kube.transport import Patience
from isthmus.lab.kube import KubeApi, status
from isthmus.loop import homes
from isthmus.loop.homes import HomeSession
from isthmus.model.facts import NodeFacts
from isthmus.model.plan import Scope
from isthmus.model.published import Container, DaemonSet, Published
from kube.calico import block_definition

CALICO = Published(
    daemon_sets=(
        DaemonSet("kube-system", "calico-node", (Container("install-cni", init=True), Container("calico-node"))),
    )
)


def block(name: str, cidr: str, node: str) -> dict[str, Any]:
    """Return a block of ``node``."""
    return {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "IPAMBlock",
        "metadata": {"name": name},
        "spec": {"cidr": cidr, "affinity": f"host:{node}", "allocations": [], "attributes": []},
    }


class Story:
    """A session over the lab's API, in a cluster that has Calico and two nodes."""

    def __init__(self, api: KubeApi, client: KubeClient) -> None:
        self.api, self.world = api, World()
        self.touched: list[set[Scope]] = []
        self.stands = False
        self.world.put_published("east", CALICO)
        for name in ("n1", "n2"):
            self.world.put_node("east", name, NodeFacts(name))
        self.session = HomeSession("east", client, self.world, moved=self.touched.append, stands=lambda: self.stands)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.session.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def pods(self, name: str) -> list[str]:
        return [str(prefix) for prefix in self.world.view("east").nodes[name].pod_cidrs]

    @property
    def doubt(self) -> str:
        return self.world.view("east").doubt("network", "pods") or ""

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.01)


@pytest.fixture
async def story(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Story]:
    for name in ("EVERY", "AGAIN", "_EMPTY_PAUSE"):
        monkeypatch.setattr(homes, name, 0.05)
    patience, api = Patience(connect=0.5, request=0.5, headers=0.5), KubeApi()
    async with (
        api.serving(host="127.0.0.1", port=0) as endpoint,
        KubeClient(load(Path(endpoint.kubeconfig_path)), patience=patience) as client,
    ):
        yield Story(api, client)


async def test_a_kind_that_nobody_defined_is_no_loss_and_may_come_later(story: Story) -> None:
    """Without Calico's blocks nothing is waited for; once they are defined, they are followed."""
    async with story.running():
        await story.until(lambda: not story.doubt)
        assert story.pods("n1") == []
        story.api.put(block_definition())
        story.api.put(block("a", "10.42.0.0/26", "n1"))
        await story.until(lambda: story.pods("n1") == ["10.42.0.0/26"])
        story.api.put(block("a", "10.42.0.0/26", "n2"))
        await story.until(lambda: story.pods("n2") == ["10.42.0.0/26"])
        assert story.pods("n1") == []
        story.api.delete("IPAMBlock", "a")
        await story.until(lambda: story.pods("n2") == [])


async def test_what_we_may_not_read_is_said_and_read_once_it_is_granted(story: Story) -> None:
    """The cluster's pods stay unknown, with the missing rule, until somebody grants it."""
    story.api.put(block_definition())
    story.api.put(block("a", "10.42.0.0/26", "n1"))
    allowed = story.api.access.check

    def check(user: str, verb: str, resource: Any, namespace: str, name: str, subresource: str = "") -> None:
        if resource.plural == "ipamblocks":
            raise status.denied(resource, name, "no rule allows it")

    story.api.access.check = check  # type: ignore[method-assign]
    async with story.running():
        await story.until(lambda: "we may not read its ipamblocks" in story.doubt)
        story.api.access.check = allowed  # type: ignore[method-assign]
        await story.until(lambda: not story.doubt)
        assert story.pods("n1") == ["10.42.0.0/26"]


async def test_an_empty_first_list_where_routes_stand_is_looked_at_again(story: Story) -> None:
    """What an earlier life put on the device came from some block; it does not go on the word of one moment."""
    story.api.put(block_definition())
    story.stands = True
    async with story.running():
        await story.until(lambda: "ipamblocks" in story.session.informers)
        await story.session.informers["ipamblocks"].synced.wait()
        await asyncio.sleep(0.2)
        assert "have not been read yet" in story.doubt
        story.api.put(block("a", "10.42.0.0/26", "n1"))
        await story.until(lambda: not story.doubt)
        assert story.pods("n1") == ["10.42.0.0/26"]


async def test_a_session_anew_forgets_what_went_in_between(story: Story) -> None:
    """After the cluster was left and met again, blocks that are gone by then are gone."""
    story.api.put(block_definition())
    for name, cidr in (("a", "10.42.0.0/26"), ("b", "10.42.0.64/26")):
        story.api.put(block(name, cidr, "n1"))
    async with story.running():
        await story.until(lambda: not story.doubt)
    story.world.view("east").unconfirm()
    story.world.judge_network("east")
    assert "have not been read yet" in story.doubt
    story.api.delete("IPAMBlock", "b")
    assert story.pods("n1") == ["10.42.0.0/26", "10.42.0.64/26"]
    async with story.running():
        await story.until(lambda: not story.doubt)
        assert story.pods("n1") == ["10.42.0.0/26"]


async def test_an_api_that_fails_leaves_everything_unknown(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """A discovery that does not answer is no answer: nothing is absent because of it."""
    failing, asked = [True], homes.offers

    async def offers(client: KubeClient, kind: KindRef) -> bool:
        if failing[0]:
            raise KubeUnreachable("no answer")
        return await asked(client, kind)

    monkeypatch.setattr(homes, "offers", offers)
    async with story.running():
        await asyncio.sleep(0.1)
        assert "have not been read yet" in story.doubt
        failing[0] = False
        await story.until(lambda: not story.doubt)
