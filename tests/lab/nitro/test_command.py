"""The verb as people run it: what it prints, and that nothing stays."""

from __future__ import annotations

import ast
import asyncio
import json
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from isthmus.cli import main
from isthmus.lab import nitro as package
from lab.nitro.talking import Nitro


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[str]:
    """Run the verb until the block ends; yields its first line. It must end with 0 on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "isthmus", "lab", "nitro", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            yield (await process.stdout.readline()).decode().rstrip("\n")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_pair_with_faults() -> None:
    """Two URLs, each with its administration; the options act; a second node takes no changes; the CA file goes."""
    more = ["--peer", "127.0.0.1:0", "--tls", "--admin", "0", "--disk-full", "--release", "NetScaler NS99"]
    async with running("--json", *more) as line:
        one, two = json.loads(line)
        ca = Path(one["ca"])
        context = ssl.create_default_context(cafile=ca)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            assert (await Nitro(session, one["url"]).get("nsversion"))["version"] == "NetScaler NS99"
            reply = await Nitro(session, one["url"]).call("POST", "nsconfig?action=save", {"nsconfig": {}})
            assert reply.code == 1461
        context = ssl.create_default_context(cafile=two["ca"])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            assert (await Nitro(session, two["url"]).add("vxlan", id=1)).code == 368
        assert one["admin"].startswith("http://127.0.0.1:")
        assert one["admin"] != two["admin"]
    assert not ca.exists()


async def test_it_prints_where_it_is() -> None:
    """One line with the URL; root is not needed."""
    async with running() as line, aiohttp.ClientSession() as session:
        assert line.startswith("http://127.0.0.1:")
        assert [row["type"] for row in await Nitro(session, line).get("nsip")] == ["NSIP"]


def test_a_wrong_address(capsys: pytest.CaptureFixture[str]) -> None:
    """It is wrong usage, and names the option."""
    for option in ("--listen", "--peer"):
        with pytest.raises(SystemExit) as ended:
            main(("lab", "nitro", option, "8080"))
        assert ended.value.code == 64
        assert f"{option} '8080': is no address with a port" in capsys.readouterr().err


def test_it_shares_nothing_with_what_it_tests() -> None:
    """It imports the exception family, the lab's certificates and itself."""
    allowed = ("isthmus.errors", "isthmus.lab.nitro", "isthmus.lab.kube.certificates")
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("isthmus"):
                assert (node.module or "").startswith(allowed), path
