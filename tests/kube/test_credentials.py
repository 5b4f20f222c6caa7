"""Credentials rotate under us: files, plugins, certificates; a watch is never lost to an expired one."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from isthmus.errors import KubeUnauthorized, KubeUnreachable
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection, ExecPlugin
from isthmus.kube.credentials import Credentials
from isthmus.kube.exec_plugin import exec_information, run_plugin
from isthmus.kube.transport import Patience

from .authority import Authority
from .conftest import Watched
from .stub import Seen, StallingProxy, StubApi, eventually

SECRET = "planted-secret-7d3f-0123456789abcdef"
V1, V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
Start = Callable[..., Watched]


def plugin(folder: Path, script: str, version: str = V1, **more: Any) -> ExecPlugin:
    """Write a plugin in Python and return how to call it; ``runs`` in the folder counts its calls."""
    path = folder / "plugin.py"
    path.write_text(f"open({str(folder / 'runs')!r}, 'a').write('x')\n{script}")
    return ExecPlugin(sys.executable, ("-S", str(path)), api_version=version, **more)


def printing(folder: Path, version: str = V1, **status: Any) -> str:
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(answer)!r})"


def runs(folder: Path) -> int:
    path = folder / "runs"
    return len(path.read_text()) if path.exists() else 0


def moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_a_rotated_token_file_is_read_again(api: StubApi, tmp_path: Path) -> None:
    """A token file that changes is used from the next request on, with no 401 in between."""
    path = tmp_path / "token"
    path.write_text("first\n")
    api.tokens = {"first", "second"}
    async with KubeClient(Connection(server=api.url, token_file=path)) as client:
        await client.version()
        path.write_text("second\n")
        os.utime(path, ns=(1, 1))
        await client.version()
    assert [seen.headers["Authorization"] for seen in api.seen] == ["Bearer first", "Bearer second"]


async def test_a_refused_token_file_is_read_again(api: StubApi, tmp_path: Path) -> None:
    """A 401 reads the file even if its stamp is the same, and the request is tried once more."""
    path = tmp_path / "token"
    path.write_text("first")
    os.utime(path, ns=(1, 1))
    api.tokens = {"first"}
    async with KubeClient(Connection(server=api.url, token_file=path)) as client:
        await client.version()
        api.tokens = {"other"}
        path.write_text("other")
        os.utime(path, ns=(1, 1))
        assert await client.version() == "v1.31.0-stub"
        api.tokens = set()
        with pytest.raises(KubeUnauthorized):
            await client.version()


async def test_a_token_file_that_vanishes(api: StubApi, tmp_path: Path) -> None:
    """A token that was read stays in use while its file is away; one that never was there is named."""
    path = tmp_path / "token"
    async with KubeClient(Connection(server=api.url, token_file=path)) as client:
        with pytest.raises(KubeUnauthorized, match="token: cannot be read"):
            await client.version()
        path.write_text("first")
        await client.version()
        path.unlink()
        await client.version()
    assert api.seen[-1].headers["Authorization"] == "Bearer first"


async def test_a_token_file_with_rubbish(api: StubApi, tmp_path: Path) -> None:
    """A token file with two lines is refused without being quoted."""
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\nX-Evil: 1\n")
    async with KubeClient(Connection(server=api.url, token_file=path)) as client:
        with pytest.raises(KubeUnauthorized) as caught:
            await client.version()
    assert SECRET not in str(caught.value)
    assert not api.seen


@pytest.mark.parametrize("version", [V1, V1BETA1])
async def test_a_plugin_is_asked_once_and_again_before_its_end(tmp_path: Path, version: str) -> None:
    """A plugin's credential is kept until 30 s before its end, in both versions of the protocol."""
    now = time.time()
    answer = printing(tmp_path, version, token="t1", expirationTimestamp=moment(now + 3600))
    clock = [now]
    held = Credentials(
        Connection(server="https://192.0.2.1", exec=plugin(tmp_path, answer, version)), clock=lambda: clock[0]
    )
    assert (await held.current()).token == "t1"
    clock[0] = now + 3500
    await held.current()
    assert runs(tmp_path) == 1
    clock[0] = now + 3571
    await held.current()
    assert runs(tmp_path) == 2


async def test_a_refused_plugin_credential_is_renewed_once(api: StubApi, tmp_path: Path) -> None:
    """A 401 runs the plugin again, once, however many requests were refused at the same time."""
    script = f"""
import json
n = len(open({str(tmp_path / "runs")!r}).read())
print(json.dumps({{"apiVersion": {V1!r}, "kind": "ExecCredential", "status": {{"token": f"t{{n}}"}}}}))
"""
    api.tokens = {"t1"}
    async with KubeClient(Connection(server=api.url, exec=plugin(tmp_path, script))) as client:
        await client.version()
        api.tokens = {"t2"}
        await asyncio.gather(*(client.version() for _ in range(8)))
    assert runs(tmp_path) == 2


