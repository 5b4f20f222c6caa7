"""A directory is followed, and doubt never removes anything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import InputError
from isthmus.registry.files import Loaded
from isthmus.registry.watch import FileRegistry, Snapshot

from .writing import pool, write

P, Q = ("AddressPool", "p"), ("AddressPool", "q")
LOOKS = 0.01


@asynccontextmanager
async def following(directory: Path) -> AsyncIterator[FileRegistry]:
    """Follow ``directory``, looking often."""
    async with FileRegistry(directory, {"linux"}, interval=LOOKS) as registry:
        yield registry


async def until(registry: FileRegistry, true: Callable[[Snapshot], bool]) -> Snapshot:
    """Return the first snapshot of which ``true`` holds."""
    changes = registry.changes()
    async with asyncio.timeout(10):
        while not true(registry.snapshot()):
            await anext(changes)
    return registry.snapshot()


async def looked(registry: FileRegistry, monkeypatch: pytest.MonkeyPatch, times: int = 4) -> None:
    """Return after the registry has looked ``times`` more times."""
    count = 0
    enough = asyncio.Event()
    look = registry._look

    async def counted() -> Loaded:
        nonlocal count
        loaded = await look()
        count += 1
        if count > times:
            enough.set()
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_look", counted)
        async with asyncio.timeout(10):
            await enough.wait()


def ranges(snapshot: Snapshot, key: tuple[str, str]) -> Any:
    """Return what the pool ``key`` says."""
    return snapshot.objects[key].document()["spec"]["ranges"]


async def test_edits_additions_and_removals(tmp_path: Path) -> None:
    """Readers see the keys of what was added, changed and removed."""
    file = write(tmp_path / "a.yaml", pool("p", "192.0.2.1"))
    async with following(tmp_path) as registry, asyncio.timeout(10):
        assert set(registry.snapshot().objects) == {P}
        assert registry.snapshot().origins == {P: f"{file}:1"}
        changes = registry.changes()
        write(file, pool("p", "192.0.2.2"))
        assert await anext(changes) == {P}
        assert ranges(registry.snapshot(), P) == ["192.0.2.2"]
        other = write(tmp_path / "b.yaml", pool("q", "192.0.2.3"))
        assert await anext(changes) == {Q}
        other.unlink()
        assert await anext(changes) == {Q}
        assert set(registry.snapshot().objects) == {P}


async def test_an_invalid_edit_keeps_the_last_good_version(tmp_path: Path) -> None:
    """A document that turned wrong keeps what it said, and the problem is listed until it is mended."""
    file = write(tmp_path / "a.yaml", pool("p", "192.0.2.1"), pool("q", "192.0.2.9"))
    async with following(tmp_path) as registry:
        write(file, pool("p", "192.0.2.1/24"), pool("q", "192.0.2.10"))
        snapshot = await until(registry, lambda now: bool(now.problems))
        assert ranges(snapshot, P) == ["192.0.2.1"]
        assert ranges(snapshot, Q) == ["192.0.2.10"]
        assert "has host bits set" in str(snapshot.problems[0])
        write(file, pool("p", "192.0.2.0/29"), pool("q", "192.0.2.10"))
        snapshot = await until(registry, lambda now: not now.problems)
        assert ranges(snapshot, P) == ["192.0.2.0/29"]


@pytest.mark.parametrize(
    "text", ["kind: [", "", "- a list", "\x00"], ids=["not YAML", "empty", "no object", "no text"]
)
async def test_a_file_nobody_can_read_keeps_all_it_held(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a file is broken, empty or no text, its objects stay, and a problem says so."""
    file = write(tmp_path / "a.yaml", pool("p", "192.0.2.1"))
    write(tmp_path / "b.yaml", pool("q", "192.0.2.2"))
    async with following(tmp_path) as registry:
        file.write_text(text)
        await until(registry, lambda now: bool(now.problems))
        await looked(registry, monkeypatch)
        assert set(registry.snapshot().objects) == {P, Q}
        file.unlink()
        await until(registry, lambda now: set(now.objects) == {Q} and not now.problems)


async def test_a_blip_removes_nothing(tmp_path: Path) -> None:
    """A file that is away for one look, as while an editor saves, is never taken for removed."""
    file = write(tmp_path / "a.yaml", pool("p", "192.0.2.1"))
    async with FileRegistry(tmp_path, interval=3600) as registry:
        good = await registry._look()
        file.rename(tmp_path / "a.bak")
        registry._take(await registry._look())
        assert set(registry.snapshot().objects) == {P}
        (tmp_path / "a.bak").rename(file)
        registry._take(await registry._look())
        assert set(registry.snapshot().objects) == {P}
        registry._take(good)
        file.unlink()
        registry._take(await registry._look())
        assert set(registry.snapshot().objects) == {P}
        registry._take(await registry._look())
        assert set(registry.snapshot().objects) == set()


