"""Every overlay goes into an API server as people apply it: the lab's, and a real one that knows every field."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from deploy.manifests import DEPLOY, OVERLAYS, only, pod_of, rendered, require_kubectl
from isthmus.lab.kube import Endpoint, KubeApi
from realapi import RealApi
from realapi.reaching import Reach, Refused
from realapi.wiping import wipe

Json = dict[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """kubectl as the administrator of one server."""

    program: str
    kubeconfig: Path
    home: Path

    async def __call__(self, *arguments: str, stdin: str = "") -> list[str]:
        """Return the lines that it prints; whatever it complains of fails the test."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}
        process = await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        assert (process.returncode, err.decode()) == (0, ""), err.decode()
        return out.decode().splitlines()


@pytest.fixture(params=["lab", "real"])
async def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Endpoint]:
    """Return a server of each sort that has nothing of ours."""
    async with AsyncExitStack() as stack:
        if request.param == "lab":
            yield await stack.enter_async_context(KubeApi().serving(directory=tmp_path))
            return
        real: RealApi = request.getfixturevalue("real_api")
        yield real.endpoint
        context = ssl.create_default_context(cafile=real.endpoint.ca_path)
        async with aiohttp.ClientSession(
            real.endpoint.url,
            headers={"Authorization": f"Bearer {real.endpoint.token}"},
            connector=aiohttp.TCPConnector(ssl=context),
        ) as session:
            await wipe(session)


@pytest.fixture
def kubectl(endpoint: Endpoint, tmp_path: Path) -> Kubectl:
    home = tmp_path / "home"
    home.mkdir()
    return Kubectl(require_kubectl(), endpoint.kubeconfig_path, home)


async def stored(kubectl: Kubectl, objects: list[Json]) -> dict[str, Json]:
    """Return what the server has of each object."""
    lines = await kubectl("get", "-f", "-", "-o", "json", stdin=yaml.safe_dump_all(objects))
    return {f"{one['kind']} {one['metadata']['name']}": one for one in json.loads("\n".join(lines))["items"]}


def lacking(wanted: Any, found: Any, place: str = "") -> list[str]:
    """Return the places of ``wanted`` that ``found`` does not say the same of; it may say more."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [one for key, value in wanted.items() for one in lacking(value, found.get(key), f"{place}.{key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [
            one for index, value in enumerate(wanted) for one in lacking(value, found[index], f"{place}[{index}]")
        ]
    return [] if wanted == found else [f"{place}: {wanted!r} became {found!r}"]


@pytest.mark.parametrize("overlay", OVERLAYS)
async def test_it_is_applied_as_it_stands(kubectl: Kubectl, overlay: str) -> None:
    """A dry run changes nothing, applying stores every field, applying again changes nothing, deleting takes all away."""
    objects = rendered(overlay)
    spaces = [one for one in objects if one["kind"] == "Namespace"]
    await kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(spaces))
    whole = yaml.safe_dump_all(objects)
    arguments = ("apply", "--server-side", "--validate=strict", "--field-manager=isthmus-install", "-f", "-")
    await kubectl(*arguments, "--dry-run=server", "--force-conflicts", stdin=whole)
    assert (
        await kubectl(
            "get",
            "serviceaccounts,deployments,daemonsets",
            "-A",
            "-l",
            "app.kubernetes.io/part-of=isthmus",
            "--ignore-not-found",
            "-o",
            "name",
        )
        == []
    )
    await kubectl(*arguments, "--force-conflicts", stdin=whole)
    first = await stored(kubectl, objects)
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        assert lacking(one, first[name], name) == []
    await kubectl(*arguments, stdin=whole)
    second = await stored(kubectl, objects)
    versions = [
        {name: one["metadata"]["resourceVersion"] for name, one in found.items()} for found in (first, second)
    ]
    assert versions[0] == versions[1]


async def test_people_apply_it_by_folder(kubectl: Kubectl) -> None:
    """`kubectl apply -k` makes everything at once, a second time nothing, and `kubectl delete -k` takes it away."""
    folder = str(DEPLOY / "overlays" / "netscaler")
    objects = rendered("netscaler")
    if await kubectl("get", "crds", "-o", "name"):  # on the real server definitions outlive other tests
        await kubectl("delete", "crds", "--all")
    made = await kubectl("apply", "--validate=strict", "-k", folder)
    assert sorted(line.rpartition(" ")[2] for line in made) == ["created"] * len(objects)
    first = await stored(kubectl, objects)
    again = await kubectl("apply", "--validate=strict", "-k", folder)
    # A budget's selector is patched as a whole each time, and kubectl calls that configured; nothing is.
    changed = [
        line for line in again if not line.endswith(" unchanged") and not line.startswith("poddisruptionbudget")
    ]
    assert changed == []
    assert await stored(kubectl, objects) == first
    await kubectl("delete", "--ignore-not-found", "--wait=false", "-k", folder)
    left = await kubectl(
        "get",
        "deployments,daemonsets,serviceaccounts,clusterroles,clusterrolebindings",
        "-A",
        "-l",
        "app.kubernetes.io/part-of=isthmus",
        "--ignore-not-found",
        "-o",
        "name",
    )
    assert left == []


def pod(workload: Json, space: str) -> Json:
    """Return the pod that a controller of workloads would make."""
    meta = {"name": "one", "namespace": space, "labels": workload["spec"]["template"]["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_of(workload)}


@pytest.mark.parametrize("endpoint", ["real"], indirect=True)
async def test_the_api_server_guards_the_namespaces(endpoint: Endpoint, kubectl: Kubectl) -> None:
    """Its own Pod Security admission lets our pods in where they belong; the agent's gets in nowhere else."""
    objects = rendered("netscaler")
    await kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))
    reach = Reach(endpoint)
    controller, agent = only(objects, "Deployment"), only(objects, "DaemonSet")
    path = "/api/v1/namespaces/{}/pods?dryRun=All"
    for workload, space in ((controller, "isthmus-system"), (agent, "isthmus-nodes")):
        made = reach.ask("POST", path.format(space), pod(workload, space))
        assert made["spec"]["priorityClassName"].startswith("system-")
    with pytest.raises(Refused, match='violates PodSecurity "restricted') as refused:
        reach.ask("POST", path.format("isthmus-system"), pod(agent, "isthmus-system"))
    assert refused.value.status == 403
    reach.close()