async def test_a_watch_survives_an_expired_credential(api: StubApi, watching: Start, tmp_path: Path) -> None:
    """An informer whose token is revoked renews it and misses nothing."""
    path = tmp_path / "token"
    path.write_text("first")
    api.tokens = {"first"}
    async with KubeClient(Connection(server=api.url, token_file=path), patience=Patience(request=2.0)) as client:
        watched = watching(via=client)
        await eventually(lambda: api.watchers)
        api.tokens = {"second"}
        path.write_text("second")
        os.utime(path, ns=(1, 1))
        api.close_watches()
        api.put("nodes", "later")
        await eventually(lambda: "later" in watched.names)
        assert watched.informer.failing is None


async def test_a_plugin_knows_its_cluster(tmp_path: Path) -> None:
    """KUBERNETES_EXEC_INFO holds the version, that there is no terminal, and the cluster if it is asked for."""
    out = tmp_path / "seen"
    script = f"import os\nopen({str(out)!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO'] + os.environ['PROFILE'])\n"
    asked = plugin(
        tmp_path,
        script + printing(tmp_path, token="t"),
        provide_cluster_info=True,
        environment=(("PROFILE", "edge"),),
        config={"audience": "x"},
    )
    ca_file = tmp_path / "ca.crt"
    ca_file.write_text("PEM")
    connection = Connection(server="https://192.0.2.1", exec=asked, ca_file=ca_file, tls_server_name="kube.example")
    await run_plugin(asked, connection)
    text = out.read_text()
    assert text.endswith("edge")
    told = json.loads(text.removesuffix("edge"))
    assert told["apiVersion"] == V1
    assert told["spec"]["interactive"] is False
    assert told["spec"]["cluster"] == {
        "server": "https://192.0.2.1",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
        "tls-server-name": "kube.example",
        "config": {"audience": "x"},
    }
    plain = ExecPlugin("x")
    assert "cluster" not in json.loads(exec_information(plain, connection))["spec"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit('session expired, token ' + 'A' * 40)", "exit code 1: session expired"),
        (f"print({SECRET!r})", "did not print an ExecCredential"),
        (printing(Path(), V1BETA1, token=SECRET), "another kind or version"),
        (printing(Path()), "neither a token nor"),
        (printing(Path(), clientCertificateData=SECRET), "without its key"),
        (printing(Path(), token=SECRET + "\nX-Evil: 1"), "control characters"),
    ],
)
async def test_a_plugin_that_gives_nothing(tmp_path: Path, script: str, reason: str) -> None:
    """A failing plugin is named with its reason; what it printed is not repeated."""
    asked = plugin(tmp_path, script)
    with pytest.raises(KubeUnauthorized) as caught:
        await run_plugin(asked, Connection(server="https://192.0.2.1", exec=asked))
    text = "".join(traceback.format_exception(caught.value))
    assert reason in str(caught.value)
    assert SECRET not in text.replace(script, "")
    assert "A" * 40 not in str(caught.value)


async def test_a_plugin_that_is_not_there() -> None:
    """A missing command says so, with the kubeconfig's own hint."""
    asked = ExecPlugin("/nonexistent/login", install_hint="apt-get install login")
    with pytest.raises(KubeUnauthorized, match=r"exec plugin login: cannot be started.*apt-get install login"):
        await run_plugin(asked, Connection(server="https://192.0.2.1", exec=asked))


async def test_a_plugin_that_hangs_ends_with_all_it_started(tmp_path: Path) -> None:
    """A plugin that waits for ever is ended, and so is the process that it waits for."""
    pid_file = tmp_path / "child"
    script = f"""
import subprocess
child = subprocess.Popen(["sleep", "60"])
open({str(pid_file)!r}, "w").write(str(child.pid))
child.wait()
"""
    asked = plugin(tmp_path, script, timeout=0.5)
    started = time.monotonic()
    with pytest.raises(KubeUnauthorized, match=r"within 0\.5 s"):
        await run_plugin(asked, Connection(server="https://192.0.2.1", exec=asked))
    assert time.monotonic() - started < 5
    child = int(pid_file.read_text())

    def gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    await eventually(gone)


def certificate_name(api: StubApi) -> list[str]:
    """Record the common name of the client certificate of every request from now on."""
    names: list[str] = []

    def look(seen: Seen) -> web.StreamResponse | None:
        names.append(seen.peer)
        return None

    api.faults.append(look)
    return names


