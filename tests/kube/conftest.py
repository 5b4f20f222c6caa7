"""A broken-on-demand API server, a client of it, and informers with a fast clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.informer import Informer
from isthmus.kube.pace import Timing
from isthmus.kube.parse import NODE, Projection
from isthmus.kube.transport import Patience
from isthmus.model.facts import ObjectKey

from .stub import StubApi

FAST = Timing(
    idle_check=0.15,
    probe=0.4,
    listen=0.05,
    grace=0.05,
    read=5.0,
    healthy=30.0,
    backoff_first=0.01,
    backoff_most=0.05,
)


@dataclass
class Watched:
    """An informer that runs, with what it told."""

    informer: Informer[Any]
    changes: list[set[ObjectKey]] = field(default_factory=list)
    doubts: list[str | None] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        return {name for _, name in self.informer.keys()}  # noqa: SIM118 - an informer is no dict


@pytest.fixture
async def api() -> AsyncIterator[StubApi]:
    async with StubApi().serving() as stub:
        yield stub


@pytest.fixture
async def client(api: StubApi) -> AsyncIterator[KubeClient]:
    async with KubeClient(
        Connection(server=api.url, name="test"), patience=Patience(connect=1.0, request=2.0, headers=0.5)
    ) as made:
        yield made


@pytest.fixture
async def watching(client: KubeClient) -> AsyncIterator[Callable[..., Watched]]:
    """Start informers by calling it; they end with the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(
        projection: Projection[Any] = NODE, *, timing: Timing = FAST, via: KubeClient | None = None, **more: Any
    ) -> Watched:
        watched: Watched

        def changed(keys: set[ObjectKey]) -> None:
            watched.changes.append(keys)

        def doubted(reason: str | None) -> None:
            watched.doubts.append(reason)

        informer = Informer(
            via or client,
            projection,
            on_change=changed,
            on_suspect=doubted,
            timing=timing,
            source=random.Random(1),
            **more,
        )
        watched = Watched(informer)
        tasks.append(asyncio.create_task(informer.run()))
        return watched

    yield start
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if not isinstance(result, asyncio.CancelledError):
            raise AssertionError("an informer ended by itself") from result  # type: ignore[arg-type]
