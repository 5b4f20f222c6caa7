"""The lab's verbs as a user types them: each in a sandbox of its own, and nothing is left afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from isthmus.lab.net.command import Output, run
from isthmus.lab.net.sandbox import MARKER

# curl would do, where there is one.
GET = (
    "import sys, urllib.request as ask;"
    "print(ask.build_opener(ask.ProxyHandler({})).open(sys.argv[1], timeout=5).read().decode())"
)
ISTHMUS = (sys.executable, "-m", "isthmus")


async def isthmus(*arguments: str, place: Path, text: str = "") -> Output:
    """Run ``isthmus`` outside any sandbox we may be in, with ``place`` for its temporary files."""
    left_out = ["-u", MARKER, f"TMPDIR={place}"]
    return await run(["env", *left_out, *ISTHMUS, *arguments], text=text, timeout=90, check=False)


def processes(word: str) -> list[str]:
    """Return the command lines of processes that mention ``word``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


async def leaves_nothing(place: Path) -> None:
    """See that no process, namespace or file is left of a lab."""
    async with asyncio.timeout(10):
        while processes("isthmus lab") or processes("isthmus controller") or processes("isthmus agent"):
            await asyncio.sleep(0.05)
    assert (await run(["ip", "netns", "list"])).out == ""
    assert [path.name for path in Path("/run").glob("isthmus-lab-*")] == []
    assert [path for path in place.rglob("*") if path.is_socket()] == []


@pytest.mark.parametrize("path", ["direct", "flannel", "overlay", "auto"])
async def test_lab_run_reaches_everybody(tmp_path: Path, path: str) -> None:
    """`isthmus lab run` exits with 0 and prints every pair as reached and every VIP as spread over all pods."""
    done = await isthmus("lab", "run", "--nodes", "3", "--path", path, "--device", "linux", "--json", place=tmp_path)
    assert done.status == 0, done.err + done.out
    found = json.loads(done.out)
    assert found["ok"] is True
    assert len(found["pairs"]) == 6
    assert all(pair["ok"] for pair in found["pairs"])
    assert len(found["vips"]) == 4
    assert all(set(vip["pods"].values()) == {10} and not vip["failures"] for vip in found["vips"])
    assert found["path"] == ("direct" if path == "auto" else path)
    await leaves_nothing(tmp_path)


async def test_lab_run_with_a_netscaler_reaches_everybody(tmp_path: Path) -> None:
    """With an appliance in the gateway's place, too; and it says how to ask the appliance oneself."""
    words = ("--nodes", "2", "--path", "overlay", "--device", "netscaler", "--json")
    done = await isthmus("lab", "run", *words, place=tmp_path)
    assert done.status == 0, done.err + done.out
    found = json.loads(done.out)
    assert found["ok"] is True
    assert (len(found["pairs"]), len(found["vips"]), found["path"]) == (4, 4, "overlay")
    assert any("curl -u nsroot:nsroot" in line and "192.0.2.241" in line for line in found["made"])
    await leaves_nothing(tmp_path)


async def test_the_demo_sees_every_step(tmp_path: Path) -> None:
    """`isthmus lab demo` exits with 0 because every step was observed, and leaves nothing."""
    done = await isthmus("lab", "demo", place=tmp_path)
    assert done.status == 0, done.out
    assert "NOT SEEN" not in done.out
    await leaves_nothing(tmp_path)


async def test_a_lab_goes_up_is_entered_and_goes_down(tmp_path: Path) -> None:
    """`lab up` returns with a lab that serves, `lab enter` runs commands in it, `lab down` leaves no trace."""
    up = await isthmus("lab", "up", "--nodes", "2", place=tmp_path)
    try:
        assert up.status == 0, up.err + up.out
        second = await isthmus("lab", "up", place=tmp_path)
        assert second.status == 1
        assert "up already" in second.err
        vip = up.out.split("default/web has ")[1].split()[0]
        asking = ("on", "client-far", sys.executable, "-c", GET, f"http://{vip}/")
        answer = await isthmus("lab", "enter", *asking, place=tmp_path)
        assert answer.out.startswith("pod=pod"), answer
        async with asyncio.timeout(10):
            while (status := await isthmus("lab", "enter", "isthmus", "status", place=tmp_path)).status:
                await asyncio.sleep(0.2)
        assert "gw1" in status.out
    finally:
        down = await isthmus("lab", "down", place=tmp_path)
    assert down.status == 0, down
    assert "gone" in down.out
    await leaves_nothing(tmp_path)
    assert "no lab is up" in (await isthmus("lab", "down", place=tmp_path)).out


async def test_the_labs_prompt_takes_commands_from_a_pipe(tmp_path: Path) -> None:
    """`lab shell` with its input from a pipe runs the commands inside and ends with them."""
    script = (
        "for try in $(seq 50); do isthmus status > /dev/null 2>&1 && break; sleep 0.1; done\n"
        "isthmus status\non gw1 ip route show proto 200\nexit\n"
    )
    done = await isthmus("lab", "shell", "--nodes", "2", "--path", "direct", place=tmp_path, text=script)
    assert done.status == 0, done.err
    assert "10.244.2.0/24" in done.out
    assert "in sync" in done.out
    await leaves_nothing(tmp_path)
