"""The older systems' users: their environment and ConfigMaps drive a lab to packets, and so does what is exported to others.

The second endpoint is built by ``ip`` and ``bridge`` from the ConfigMap alone; nothing else of the product is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from isthmus.errors import LabError
from isthmus.lab.joined import ISTHMUS, until
from isthmus.lab.net.clients import fetch
from isthmus.lab.net.command import bridge_batch, command_in, ip_batch
from isthmus.lab.net.lab import Lab
from isthmus.lab.net.pods import HTTP_PORT
from isthmus.lab.net.processes import Running
from isthmus.lab.net.topology import Topology
from packets.by_hand import by_hand

MAPS = "/api/v1/namespaces/kube-system/configmaps"
SWITCH, ROUTER = "citrix-node-controller", "kube-chorus-router"
TUNNEL = "isth300"


async def agents(lab: Lab) -> None:
    """Start the agent on every node."""
    for node in lab.network.nodes.values():
        state = lab.directory / f"agent-{node.name}"
        argv = (*ISTHMUS, "agent", "node", "--node", node.name, "--state", str(state))
        await lab.start_process(node.name, (*argv, "--kubeconfig", str(lab.kubeconfig)), name=f"agent-{node.name}")


@contextlib.asynccontextmanager
async def controller(lab: Lab, variables: Mapping[str, str]) -> AsyncIterator[Running]:
    """Run ``isthmus controller --from-env`` on a node, as the old controllers' pods ran."""
    seat = next(iter(lab.network.nodes))
    argv = (*ISTHMUS, "controller", "--from-env", "--state", str(lab.directory / "state"))
    running = await lab.start_process(seat, argv, name="controller", env=variables)
    try:
        yield running
    except LabError as error:
        raise LabError(f"{error}\n{running.tail(40)}") from error
    finally:
        await running.stop()


async def configmap(lab: Lab, name: str) -> dict[str, Any] | None:
    """Return a ConfigMap of kube-system, or none."""
    listed = await lab.client.get(MAPS)
    return next((one for one in listed["items"] if one["metadata"]["name"] == name), None)


async def test_old_environment_and_configmap_lead_to_packets() -> None:
    """The variables of 2.x and the switch build everything; the client reaches pods through the ADC; deleting ends it."""
    async with by_hand() as hand:
        lab, device = hand.lab, hand.device
        await agents(lab)
        variables = {
            "KUBECONFIG": str(lab.kubeconfig),
            "NS_IP": str(hand.vtep()),
            "NS_PROTOCOL": "http",
            "NS_USER": "nsroot",
            "NS_PASSWORD": "nsroot",
            "NETWORK": "172.16.3.0/24",
            "VXLAN_PORT": "3267",
            "VNID": "300",
        }
        async with controller(lab, variables) as running:
            await running.wait_for_log("controller started")
            await asyncio.sleep(1)
            assert await hand.nitro.get("vxlan") == [], "nothing before the switch is there"
            head = {"namespace": "kube-system", "name": SWITCH}
            await lab.client.create(
                MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {"operation": "ADD"}}
            )
            vip = await hand.serve("ipv4")  # whoever programs virtual servers goes on doing so
            await hand.answers(vip, timeout=20)
            found = await hand.spread(vip)
            assert found.pods == {"pod1-1": 5, "pod2-1": 5}, found
            assert found.sources == {"172.16.3.254"}

            async def told() -> bool:
                data = (await configmap(lab, "kube-cnc-router") or {}).get("data", {})
                marks = [key for key in data if key.startswith("Node-")]
                return data.get("EndpointIP") == "172.16.3.254" and len(marks) == 2

            await until(told, timeout=10)
            await lab.client.delete(f"{MAPS}/{SWITCH}")

            async def gone() -> bool:
                return await configmap(lab, SWITCH) is None

            await until(gone, timeout=20)
            assert await configmap(lab, "kube-cnc-router") is None
            assert await hand.nitro.get("vxlan") == []
            assert not (await hand.fetch(vip)).ok

            async def clean() -> bool:
                links = [(await command_in(name, ["ip", "-o", "link"])).out for name in lab.network.nodes]
                return not any(TUNNEL in text for text in links)

            await until(clean, timeout=10)
        assert device.appliance.running.find("bridgetable") == []


