"""The real kubectl against both servers: what people type works and prints what they expect."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from isthmus.lab.kube import Endpoint, KubeApi
from lab.kube.definitions import definition, pool
from lab.kube.talking import Json, config_map, node, service
from realapi import RealApi
from realapi.wiping import wipe


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
async def kubectl(request: pytest.FixtureRequest, usable: None, tmp_path: Path) -> AsyncIterator[Kubectl]:
    async with AsyncExitStack() as stack:
        if request.param == "lab":
            endpoint = await stack.enter_async_context(KubeApi().serving(directory=tmp_path))
        else:
            real: RealApi = request.getfixturevalue("real_api")
            endpoint = real.endpoint
            stack.push_async_callback(clean, endpoint)
        home = tmp_path / "home"
        home.mkdir()
        kept = {key: value for key, value in os.environ.items() if key not in ("KUBECONFIG", "HOME")}
        environment = {**kept, "HOME": str(home), "KUBECONFIG": str(endpoint.kubeconfig_path)}

        editor = tmp_path / "editor"
        editor.write_text("#!/bin/sh\nsed -i 's/^spec:/spec:\\n  unschedulable: true/' \"$1\"\n")
        editor.chmod(0o700)
        environment["KUBE_EDITOR"] = str(editor)

        async def run(*arguments: str, stdin: Json | str | None = None) -> Said:
            process = await asyncio.create_subprocess_exec(
                "kubectl",
                *arguments,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            text = stdin if isinstance(stdin, str) else json.dumps(stdin) if stdin is not None else ""
            try:
                async with asyncio.timeout(30):
                    out, err = await process.communicate(text.encode())
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.communicate()
            return Said(process.returncode or 0, out.decode(), err.decode())

        yield run


async def clean(endpoint: Endpoint) -> None:
    """Wipe the real server."""
    context = ssl.create_default_context(cafile=endpoint.ca_path)
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    async with aiohttp.ClientSession(
        endpoint.url, headers=headers, connector=aiohttp.TCPConnector(ssl=context)
    ) as session:
        await wipe(session)


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
    wish = {**node("a"), "spec": {"podCIDR": "10.244.0.0/24"}}
    assert (await kubectl("create", "-f", "-", stdin=wish)).out == "node/a created\n"
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
    """The create subcommands, which speak protobuf, are understood."""
    assert (await kubectl("create", "namespace", "n")).out == "namespace/n created\n"
    assert (await kubectl("-n", "n", "create", "configmap", "m", "--from-literal=a=b")).code == 0
    assert (await kubectl("-n", "n", "create", "secret", "generic", "s", "--from-literal=a=b")).code == 0
    assert (await kubectl("-n", "n", "create", "serviceaccount", "s")).code == 0
    assert (await kubectl("-n", "n", "create", "deployment", "d", "--image=x", "--port=80")).code == 0
    assert (await kubectl("-n", "n", "create", "service", "loadbalancer", "l", "--tcp=80:8080")).code == 0
    assert (await kubectl("-n", "n", "get", "cm", "m", "-o", "jsonpath={.data.a}")).out == "b"
    assert (await kubectl("-n", "n", "get", "svc", "l", "-o", "jsonpath={.spec.ports[0].targetPort}")).out == "8080"
    assert (await kubectl("-n", "n", "get", "all", "-o", "name")).out.split() == ["service/l", "deployment.apps/d"]
    assert (await kubectl("delete", "namespace", "n", "--wait=false")).out == 'namespace "n" deleted\n'
    assert 'namespaces "o" not found' in (await kubectl("-n", "o", "create", "configmap", "m")).err


async def test_watching(kubectl: Kubectl) -> None:
    """get --watch prints what is there and what comes, in columns."""
    await kubectl("create", "-f", "-", stdin=config_map("one"))
    watch = asyncio.create_task(kubectl("get", "cm", "--watch", "--request-timeout=2s"))
    await kubectl("create", "-f", "-", stdin=config_map("two"))
    header, *rows = (await watch).lines
    assert header == ["NAME", "DATA", "AGE"]
    assert [row[0] for row in rows] == ["one", "two"]


async def test_our_own_definitions(kubectl: Kubectl) -> None:
    """``isthmus crds | kubectl apply --server-side`` installs the kinds: to be explained, waited for, and owned by field."""
    printed = subprocess.run(
        [sys.executable, "-m", "isthmus", "crds"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    applied = await kubectl("apply", "--server-side", "-f", "-", stdin=printed)
    assert (applied.code, applied.err) == (0, "")
    assert applied.out.count("serverside-applied") == 5
    waited = await kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    assert waited.out.count("condition met") >= 5
    assert (await kubectl("apply", "--server-side", "-f", "-", stdin=printed)).code == 0, "again changes nothing"
    explained = (await kubectl("explain", "clusterlink.spec.overlay")).out
    assert "FIELDS:" in explained
    assert "networks" in explained
    assert explained.startswith("GROUP:      isthmus.dev\nKIND:       ClusterLink\nVERSION:    v1alpha1\n")
    link = {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "ClusterLink",
        "metadata": {"name": "main"},
        "spec": {"cluster": "prod", "devices": ["gw1"]},
    }
    for _ in range(2):  # right after the definition the real server may not take objects yet
        said = await kubectl("apply", "--server-side", "-f", "-", stdin=link)
        if said.code == 0:
            break
        await asyncio.sleep(2)
    assert said.out == "clusterlink.isthmus.dev/main serverside-applied\n"
    assert (await kubectl("get", "isthmus", "-o", "name")).out == "clusterlink.isthmus.dev/main\n"
    assert (await kubectl("get", "clusterlink", "main", "-o", "jsonpath={.spec.path}")).out == "auto", "a default"
    other = {**link, "spec": {**link["spec"], "cluster": "other"}}
    said = await kubectl("apply", "--server-side", "--field-manager=somebody", "-f", "-", stdin=other)
    assert said.code == 1
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .spec.cluster' in said.err
    forced = ("apply", "--server-side", "--field-manager=somebody", "--force-conflicts", "-f", "-")
    assert (await kubectl(*forced, stdin=other)).code == 0
    status = '{"status":{"conditions":[{"type":"Ready","status":"True","reason":"InSync","message":"",'
    # kubectl does not believe a condition that speaks of an older generation.
    status += '"observedGeneration":2,"lastTransitionTime":"2026-01-01T00:00:00Z"}]}}'
    waiting = asyncio.create_task(kubectl("wait", "--for=condition=Ready", "clusterlink/main", "--timeout=20s"))
    patched = await kubectl("patch", "clusterlink", "main", "--subresource=status", "--type=merge", "-p", status)
    assert (patched.code, patched.err) == (0, "")
    assert (await waiting).out == "clusterlink.isthmus.dev/main condition met\n"
    by_path = await kubectl("wait", "--for=jsonpath={.spec.cluster}=other", "clusterlink/main", "--timeout=20s")
    assert by_path.code == 0
    late = await kubectl("wait", "--for=condition=Ready=False", "clusterlink/main", "--timeout=1s")
    assert "timed out waiting for the condition" in late.err
    gone = asyncio.create_task(kubectl("wait", "--for=delete", "clusterlink/main", "--timeout=20s"))
    assert (await kubectl("delete", "clusterlink", "main")).code == 0
    assert (await gone).code == 0


async def test_what_is_wrong_is_said(kubectl: Kubectl) -> None:
    """Unknown fields, missing objects, kinds nobody knows and invalid objects are told in the words people search for."""
    await kubectl("apply", "-f", "-", stdin=definition())
    await kubectl("wait", "--for=condition=Established", "crd/pools.lab.dev", "--timeout=5s")
    assert (await kubectl("get", "nonsense")).err == ('error: the server doesn\'t have a resource type "nonsense"\n')
    assert (await kubectl("get", "svc", "none")).err == ('Error from server (NotFound): services "none" not found\n')
    strict = await kubectl("apply", "-f", "-", stdin={**config_map("m"), "datta": {}})
    assert strict.code == 1
    assert 'unknown field "datta"' in strict.err
    bad = await kubectl("create", "-f", "-", stdin=service("s", ports=[{"port": 0}]))
    said = "Invalid value: 0: must be between 1 and 65535, inclusive"
    assert bad.err == (
        f'The Service "s" is invalid: \n* spec.ports[0].port: {said}\n* spec.ports[0].targetPort: {said}\n'
    )