async def test_client_certificates_as_data_and_from_a_plugin(tmp_path: Path) -> None:
    """A client certificate given as data is shown; one that a plugin gives is, and replaced when it is renewed."""
    authority = Authority(tmp_path)
    one, two = authority.issue("one"), authority.issue("two")
    async with StubApi().serving(authority.server(clients=True)) as api:
        names = certificate_name(api)
        data = Connection(
            server=api.url, ca_data=authority.ca, client_certificate_data=one.certificate, client_key_data=one.key
        )
        async with KubeClient(data) as client:
            await client.version()
        files = Connection(
            server=api.url, ca_data=authority.ca, client_certificate=two.certificate_file, client_key=two.key_file
        )
        async with KubeClient(files) as client:
            await client.version()
        assert names == ["one", "two"]
        script = f"""
import json
n = len(open({str(tmp_path / "runs")!r}).read())
pair = {[(one.certificate, one.key), (two.certificate, two.key)]!r}[min(n, 2) - 1]
status = {{"clientCertificateData": pair[0], "clientKeyData": pair[1], "expirationTimestamp": "2020-01-01T00:00:00Z"}}
print(json.dumps({{"apiVersion": {V1!r}, "kind": "ExecCredential", "status": status}}))
"""
        async with KubeClient(
            Connection(server=api.url, ca_data=authority.ca, exec=plugin(tmp_path, script))
        ) as client:
            await client.version()
            await client.version()
        assert names[2:] == ["one", "two"]


async def test_rotated_certificate_files(tmp_path: Path) -> None:
    """A client certificate that is replaced on disk is shown within a second or so, without a restart."""
    authority = Authority(tmp_path)
    one, two = authority.issue("one"), authority.issue("two")
    async with StubApi().serving(authority.server(clients=True)) as api:
        names = certificate_name(api)
        connection = Connection(
            server=api.url,
            ca_file=authority.ca_file,
            client_certificate=one.certificate_file,
            client_key=one.key_file,
        )
        async with KubeClient(connection) as client:
            client._transport._tls._clock = iter(range(100)).__next__  # type: ignore[assignment]
            await client.version()
            one.certificate_file.write_text(two.certificate)
            one.key_file.write_text(two.key)
            await client.version()
            one.key_file.unlink()
            await client.version()
        assert names == ["one", "two", "two"]


async def test_untrusted_servers(tmp_path: Path) -> None:
    """A server of another authority, and one with another name, are refused with the reason."""
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    async with StubApi().serving(theirs.server()) as api:
        async with KubeClient(Connection(server=api.url, ca_data=ours.ca, token=SECRET)) as client:
            with pytest.raises(KubeUnreachable, match="not trusted"):
                await client.version()
        async with KubeClient(Connection(server=api.url, token=SECRET)) as client:
            with pytest.raises(KubeUnreachable, match="not trusted"):
                await client.version()
        assert not api.seen
    async with StubApi().serving(ours.server("kube.example")) as api:
        async with KubeClient(Connection(server=api.url, ca_data=ours.ca, token=SECRET)) as client:
            with pytest.raises(KubeUnreachable, match="not trusted"):
                await client.version()
        named = Connection(server=api.url, ca_data=ours.ca, token=SECRET, tls_server_name="kube.example")
        async with KubeClient(named) as client:
            await client.version()


async def test_through_a_proxy_tls_is_ours(tmp_path: Path) -> None:
    """``proxy-url`` is asked for a tunnel; the token goes through it, not to it; the certificate is the API's."""
    authority = Authority(tmp_path)
    async with (
        StubApi().serving(authority.server("kube.example")) as api,
        StallingProxy(int(api.url.rpartition(":")[2])).serving() as proxy,
    ):
        proxy.tunnels = []
        connection = Connection(
            server="https://198.51.100.7:6443",
            ca_data=authority.ca,
            token=SECRET,
            tls_server_name="kube.example",
            proxy_url=f"http://127.0.0.1:{proxy.port}",
        )
        async with KubeClient(connection) as client:
            await client.version()
        assert proxy.tunnels[0].startswith("CONNECT 198.51.100.7:6443 ")
        assert SECRET not in proxy.tunnels[0]
        assert api.seen[0].headers["Authorization"] == f"Bearer {SECRET}"


async def test_unusable_files_are_named(tmp_path: Path) -> None:
    """A CA that is missing or is no PEM, and an encrypted key, say what is wrong and do not wait for a password."""
    authority = Authority(tmp_path)
    locked = authority.issue("locked", password=b"x")
    bad = tmp_path / "bad.crt"
    bad.write_text("nonsense")
    cases = [
        (Connection(server="https://127.0.0.1:1", ca_file=tmp_path / "none.crt"), "none.crt"),
        (Connection(server="https://127.0.0.1:1", ca_file=bad), "certificate-authority"),
        (
            Connection(
                server="https://127.0.0.1:1",
                ca_file=authority.ca_file,
                client_certificate=locked.certificate_file,
                client_key=locked.key_file,
            ),
            "encrypted",
        ),
    ]
    for connection, reason in cases:
        async with KubeClient(connection) as client:
            with pytest.raises((KubeUnauthorized, KubeUnreachable), match=reason):
                await client.version()
