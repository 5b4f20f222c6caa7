"""The real API server that tests are given: it answers, it is guarded, and it never outlives them."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import aiohttp
import pytest

from isthmus.errors import KubeForbidden, KubeUnauthorized
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.identity import cluster_uid
from isthmus.kube.kinds import NODES
from isthmus.kube.kubeconfig import load
from realapi import RealApi, require
from realapi.finding import SCRIPT


async def test_the_administrator_comes_in_by_certificate_and_by_token(real_api: RealApi) -> None:
    """The kubeconfig has a client certificate; the token is for those who cannot show one. Both see one cluster."""
    endpoint = real_api.endpoint
    by_token = Connection(server=endpoint.url, ca_file=endpoint.ca_path, token=endpoint.token)
    found = set()
    for connection in (load(endpoint.kubeconfig_path), by_token):
        async with KubeClient(connection) as client:
            found.add(await cluster_uid(client))
    assert len(found) == 1


async def test_others_are_kept_out(real_api: RealApi) -> None:
    """A wrong token is nobody, a service account without a role may list nothing (RBAC is on)."""
    endpoint = real_api.endpoint
    context = ssl.create_default_context(cafile=endpoint.ca_path)
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    async with aiohttp.ClientSession(
        endpoint.url,
        headers={"Authorization": f"Bearer {endpoint.token}"},
        connector=aiohttp.TCPConnector(ssl=context),
    ) as session:
        await session.post(accounts, json={"metadata": {"name": "poor"}})
        body = {"spec": {"expirationSeconds": 600}}
        async with session.post(f"{accounts}/poor/token", json=body) as answer:
            token = (await answer.json())["status"]["token"]
        try:
            for given, error in (("wrong", KubeUnauthorized), (token, KubeForbidden)):
                connection = Connection(server=endpoint.url, ca_file=endpoint.ca_path, token=given)
                async with KubeClient(connection) as client:
                    with pytest.raises(error):
                        await client.get(NODES, "n1")
        finally:
            await session.delete(f"{accounts}/poor")


def test_a_killed_test_run_leaves_no_server(tmp_path: Path) -> None:
    """When the process that started it is killed, kube-apiserver and etcd end with it."""
    programs = require()
    program = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, {str(SCRIPT.parents[1] / "tests")!r})
        from realapi import RealApi
        server = RealApi(Path({str(programs)!r}), Path({str(tmp_path)!r}) / "server")
        server.start()
        print(*(one.process.pid for one in server._running), flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        os.kill(starter.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_the_script_says_how_to_get_what_is_missing(tmp_path: Path) -> None:
    """Where neither is found and nothing is to be built, one line says what is missing and what to do."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        str(SCRIPT), "--no-build", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    (line,) = err.decode().splitlines()
    assert line.startswith("no kube-apiserver 1.30 or later")
    assert "KUBEBUILDER_ASSETS" in line
    assert list(tmp_path.iterdir()) == []


async def test_the_script_passes_over_an_old_etcd(tmp_path: Path) -> None:
    """An etcd 3.4 in the directory that KUBEBUILDER_ASSETS names is not taken, and that is said."""
    for name, said in (("etcd", "etcd Version: 3.4.23"), ("kube-apiserver", "Kubernetes v1.32.3")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / name).chmod(0o700)
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "KUBEBUILDER_ASSETS": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        str(SCRIPT), "--no-build", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert "etcd 3.5" in err.decode()
    (tmp_path / "etcd").write_text("#!/bin/sh\necho 'etcd Version: 3.5.16'\n")
    process = await asyncio.create_subprocess_exec(
        str(SCRIPT), "--no-build", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().strip() == str(tmp_path)
