"""A NetScaler whose credentials are a Secret of the home cluster, and what its status says there."""

from __future__ import annotations

import asyncio
import json

from isthmus.app.controller import Controller
from isthmus.app.home.home import Home
from isthmus.kube.kubeconfig import load
from isthmus.lab.nitro import Appliance, serving
from isthmus.registry.state import StateDirectory

from .rig import FAST, Place, node, until

PASSWORD = "planted-Passw0rd-2342"


def message(home: Place, type: str) -> str:
    """Return the message of a condition of the device."""
    return str(home.condition("EdgeDevice", "adc1", type).get("message", ""))


def secret(home: Place, password: str) -> None:
    data = {"username": "isthmus", "password": password}
    metadata = {"name": "adc1", "namespace": "default"}
    home.api.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


async def test_a_secret_of_the_home_cluster(home: Place) -> None:
    """Missing, wrong, right: each is a condition of the EdgeDevice that holds no secret, and the last one serves."""
    device = Appliance(users={"isthmus": PASSWORD})
    device.faults.disk_full = True
    snip = {"ipaddress": "192.0.2.50", "netmask": "255.255.255.0", "type": "SNIP"}
    device.write("POST", "nsip", {"nsip": snip})
    device.config.end_save()
    async with serving(device) as endpoint:
        said = {
            "urls": [endpoint.url],
            "plainHttp": True,
            "credentials": {"secret": {"namespace": "default", "name": "adc1"}},
            "enableFeatures": True,
            "saveAfter": 0,
        }
        home.api.put(node(1))
        home.put("EdgeDevice", "adc1", {"driver": "netscaler", "tunnelAddresses": ["192.0.2.50"], "netscaler": said})
        home.put("KubeCluster", "prod", {"kubeconfig": {"path": str(home.endpoint.kubeconfig_path)}})
        link = {"cluster": "prod", "devices": ["adc1"], "path": "direct", "services": False}
        home.put("ClusterLink", "main", link)
        connection = load(home.endpoint.kubeconfig_path)
        async with StateDirectory(home.directory / "state") as state:
            running = Controller(None, state, home=Home(connection, {"netscaler"}, namespace="default", timing=FAST))
            task = asyncio.create_task(running.run())
            try:
                await until(lambda: "Secret default/adc1: is not there" in message(home, "Reachable"))
                secret(home, "wrong-Passw0rd")
                await until(lambda: "name or password are wrong" in message(home, "Reachable"), 15)
                assert device.faults.requests[("login", "login")] == 1
                secret(home, PASSWORD)
                await until(lambda: home.is_so("EdgeDevice", "adc1", "InSync"), 20)
                await until(lambda: home.is_so("EdgeDevice", "adc1", "Saved", "False", "NotSaved"))
                assert "no space left on device" in message(home, "Saved")
                shown = json.dumps([home.find("EdgeDevice", "adc1"), home.events()])
                assert "Passw0rd" not in shown
            finally:
                running.stop()
                await asyncio.wait({task}, timeout=15)
                await task
    assert device.sessions.live() == []
