"""The server as a process and as an address: TLS, files, signals, and what is left behind."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import signal
import ssl
import stat
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from isthmus.errors import LabError
from isthmus.lab import kube
from isthmus.lab.kube import KubeApi
from isthmus.lab.kube.protobuf import MAGIC, Unreadable, decode
from lab.kube.talking import node


async def ask(url: str, token: str, ca: Path | None, path: str = "/api/v1/namespaces") -> Any:
    context = ssl.create_default_context(cafile=str(ca)) if ca else True
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{url}{path}", ssl=context) as response,
    ):
        return await response.json()


async def test_tls_with_its_own_authority(tmp_path: Path) -> None:
    """The certificate is good for the addresses and names asked for, under the authority written beside it."""
    api = KubeApi(tokens={"t": "u"})
    async with api.serving(directory=tmp_path, names=("api.example.org", "192.0.2.1")) as endpoint:
        assert endpoint.url.startswith("https://127.0.0.1:")
        assert len((await ask(endpoint.url, "t", endpoint.ca_path))["items"]) == 4
        by_name = endpoint.url.replace("127.0.0.1", "localhost")
        assert (await ask(by_name, "t", endpoint.ca_path))["kind"] == "NamespaceList"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            async with aiohttp.ClientSession() as session:
                await session.get(endpoint.url)
        for path in (endpoint.kubeconfig_path, endpoint.kubeconfig_path.with_name("server.key")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        config = json.loads(endpoint.kubeconfig_path.read_text())
        assert config["users"][0]["user"]["token"] == endpoint.token == "t"
    assert list(tmp_path.iterdir()) == []


async def test_ipv6_loopback() -> None:
    """The server listens on ::1 as well, and its URL is good there."""
    async with KubeApi(tls=False).serving("::1") as endpoint:
        assert endpoint.url.startswith("http://[::1]:")
        assert (await ask(endpoint.url, endpoint.token, None))["kind"] == "NamespaceList"


async def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """A second server on one port fails with a reason, and leaves nothing behind."""
    async with KubeApi(tls=False).serving() as endpoint:
        with pytest.raises(LabError, match=f"cannot listen on 127.0.0.1 port {endpoint.port}"):
            async with KubeApi(tls=False).serving(port=endpoint.port, directory=tmp_path):
                raise AssertionError
    assert list(tmp_path.iterdir()) == []


async def test_the_end_does_not_wait_for_watches() -> None:
    """Open watches, frozen or not, do not keep the server from ending."""
    api = KubeApi(tls=False)
    async with aiohttp.ClientSession() as session:
        async with api.serving() as endpoint:
            headers = {"Authorization": f"Bearer {endpoint.token}"}
            responses = [
                await session.get(f"{endpoint.url}/api/v1/nodes", params={"watch": "1"}, headers=headers)
                for _ in range(3)
            ]
            api.freeze_watches()
            start = time.monotonic()
        assert time.monotonic() - start < 4  # the handlers would be given five seconds
        for response in responses:
            response.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_nothing_remains(tmp_path: Path, number: signal.Signals) -> None:
    """As a process it says where its kubeconfig is, prints nothing itself, ends on a signal, and leaves no file."""
    program = textwrap.dedent("""
        from isthmus.lab.kube import run_kube_api
        run_kube_api(0, "127.0.0.1", lambda path: print(path, flush=True), cluster_cidrs=("10.244.0.0/16",))
    """)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        path = Path((await process.stdout.readline()).decode().strip())
        config = json.loads(path.read_text())
        server = config["clusters"][0]["cluster"]
        answer = await ask(
            server["server"], config["users"][0]["user"]["token"], Path(server["certificate-authority"])
        )
        assert answer["kind"] == "NamespaceList"
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_it_stands_alone() -> None:
    """The server imports nothing of the project but the exceptions: what it proves, it proves of others' code."""
    root = Path(kube.__file__).parent
    for path in root.glob("*.py"):
        for line in ast.walk(ast.parse(path.read_text())):
            names = [line.module or ""] if isinstance(line, ast.ImportFrom) else []
            names += [alias.name for alias in line.names] if isinstance(line, ast.Import) else []
            for name in names:
                if name.partition(".")[0] == "isthmus":
                    assert name == "isthmus.errors" or name.startswith("isthmus.lab.kube"), path


async def test_five_thousand_nodes_in_pages() -> None:
    """A fleet is listed in pages of 500 in well under a second."""
    api = KubeApi(tls=False)
    labels = {f"lab.dev/label-{number}": "x" * 40 for number in range(20)}
    for number in range(5000):
        api.store.put("nodes", node(f"node-{number:05}", labels=labels))
    async with (
        api.serving() as endpoint,
        aiohttp.ClientSession(endpoint.url, headers={"Authorization": f"Bearer {endpoint.token}"}) as session,
    ):
        start, token, items = time.monotonic(), "", 0
        while True:
            async with session.get("/api/v1/nodes", params={"limit": "500", "continue": token}) as response:
                page = json.loads(await response.read())
            items += len(page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                break
        spent = time.monotonic() - start
    assert items == 5000
    assert spent < 1.5  # 0.2 s on a quiet machine, reading included


def test_protobuf_that_is_not_understood_is_refused_as_a_whole() -> None:
    """A kind, a field or a length that is not known is an error, never half an object."""

    def envelope(kind: bytes, raw: bytes) -> bytes:
        meta = b"\x0a\x02v1\x12" + bytes([len(kind)]) + kind
        return MAGIC + b"\x0a" + bytes([len(meta)]) + meta + b"\x12" + bytes([len(raw)]) + raw

    assert decode(envelope(b"Namespace", b"\x0a\x03\x0a\x01n")) == {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": "n"},
    }
    for data in (
        b"",
        b"{}",
        MAGIC + b"\xff",
        envelope(b"Volcano", b""),
        envelope(b"Namespace", b"\x7a\x00"),
        envelope(b"Namespace", b"\x0a\x05\x0a"),
        envelope(b"Namespace", b"\x0a\x03\x0a\x01\xff"),
        envelope(b"Namespace", b"\x08\x01"),
    ):
        with pytest.raises(Unreadable):
            decode(data)
