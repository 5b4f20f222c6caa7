"""The real kubectl against the server: what people type works and prints what they expect."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from isthmus.lab.kube import KubeApi
from lab.kube.definitions import definition, pool
from lab.kube.talking import Json, config_map, node, service


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.out.splitlines()]


Kubectl = Callable[..., Awaitable[Said]]


def _too_old() -> str:
    """Return why kubectl cannot be used; empty when it can."""
    if shutil.which("kubectl") is None:
        return "kubectl is not on the PATH"
    told = subprocess.run(
        ["kubectl", "version", "--client", "-o", "json"], capture_output=True, check=False, timeout=30
    )
    match = re.match(r"v1\.(\d+)", json.loads(told.stdout or "{}").get("clientVersion", {}).get("gitVersion", ""))
    return "" if match and int(match.group(1)) >= 27 else "kubectl is older than 1.27"


@pytest.fixture(scope="session")
def usable() -> None:
    if reason := _too_old():
        if "kubectl" in os.environ.get("REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
async def kubectl(usable: None, tmp_path: Path) -> AsyncIterator[Kubectl]:
    api = KubeApi(cluster_cidrs=("10.244.0.0/16",))
    async with api.serving(directory=tmp_path) as endpoint:
        home = tmp_path / "home"
        home.mkdir()
        kept = {key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "HOME")}
        environment = {**kept, "HOME": str(home), "KUBECONFIG": str(endpoint.kubeconfig_path)}

        editor = tmp_path / "editor"
        editor.write_text("#!/bin/sh\nsed -i 's/^spec:/spec:\\n  unschedulable: true/' \"$1\"\n")
        editor.chmod(0o700)
        environment["KUBE_EDITOR"] = str(editor)

        async def run(*arguments: str, stdin: Json | None = None) -> Said:
            process = await asyncio.create_subprocess_exec(
                "kubectl",
                *arguments,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            data = json.dumps(stdin).encode() if stdin is not None else b""
            async with asyncio.timeout(30):
                out, err = await process.communicate(data)
            return Said(process.returncode or 0, out.decode(), err.decode())

        yield run


async def test_what_there_is(kubectl: Kubectl) -> None:
    """version, api-versions, api-resources and raw paths answer."""
    assert "Server Version: v1.32" in (await kubectl("version")).out
    assert "discovery.k8s.io/v1" in (await kubectl("api-versions")).out.split()
    named = {line[0]: line for line in (await kubectl("api-resources")).lines}
    assert named["services"] == ["services", "svc", "v1", "true", "Service"]
    assert (await kubectl("get", "--raw", "/readyz")).out == "ok"
    assert (await kubectl("get", "ns", "-o", "name")).out.split()[0] == "namespace/default"
    assert (await kubectl("auth", "can-i", "list", "services")).out.strip() == "yes"


async def test_create_get_label_patch_delete(kubectl: Kubectl) -> None:
    """The daily verbs work on nodes."""
    assert (await kubectl("create", "-f", "-", stdin=node("a"))).out == "node/a created\n"
    assert (await kubectl("create", "-f", "-", stdin=node("a"))).err.startswith("Error from server (AlreadyExists)")
    assert (await kubectl("label", "node", "a", "x=y")).code == 0
    assert (await kubectl("annotate", "node", "a", "q=r")).code == 0
    assert (await kubectl("taint", "node", "a", "k=v:NoSchedule")).code == 0
    assert (await kubectl("edit", "node", "a")).out == "node/a edited\n"
    header, row = (await kubectl("get", "nodes", "-l", "x=y")).lines
    assert header == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert row[:3] == ["a", "Unknown,SchedulingDisabled", "<none>"]
    path = "jsonpath={.spec.podCIDR} {.spec.taints[0].key} {.metadata.annotations.q}"
    assert (await kubectl("get", "node", "a", "-o", path)).out == "10.244.0.0/24 k r"
    assert (await kubectl("get", "nodes", "--field-selector", "metadata.name=b", "-o", "name")).out == ""
    patch = ("--subresource=status", "--type=merge", "-p", '{"status":{"phase":"x"}}')
    assert (await kubectl("patch", "node", "a", *patch)).code == 0
    replaced = await kubectl("replace", "-f", "-", stdin={**node("a"), "spec": {"podCIDR": "10.9.0.0/24"}})
    assert "node updates may not change podCIDR" in replaced.err
    assert (await kubectl("delete", "node", "a")).out == 'node "a" deleted\n'
    assert (await kubectl("get", "node", "a")).err == 'Error from server (NotFound): nodes "a" not found\n'


async def test_apply_on_the_client_and_on_the_server(kubectl: Kubectl) -> None:
    """Both kinds of apply create, change and do nothing when nothing changed; conflicts and hand-over work."""
    wish = service("s", type="LoadBalancer", ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "b"}])
    assert (await kubectl("apply", "-f", "-", stdin=wish)).out == "service/s created\n"
    assert (await kubectl("apply", "-f", "-", stdin=wish)).out == "service/s unchanged\n"
    wish["spec"]["ports"].pop()
    assert (await kubectl("apply", "-f", "-", stdin=wish)).out == "service/s configured\n"
    assert (await kubectl("get", "svc", "s", "-o", "jsonpath={.spec.ports[*].port}")).out == "80"
    assert (await kubectl("diff", "-f", "-", stdin=wish)).code == 0
    wish["spec"]["selector"] = {"a": "b"}
    assert (await kubectl("diff", "-f", "-", stdin=wish)).code == 1
    assert (await kubectl("apply", "--server-side", "-f", "-", stdin=wish)).code == 0
    wish["spec"]["selector"] = {"a": "c"}
    other = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    assert "Apply failed with 1 conflict" in (await kubectl(*other, stdin=wish)).err
    assert (await kubectl(*other, "--force-conflicts", stdin=wish)).out == "service/s serverside-applied\n"
    dry = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=config_map("m"))
    assert dry.out == "configmap/m created (server dry run)\n"


async def test_custom_resources(kubectl: Kubectl) -> None:
    """Definitions are established, their objects validated, explained, printed, and gone with them."""
    assert (await kubectl("apply", "-f", "-", stdin=definition())).code == 0
    waited = await kubectl("wait", "--for=condition=Established", "crd/pools.lab.dev", "--timeout=5s")
    assert waited.out.endswith("condition met\n")
    assert 'unknown field "spec.oops"' in (await kubectl("create", "-f", "-", stdin=pool("a", oops=1))).err
    assert "spec.size: Invalid value: 0" in (await kubectl("create", "-f", "-", stdin=pool("a", size=0))).err
    assert (await kubectl("apply", "-f", "-", stdin=pool("a"))).out == "pool.lab.dev/a created\n"
    assert (await kubectl("get", "pl")).lines[0] == ["NAME", "SIZE", "READY", "AGE"]
    assert (await kubectl("get", "lab", "-o", "name")).out == "pool.lab.dev/a\n"
    assert "What you want." in (await kubectl("explain", "pool.spec")).out
    assert (await kubectl("delete", "crd", "pools.lab.dev")).code == 0
    assert (await kubectl("get", "pools")).code == 1


async def test_namespaces_and_what_kubectl_builds_itself(kubectl: Kubectl) -> None:
    """The create subcommands, which speak protobuf, are understood; a deleted namespace takes all along."""
    assert (await kubectl("create", "namespace", "n")).out == "namespace/n created\n"
    assert (await kubectl("-n", "n", "create", "configmap", "m", "--from-literal=a=b")).code == 0
    assert (await kubectl("-n", "n", "create", "secret", "generic", "s", "--from-literal=a=b")).code == 0
    assert (await kubectl("-n", "n", "create", "serviceaccount", "s")).code == 0
    assert (await kubectl("-n", "n", "create", "deployment", "d", "--image=x", "--port=80")).code == 0
    assert (await kubectl("-n", "n", "create", "service", "loadbalancer", "l", "--tcp=80:8080")).code == 0
    assert (await kubectl("-n", "n", "get", "cm", "m", "-o", "jsonpath={.data.a}")).out == "b"
    assert (await kubectl("-n", "n", "get", "svc", "l", "-o", "jsonpath={.spec.ports[0].targetPort}")).out == "8080"
    assert (await kubectl("-n", "n", "get", "all", "-o", "name")).out.split() == ["service/l", "deployment.apps/d"]
    assert (await kubectl("delete", "namespace", "n")).code == 0
    assert (await kubectl("get", "cm", "-A", "-o", "name")).out == ""
    assert 'namespaces "n" not found' in (await kubectl("-n", "n", "create", "configmap", "m")).err


async def test_watching(kubectl: Kubectl) -> None:
    """get --watch prints what is there and what comes, in columns."""
    await kubectl("create", "-f", "-", stdin=config_map("one"))
    watch = asyncio.create_task(kubectl("get", "cm", "--watch", "--request-timeout=2s"))
    await kubectl("create", "-f", "-", stdin=config_map("two"))
    header, *rows = (await watch).lines
    assert header == ["NAME", "DATA", "AGE"]
    assert [row[0] for row in rows] == ["one", "two"]
