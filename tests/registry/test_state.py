"""The state directory keeps what it was told, for one process at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.errors import StateError, StateLocked
from isthmus.model.kinds import Holder, VirtualIP
from isthmus.model.kinds.kind import Metadata
from isthmus.model.kinds.vip import VirtualIPSpec, vip_address
from isthmus.registry.database import DATABASE, SCHEMA_VERSION
from isthmus.registry.state import ClaimTaken, StateDirectory

FRONT = Holder(cluster="east", namespace="shop", service="front")
BACK = Holder(cluster="east", namespace="shop", service="back")


def claim(name: str, holder: Holder | None = FRONT) -> VirtualIP:
    """Return a claim of the address that ``name`` says."""
    spec = VirtualIPSpec(address=vip_address(name), holder=holder, reservation=holder is None)
    return VirtualIP(metadata=Metadata(name=name), spec=spec)


async def test_an_address_is_claimed_once(tmp_path: Path) -> None:
    """The second claim of an address fails and says who has it, also after a restart."""
    async with StateDirectory(tmp_path / "state", clock=lambda: 17.5) as state:
        await state.create_claim(claim("192.0.2.1"))
        await state.create_claim(claim("2001-0db8-0000-0000-0000-0000-0000-0001", None))
    async with StateDirectory(tmp_path / "state") as state:
        with pytest.raises(ClaimTaken, match=r"192\.0\.2\.1 is held by east/shop/front") as taken:
            await state.create_claim(claim("192.0.2.1", BACK))
        assert taken.value.claim.spec.holder == FRONT
        assert [(kept.name, kept.spec, kept.created) for kept in await state.claims()] == [
            ("192.0.2.1", claim("192.0.2.1").spec, 17.5),
            (
                "2001-0db8-0000-0000-0000-0000-0000-0001",
                claim("2001-0db8-0000-0000-0000-0000-0000-0001", None).spec,
                17.5,
            ),
        ]


async def test_many_at_once_one_wins(tmp_path: Path) -> None:
    """Of many who claim one address at the same time, exactly one gets it."""
    async with StateDirectory(tmp_path / "state") as state:
        holders = [Holder(cluster="c", namespace="n", service=f"s{n}") for n in range(20)]
        results = await asyncio.gather(
            *(state.create_claim(claim("192.0.2.1", holder)) for holder in holders), return_exceptions=True
        )
        assert sum(result is None for result in results) == 1
        assert sum(isinstance(result, ClaimTaken) for result in results) == 19


async def test_only_the_holder_gives_up(tmp_path: Path) -> None:
    """A claim is deleted for its holder only; deleting it again is no error."""
    async with StateDirectory(tmp_path / "state") as state:
        await state.create_claim(claim("192.0.2.1"))
        for other in (BACK, None):
            with pytest.raises(ClaimTaken):
                await state.delete_claim("192.0.2.1", other)
        await state.delete_claim("192.0.2.1", FRONT)
        await state.delete_claim("192.0.2.1", FRONT)
        assert await state.claims() == ()
        await state.create_claim(claim("192.0.2.1", None))
        await state.delete_claim("192.0.2.1", None)
        assert await state.claims() == ()


async def test_choices_assignments_status_and_applied(tmp_path: Path) -> None:
    """Everything that was kept is there after a restart, and can be taken back."""
    path = tmp_path / "state"
    async with StateDirectory(path, clock=lambda: 5.0) as state:
        await state.choose("lab", {"path": "direct"})
        await state.choose("old", {"path": "overlay"})
        await state.choose("old", None)
        await state.assign("overlay/lab", {"n1": "10.200.0.2", "n2": "10.200.0.3", "n3": None})
        await state.assign("overlay/lab", {"n2": None})
        await state.assign("other", {"n1": 1})
        await state.write_status({("EdgeDevice", "gw"): {"reachable": True}, ("KubeCluster", "k"): {}})
        await state.write_status({("EdgeDevice", "gw"): {"reachable": False}}, gone=[("KubeCluster", "k")])
        await state.write_applied("gw", {"routes": ["10.0.0.0/24"], "ü": None})
        await state.write_applied("gone", 1)
        await state.write_applied("gone", None)
    async with StateDirectory(path) as state:
        with StateDirectory.read(path) as reader:
            assert await state.choices() == reader.choices() == {"lab": {"path": "direct"}}
            assert await state.assignments("overlay/lab") == reader.assignments("overlay/lab") == {"n1": "10.200.0.2"}
            status = await state.read_status()
            assert status == reader.read_status()
            assert {key: (entry.value, entry.updated) for key, entry in status.items()} == {
                ("EdgeDevice", "gw"): ({"reachable": False}, 5.0)
            }
            applied = {"routes": ["10.0.0.0/24"], "ü": None}
            assert await state.read_applied("gw") == reader.read_applied("gw") == applied
            assert await state.read_applied("gone") is None


async def test_a_failed_batch_changes_nothing(tmp_path: Path) -> None:
    """A batch with a value that cannot be kept leaves everything as it was."""
    async with StateDirectory(tmp_path / "state") as state:
        await state.assign("s", {"a": 1})
        with pytest.raises((TypeError, ValueError)):
            await state.assign("s", {"a": 2, "b": object()})
        assert await state.assignments("s") == {"a": 1}
        await state.assign("s", {"b": 2})
        assert await state.assignments("s") == {"a": 1, "b": 2}


CHILD = """
import asyncio, sys
from pathlib import Path
from isthmus.registry.state import StateDirectory
async def main():
    async with StateDirectory(Path(sys.argv[1])) as state:
        await state.choose("lab", {"path": "direct"})
        print("ready", flush=True)
        for number in range(1_000_000):
            await state.assign("counting", {"last": number})
            print(number, flush=True)