async def test_a_directory_that_is_gone_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vanished directory, and an empty one in its place (a volume not mounted), remove nothing."""
    home = tmp_path / "config"
    write(home / "a.yaml", pool("p", "192.0.2.1"))
    async with following(home) as registry:
        home.rename(tmp_path / "away")
        snapshot = await until(registry, lambda now: bool(now.problems))
        assert "cannot be read: no such file or directory" in str(snapshot.problems[0])
        home.mkdir()
        snapshot = await until(registry, lambda now: "not mounted" in "".join(map(str, now.problems)))
        await looked(registry, monkeypatch)
        assert set(registry.snapshot().objects) == {P}
        home.rmdir()
        (tmp_path / "away").rename(home)
        await until(registry, lambda now: not now.problems)
        assert set(registry.snapshot().objects) == {P}


async def test_an_emptied_directory_is_empty(tmp_path: Path) -> None:
    """Files deleted from a directory that stays are deleted."""
    file = write(tmp_path / "a.yaml", pool("p", "192.0.2.1"))
    async with following(tmp_path) as registry:
        file.unlink()
        await until(registry, lambda now: not now.objects)


async def test_start_needs_the_directory(tmp_path: Path) -> None:
    """A directory that is not there at start is an error at once."""
    with pytest.raises(InputError, match="cannot be read"):
        await FileRegistry(tmp_path / "gone").start()


async def test_unusable_is_not_gone(tmp_path: Path) -> None:
    """A pool that overlaps another is unusable with the reason, and still there; so it is reported as changed."""
    write(tmp_path / "a.yaml", pool("p", "192.0.2.0/28"))
    write(tmp_path / "b.yaml", pool("q", "192.0.2.16/28"))
    async with following(tmp_path) as registry, asyncio.timeout(10):
        changes = registry.changes()
        write(tmp_path / "a.yaml", pool("p", "192.0.2.0/27"))
        assert await anext(changes) == {P, Q}
        snapshot = registry.snapshot()
        assert set(snapshot.objects) == {P, Q}
        assert list(snapshot.unusable) == [Q]
        assert "overlaps AddressPool p in 192.0.2.16 - 192.0.2.31" in snapshot.unusable[Q]


async def test_readers_end_with_the_registry(tmp_path: Path) -> None:
    """Stopping ends the loops of all readers, after what they have not seen yet."""
    async with following(tmp_path) as registry:
        seen: list[frozenset[Any]] = []

        async def read() -> None:
            seen.extend([keys async for keys in registry.changes()])

        reader = asyncio.create_task(read())
        write(tmp_path / "a.yaml", pool("p", "192.0.2.1"))
        await until(registry, lambda now: bool(now.objects))
    async with asyncio.timeout(10):
        await reader
    assert seen == [{P}]
    assert [keys async for keys in registry.changes()] == []


async def test_a_mount_that_hangs_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that does not come back is a problem after a while, keeps everything, and is not repeated meanwhile."""
    write(tmp_path / "a.yaml", pool("p", "192.0.2.1"))
    release = threading.Event()
    looks = 0
    async with FileRegistry(tmp_path, interval=LOOKS, patience=0.05) as registry:
        read = registry._reader.read

        def hanging() -> Loaded:
            nonlocal looks
            looks += 1
            release.wait(10)
            return read()

        monkeypatch.setattr(registry._reader, "read", hanging)
        snapshot = await until(registry, lambda now: "does not answer" in "".join(map(str, now.problems)))
        assert set(snapshot.objects) == {P}
        assert looks == 1
        release.set()
        await until(registry, lambda now: not now.problems)


async def test_a_bug_of_ours_is_a_problem_and_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our own code trips over a file, readers hear of a problem, what was read before stays, and all of it passes."""

    def tripping(*_: object) -> Loaded:
        raise IndexError("a bug")

    write(tmp_path / "p.yaml", pool("p", "192.0.2.0/28"))
    async with following(tmp_path) as registry:
        before = registry.snapshot().objects
        for owner, name in ((registry, "_take"), (registry._reader, "read")):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, tripping)
                write(tmp_path / "p.yaml", pool("p", "192.0.2.0/28", "203.0.113.0/28"))
                found = await until(registry, lambda snapshot: bool(snapshot.problems))
                assert "IndexError('a bug')" in str(found.problems[0])
                assert found.objects == before
                write(tmp_path / "p.yaml", pool("p", "192.0.2.0/28"))
            await until(registry, lambda snapshot: not snapshot.problems)
        write(tmp_path / "q.yaml", pool("q", "198.51.100.0/28"))
        found = await until(registry, lambda snapshot: Q in snapshot.objects and not snapshot.problems)
        assert P in found.objects