async def second_endpoint(namespace: str, data: Mapping[str, str]) -> None:
    """Build the other end of the overlay in ``namespace``, from the ConfigMap alone, as an independent program would."""
    overlay = json.loads(data["overlay.json"])
    (endpoint,) = overlay["endpoints"]
    length = overlay["networks"][0].partition("/")[2]
    vxlan = f"type vxlan id {overlay['vni']} local {endpoint['vtep']} dstport {overlay['port']} nolearning"
    nodes = [key.removeprefix("Node-") for key in data if key.startswith("Node-")]
    own6 = next(text for text in endpoint["overlay"] if ":" in text)
    links = [
        f"link add theirs mtu {overlay['mtu']} {vxlan}",
        f"addr add {data['EndpointIP']}/{length} dev theirs",
        f"addr add {own6} dev theirs nodad",
        "link set theirs up",
    ]
    for node in overlay["nodes"]:  # IPv6 stands in the document alone
        inside = next(text.partition("/")[0] for text in node["overlay"] if ":" in text)
        links.append(f"neigh replace {inside} lladdr {node['mac']} dev theirs nud permanent")
        links += [f"route replace {cidr} via {inside} dev theirs" for cidr in node["podCIDRs"] if ":" in cidr]
    for node in nodes:
        inside = data[f"Interface-{node}"]
        links.append(f"neigh replace {inside} lladdr {data[f'Mac-{node}']} dev theirs nud permanent")
        links += [f"route replace {cidr} via {inside} dev theirs" for cidr in data[f"CNI-{node}"].split(",")]
    await ip_batch(namespace, links)
    await bridge_batch(
        namespace, [f"fdb append {data[f'Mac-{node}']} dev theirs dst {node} self permanent" for node in nodes]
    )


async def test_the_exported_configmap_builds_a_second_endpoint() -> None:
    """`isthmus router create` and its ConfigMap are all that another program needs to reach every pod; delete ends it."""
    async with Lab(Topology(nodes=2, cni="none")) as lab:
        await agents(lab)
        gateway = lab.topology.gateway_plans[0]
        end = str(gateway.under.address("ipv4"))
        seat = next(iter(lab.network.nodes))
        environment = {
            "KUBECONFIG": str(lab.kubeconfig),
            "NETWORK": "192.168.254.0/24,fd00:254::/64",
            "VNID": "200",
            "VXLAN_PORT": "7000",
            "REMOTE_VTEPIP": end,
        }

        async def router(verb: str) -> str:
            assigned = [f"{name}={text}" for name, text in environment.items()]
            done = await command_in(seat, ["env", *assigned, *ISTHMUS, "router", verb])
            return done.out

        assert os.environ.get("NETWORK") is None
        assert "2 nodes are on the overlay" in await router("create")
        exported = await configmap(lab, ROUTER)
        assert exported is not None
        await second_endpoint(gateway.name, exported["data"])
        pods = [pod for node in lab.network.nodes.values() for pod in node.pods]
        addresses = [pod.address(family) for pod in pods for family in lab.topology.families]
        assert {address.version for address in addresses} == {4, 6}

        async def reached() -> bool:
            answers = [await fetch(gateway.name, address, HTTP_PORT, timeout=0.5) for address in addresses]
            own = {exported["data"]["EndpointIP"], "fd00:254::ffff:ffff:ffff:ffff"}
            return all(answer.ok and answer.source in own for answer in answers)

        await until(reached, timeout=15)
        assert "2 nodes have been taken off" in await router("delete")
        assert await configmap(lab, ROUTER) is None

        async def unreached() -> bool:
            answers = [await fetch(gateway.name, address, HTTP_PORT, timeout=0.3) for address in addresses]
            return not any(answer.ok for answer in answers)

        await until(unreached, timeout=10)