asyncio.run(main())
"""


def child(path: Path) -> subprocess.Popen[str]:
    """Start a process that has the state directory and writes to it without end."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


async def test_one_process_has_it_and_others_read(tmp_path: Path) -> None:
    """A second process is told who has the directory; reading works beside it; its death frees the directory."""
    path = tmp_path / "state"
    process = child(path)
    try:
        with pytest.raises(StateLocked, match=f"in use by process {process.pid}"):
            await StateDirectory(path).__aenter__()
        with StateDirectory.read(path) as reader:
            assert reader.choices() == {"lab": {"path": "direct"}}
    finally:
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
    with StateDirectory.read(path) as reader:
        assert reader.choices() == {"lab": {"path": "direct"}}
    acknowledged = [int(line) for line in output.split("\n")[:-1]]
    async with StateDirectory(path) as state:
        kept = (await state.assignments("counting")).get("last", -1)
        # What was acknowledged survives kill -9; at most the one write under way may be there on top.
        assert kept - (acknowledged[-1] if acknowledged else -1) in (0, 1)


async def test_the_same_process_cannot_have_it_twice(tmp_path: Path) -> None:
    """A second opening in one process is refused as well, and the first works on."""
    async with StateDirectory(tmp_path / "state") as state:
        with pytest.raises(StateLocked, match=f"process {os.getpid()}"):
            await StateDirectory(tmp_path / "state").__aenter__()
        await state.choose("a", 1)
        assert await state.choices() == {"a": 1}


async def test_private(tmp_path: Path) -> None:
    """The directory is for its user alone, and so is every file in it, while in use and after."""
    path = tmp_path / "deep" / "state"
    async with StateDirectory(path) as state:
        await state.choose("a", 1)
        assert path.stat().st_mode & 0o777 == 0o700
        files = {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()}
        assert set(files) == {"state.db", "state.db-wal", "state.db-shm", "lock"}
        assert set(files.values()) == {0o600}


