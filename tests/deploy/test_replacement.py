"""Isthmus in the place of an older node controller: its variables, ConfigMap, Secret and names, and only the rights it needs.

The API server is a real one, the ADC is the lab's, and the process is what the rendered Deployment says.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from app.home.rig import Place, node, until
from app.home.test_controller_processes import slice_of_the_api
from deploy.installed import Installed
from deploy.manifests import only, rendered
from deploy.pods import running
from deploy.rights import rights
from isthmus.lab.nitro import Appliance, serving
from realapi.reaching import Refused

OVERLAY, NAME = "node-controller-replacement", "citrix-node-controller"
SPACE, ROUTER = "default", "kube-cnc-router"


def config_map(home: Place, name: str) -> dict[str, Any] | None:
    """Return a ConfigMap, or none."""
    try:
        return home.api.get("ConfigMap", name, SPACE)
    except Refused:
        return None


def join(home: Place, number: int) -> None:
    """Have a Node join as kubelets do it: made first, its status patched, whoever else writes to it meanwhile."""
    made = node(number)
    home.api.put({**made, "status": {}})
    path = f"/api/v1/nodes/{made['metadata']['name']}/status"
    home.api.ask("PATCH", path, {"status": made["status"]}, "application/merge-patch+json")


def vxlans(device: Appliance) -> list[str]:
    """Return the VNIs that the ADC has."""
    return [str(row["id"]) for row in device.running.table("vxlan").values()]


@pytest.mark.parametrize("installed", [OVERLAY], indirect=True)
async def test_what_stood_there_is_replaced(installed: Installed, tmp_path: Path) -> None:
    """With the switch there the ADC gets the overlay, the router's ConfigMap tells of it; without it all is removed."""
    home, device = installed.place, Appliance()
    account = installed.controller
    assert account == (SPACE, NAME)
    for number in (1, 2):
        home.api.put(node(number))
    home.api.put(slice_of_the_api())
    switch = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": SPACE}}
    home.api.put({**switch, "data": {"operation": "ADD"}})
    said = installed.environment(*account) | {"POD_NAMESPACE": SPACE, "NS_USER": "nsroot", "NS_PASSWORD": "nsroot"}
    device.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, "action=enable")
    device.write("POST", "nsip", {"nsip": {"ipaddress": "192.0.2.51", "netmask": "255.255.255.0", "type": "SNIP"}})
    async with serving(device) as adc:
        host, _, port = adc.url.removeprefix("http://").rpartition(":")
        said |= {"NS_IP": host, "NS_PROTOCOL": "http", "NS_PORT": port}
        deployment = only(installed.objects, "Deployment")
        async with running(deployment, said, tmp_path / "pod.log", "--lease-profile", "fast") as pod:
            words = lambda: pod.log()[-3000:] + str(installed.refused(NAME))  # noqa: E731
            await until(lambda: vxlans(device) == ["300"], 40.0, what=words)
            await until(lambda: "isthmus.dev/cleanup" in str(config_map(home, NAME)), 20.0, what=words)
            await until(lambda: "Node-192.0.2.101" in str(config_map(home, ROUTER)), 20.0, what=words)
            await until(lambda: pod.probe("/readyz") == "ok", 20.0, what=lambda: pod.probe("/readyz"))
            join(home, 3)
            await until(lambda: "Node-192.0.2.103" in str(config_map(home, ROUTER)), 20.0, what=words)
            home.api.delete("ConfigMap", NAME, SPACE)
            await until(lambda: config_map(home, NAME) is None, 40.0, what=words)
            assert vxlans(device) == []
            assert config_map(home, ROUTER) is None
            pod.process.send_signal(signal.SIGTERM)
            assert await pod.process.wait() == 0, pod.log()
            assert said["NS_PASSWORD"] not in pod.log()
    assert installed.refused(NAME) == []
    uses = installed.uses(NAME)
    idle = {
        (right.verb, right.name)
        for right in rights(installed.objects)
        if right.role == "isthmus-older" and not any(right.allows(use) for use in uses)
    }
    assert idle == {(verb, f"{ROUTER}-{number}") for verb in ("get", "patch", "delete") for number in (1, 2, 3)}


def test_the_names_are_the_old_ones() -> None:
    """Deployment, account and role take the older ones' places, and the pods are selected as they were."""
    objects = rendered(OVERLAY)
    deployment = only(objects, "Deployment")
    assert (deployment["metadata"]["name"], deployment["metadata"]["namespace"]) == (NAME, SPACE)
    assert deployment["spec"]["selector"] == {"matchLabels": {"app": NAME}}
    assert only(objects, "ServiceAccount", NAME)["metadata"]["namespace"] == SPACE
    assert only(objects, "ClusterRoleBinding", NAME)["roleRef"]["name"] == NAME
