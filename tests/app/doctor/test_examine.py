"""The whole examination: what hangs costs itself only, and no secret is in the bundle."""

from __future__ import annotations

import asyncio
import base64
import json
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.home.rig import node, thing
from isthmus.app.doctor import examine as examining
from isthmus.app.doctor.answers import Answer, ok
from isthmus.app.doctor.bundle import write_bundle
from isthmus.app.doctor.examine import examine
from isthmus.app.doctor.scrub import Scrub
from isthmus.app.sources import Sources
from isthmus.errors import InputError
from isthmus.lab.kube import KubeApi
from isthmus.telemetry import REDACTED

TOKEN = "planted-0d4f7a61c3-token"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmVk"
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPLANTEDPLANTEDPLANTED\n-----END EC PRIVATE KEY-----\n"
PASSWORD = "hunter2-planted"


@pytest.fixture
async def where(tmp_path: Path) -> AsyncIterator[Sources]:
    """Return a configuration with one good cluster, and one that takes connections and never answers."""
    config = tmp_path / "config"
    config.mkdir()

    def write(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> None:
        (config / f"{kind}-{name}.json").write_text(json.dumps(thing(kind, name, spec, **metadata)))

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    api = KubeApi(tls=False, tokens={TOKEN: "isthmus"})
    api.put(node(1))
    silent = await asyncio.start_server(never, "127.0.0.1", 0)
    async with api.serving() as endpoint:
        write("KubeCluster", "prod", {"kubeconfig": {"path": str(endpoint.kubeconfig_path)}})
        port = silent.sockets[0].getsockname()[1]
        token = tmp_path / "silent-token"
        token.write_text(JWT)
        server = {"url": f"http://127.0.0.1:{port}", "tokenFile": str(token)}
        write("KubeCluster", "silent", {"server": server}, annotations={"note": f"password: {PASSWORD}"})
        write("EdgeDevice", "gw1", {"driver": "memory", "tunnelAddresses": ["192.0.2.1"]})
        write("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct"})
        write("ClusterLink", "other", {"cluster": "silent", "devices": ["gw1"], "path": "direct"})
        yield Sources(config, tmp_path / "state")
    silent.close()
    await silent.wait_closed()


async def test_a_cluster_that_hangs_hurts_only_itself(where: Sources) -> None:
    """The silent cluster is one failure; the other cluster, the device and the state are judged in the meantime."""
    began = time.monotonic()
    found = await examine(where, patience=1.0)
    assert time.monotonic() - began < 8
    failed = {one.subject for one in found.answers if one.level == "fail"}
    assert "cluster silent" in failed
    assert "cluster prod" not in failed
    assert {"device gw1", "link main", "configuration"} <= {one.subject for one in found.answers}
    assert not found.well