async def test_a_directory_of_others_is_not_taken(tmp_path: Path) -> None:
    """A shared directory with other files in it is refused and left as it is; an empty one is made private."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "theirs").touch()
    with pytest.raises(StateError, match="holds other files"):
        await StateDirectory(shared).__aenter__()
    assert shared.stat().st_mode & 0o777 == 0o777
    (shared / "theirs").unlink()
    async with StateDirectory(shared):
        assert shared.stat().st_mode & 0o777 == 0o700


async def test_damage_is_told_and_the_file_kept(tmp_path: Path) -> None:
    """A damaged database is an error that names it, and the file stays as it is; nothing stays locked."""
    path = tmp_path / "state"
    async with StateDirectory(path) as state:
        await state.assign("s", {f"k{n:05}": "x" * 100 for n in range(2000)})
    file = path / DATABASE
    raw = bytearray(file.read_bytes())
    for damage in (bytes(4096 * 3), b"this is not a database" * 500):
        file.write_bytes(raw[:8192] + damage + raw[8192 + len(damage) :] if damage[0] == 0 else damage)
        before = file.read_bytes()
        with pytest.raises(StateError, match=f"{file} is damaged"):
            await StateDirectory(path).__aenter__()
        assert file.read_bytes() == before
    file.write_bytes(raw)
    async with StateDirectory(path) as state:
        assert len(await state.assignments("s")) == 2000


async def test_damaged_applied_state_is_not_restored(tmp_path: Path) -> None:
    """What was applied is checked against its checksum before anybody restores it."""
    path = tmp_path / "state"
    async with StateDirectory(path) as state:
        await state.write_applied("gw", {"routes": []})
    with sqlite3.connect(path / DATABASE) as connection:
        connection.execute("UPDATE applied SET value = ?", (b'{"routes":[1]}',))
    connection.close()
    async with StateDirectory(path) as state:
        with pytest.raises(StateError, match="last applied to gw is damaged"):
            await state.read_applied("gw")


async def test_what_is_applied_is_kept_thing_by_thing(tmp_path: Path) -> None:
    """One thing more is one line more; what is said as a whole replaces all, also what was kept all in one."""
    path = tmp_path / "state"
    async with StateDirectory(path) as state:
        await state.write_applied("gw", ["before"])
        await state.keep_applied("gw", {"a": b"1", "b": b"2", "c": b"3"}, among={"a", "b", "c"})
        assert await state.read_applied("gw") == [1, 2, 3]
        await state.keep_applied("gw", {"b": None, "c": b"4", "d": b"5"})
        await state.keep_applied("other", {"a": b"6"})
        assert await state.read_applied("gw") == [1, 4, 5]
        size = (path / f"{DATABASE}-wal").stat().st_size
        await state.keep_applied("gw", {"a": b"1", "c": b"4", "d": b"5"}, among={"a", "c", "d"})
        assert (path / f"{DATABASE}-wal").stat().st_size == size, "what stands there already is not written again"
        await state.keep_applied("gw", {}, among={"d"})
        assert await state.read_applied("gw") == [5]
    with sqlite3.connect(path / DATABASE) as connection:
        connection.execute("UPDATE standing SET value = ? WHERE device = 'gw'", (b"7",))
    connection.close()
    async with StateDirectory(path) as state:
        with pytest.raises(StateError, match="last applied to gw is damaged"):
            await state.read_applied("gw")
        assert await state.read_applied("other") == [6]


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a newer version is left alone, by writers and readers."""
    path = tmp_path / "state"
    async with StateDirectory(path):
        pass
    connection = sqlite3.connect(path / DATABASE)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StateError, match="a newer one has used it"):
        await StateDirectory(path).__aenter__()
    with pytest.raises(StateError, match="reads schema"):
        StateDirectory.read(path)


async def test_nothing_to_read(tmp_path: Path) -> None:
    """Reading where nothing was kept is an error that says so, and creates nothing."""
    with pytest.raises(StateError, match="nothing has kept its state here yet"):
        StateDirectory.read(tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


async def test_not_open_or_closed(tmp_path: Path) -> None:
    """Using a directory that is not open, or closed, is an error of the family."""
    state = StateDirectory(tmp_path / "state")
    with pytest.raises(StateError, match="is not open"):
        await state.claims()
    await state.open()
    await state.close()
    await state.close()
    with pytest.raises(StateError, match="is closed"):
        await state.claims()