async def test_a_check_that_breaks_hurts_only_itself(where: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one check is an answer, and so is one that never ends."""

    def broken(*_: object) -> list[Answer]:
        raise RuntimeError("planted")

    async def endless(*_: object) -> list[Answer]:
        await asyncio.sleep(3600)
        return [ok("never", "never")]

    monkeypatch.setattr(examining, "judge_pools", broken)
    monkeypatch.setattr(examining, "_certificates", endless)
    found = await examine(where, patience=1.0)
    told = {one.subject: one.text for one in found.answers}
    assert "planted" in told["pools"]
    assert told["certificates"] == "could not be looked at within 1 s"
    assert "configuration" in told


async def test_no_secret_is_in_the_bundle(where: Sources, tmp_path: Path) -> None:
    """Tokens, keys and passwords, wherever they were planted, are not found; what support needs is."""
    assert where.config is not None
    (where.config / "kubeconfig.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "users": [
                    {
                        "name": "a",
                        "user": {"token": TOKEN, "client-key-data": base64.b64encode(KEY.encode()).decode()},
                    }
                ],
            }
        )
    )
    log = tmp_path / "log"
    log.write_text(
        f"it began\nAuthorization: Bearer {JWT}\n{KEY}\npassword={PASSWORD}\nhttps://u:{PASSWORD}@proxy/\n"
        f'{{"token": "{TOKEN}", "event": "it ended"}}\n'
    )
    found = await examine(where, patience=1.0)
    found.answers.append(Answer("planted", "warn", f"the API said {TOKEN}", f"try {JWT}"))
    target = tmp_path / "bundle.tar.gz"
    names = await write_bundle(where, found, target, log)
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        contents = {}
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            contents[entry.name.removeprefix("isthmus-bundle/")] = file.read().decode()
    assert sorted(contents) == names
    planted = [TOKEN, JWT, PASSWORD, "PLANTED", base64.b64encode(KEY.encode()).decode()]
    assert [(name, secret) for name, text in contents.items() for secret in planted if secret in text] == []
    assert "it began" in contents["log.txt"]
    assert '"it ended"' in contents["log.txt"]
    assert str(tmp_path / "silent-token") in contents["objects.json"]
    assert "gw1: 1 to create" in contents["plans.txt"]
    assert json.loads(contents["doctor.json"])
    link = tmp_path / "stdout"
    link.symlink_to("/dev/null")
    with pytest.raises(InputError, match="no plain file"):
        await write_bundle(where, found, link, None)
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("token: abcdef-123456", "token: "),
        ('"clientSecret": "s3cr3t value"', '"clientSecret": '),
        ("PASSWORD=hunter2hunter2 next", " next"),
        ("tokenFile: /etc/isthmus/token", "tokenFile: /etc/isthmus/token"),
        ("http://user:pw@proxy.example:3128/x", "@proxy.example:3128/x"),
        ("Authorization: Basic dXNlcjpwdw==", ""),
        ("bootstrap abcdef.0123456789abcdef ends", " ends"),
        (KEY + "after", "after"),
        ("-----BEGIN PRIVATE KEY-----\nMIIcut", ""),
        ("A" * 300, ""),
        ("the token is isthmus1.0123456789ab.hunter2-s3cr3t.0123456789abcdef ends", " ends"),
        ("isthmus x --token hunter2 --device gw1", " --device gw1"),
        ("isthmus x --token-file /etc/t --device gw1", "--token-file /etc/t"),
        ("Cookie: a=s3cr3t; b=hunter2\nnext", "\nnext"),
        ("authorization: Digest username=x response=hunter2\nnext", "\nnext"),
        ('{"note":"{\\"token\\":\\"my s3cr3t hunter2\\"}","more":1}', '"more":1'),
        ('"token": "s3\\"cr3t hunter2" ends', " ends"),
        (
            "https://u:p@hunter2@host.example/x and https://u:hunter2/s3cr3t@host.example",
            "host.example/x and https://",
        ),
        ("passphrase=hunter2 pwd: s3cr3t pre-shared-key: 123456 ends", " ends"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, kept: str) -> None:
    """By the word before it or by its shape; what stands around it stays."""
    found = Scrub().text(text)
    assert kept in found
    assert (REDACTED in found) or found == text
    for secret in ("123456", "s3cr3t", "hunter2", "user:pw", "dXNlcjpwdw", "0123456789abcdef", "PLANTED", "MIIcut"):
        assert secret not in found


def test_what_stands_under_or_beside_a_secrets_name_goes() -> None:
    """In data: below a key, in a Secret, in a container's environment, after an option; references and places stay."""
    data = {
        "secret": {"a": "s3cr3t", "file": "/etc/x"},
        "token": 12345678,
        "env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "LEVEL", "value": "debug"}],
        "args": ["--password", "hunter2", "--level", "debug"],
        "object": {"kind": "Secret", "metadata": {"name": "kept"}, "data": {"x": "aHVudGVyMg=="}},
        "secretKeyRef": {"name": "kept", "key": "y"},
    }
    assert Scrub().data(data) == {
        "secret": {"a": REDACTED, "file": "/etc/x"},
        "token": REDACTED,
        "env": [{"name": "DB_PASSWORD", "value": REDACTED}, {"name": "LEVEL", "value": "debug"}],
        "args": ["--password", REDACTED, "--level", "debug"],
        "object": {"kind": "Secret", "metadata": {"name": "kept"}, "data": {"x": REDACTED}},
        "secretKeyRef": {"name": "kept", "key": "y"},
    }


@pytest.mark.parametrize("spelled", ["s3cr3t/hunter2 é", "czNjcjN0L2h1bnRlcjIgw6k=", "s3cr3t%2Fhunter2%20%C3%A9"])
def test_a_known_secret_goes_however_it_is_spelled(spelled: str) -> None:
    """Plain, in base64, in a URL."""
    assert Scrub(["s3cr3t/hunter2 é"]).text(f"it is ({spelled}).") == f"it is ({REDACTED})."


def test_a_long_line_without_an_end_takes_no_time() -> None:
    """Two megabytes of nothing in a log are passed over at once, not compared with themselves."""
    began = time.monotonic()
    for piece in (".", "://a:", "--token ", 'token:\\"'):
        Scrub().text(piece * (400_000 // len(piece)))
    assert time.monotonic() - began < 20


@given(st.text(min_size=6, max_size=40), st.text(max_size=30), st.text(max_size=30))
def test_a_known_secret_never_stays(secret: str, before: str, after: str) -> None:
    """Whatever a known secret looks like and wherever it stands, it is gone, unless the redaction itself spells it."""
    found = Scrub([secret]).text(before + secret + after)
    assert secret not in found.replace(REDACTED, "\0")
