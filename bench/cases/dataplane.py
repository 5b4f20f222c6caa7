"""``dataplane``: throughput of one TCP stream, client → VIP → VXLAN → pod, through what Isthmus set up.

The reference is a second gateway beside it with the same hops made by hand: one VXLAN, one DNAT rule, one SNAT rule, one
MSS rule. Same client, same pod, same cables; segmentation offload is on, as in reality. Here more is better.
"""

from __future__ import annotations

import sys
from ipaddress import ip_address

from bench.gateway import tool
from bench.measure import in_turns, scale
from bench.row import Row, compared
from isthmus.lab.joined import GATEWAY, JoinedLab, run, until
from isthmus.lab.net.clients import fetch
from isthmus.lab.net.command import inside
from isthmus.lab.net.nodes import Workload
from isthmus.lab.net.topology import CLIENT_NEAR, Topology

_BY_HAND = "gw2"
_VIP = "203.0.113.250"
_HOP, _NODE_HOP = "172.30.0.1", "172.30.0.2"
_MACS = {"gw2": "02:bb:00:00:00:01", "node1": "02:bb:00:00:00:02"}
_LEAST = 0.97
_PORT = 8080


async def measure() -> list[Row]:
    """Return the row."""
    seconds = 2.0 if scale() >= 1 else 0.3
    topology = Topology(nodes=1, gateways=2, families=("ipv4",), cni="none", offloads=True)
    async with JoinedLab(topology, "overlay") as joined:
        await joined.join()
        await joined.lab.publish(Workload(name="web", pods={"pod1-1": "ready"}, ports=((_PORT, "TCP"),)))
        (ours_at,) = await joined.vip_of("web", timeout=30)

        async def answers() -> bool:
            return (await fetch(CLIENT_NEAR, ip_address(ours_at), _PORT, timeout=0.5)).ok

        await until(answers, timeout=20)
        _by_hand(joined)
        await joined.lab.pods.stop(["pod1-1"])
        sink = await joined.lab.start_process(
            "pod1-1", (sys.executable, "-m", "bench.stream", "sink", str(_PORT)), name="sink"
        )
        await sink.wait_for_log("listening")

        async def through(address: str) -> float:
            command = [sys.executable, "-m", "bench.stream", "send", address, str(_PORT), str(seconds)]
            return int(await run(inside(CLIENT_NEAR, command))) * 8 / seconds / 1e9

        async def ours() -> float:
            return await through(ours_at)

        async def theirs() -> float:
            return await through(_VIP)

        found = await in_turns(ours, theirs, pairs=7)
    return [
        compared(
            "dataplane",
            found,
            "Gbit/s",
            (f"≥ {_LEAST}x", found.ratio >= _LEAST),
            note=f"one TCP stream, {seconds:g} s each; reference: the same hops by hand on {_BY_HAND} beside {GATEWAY}",
        )
    ]


def _by_hand(joined: JoinedLab) -> None:
    """Make the second gateway with ``ip``, ``bridge`` and ``nft``."""
    topology = joined.lab.topology
    plan = joined.lab.network.nodes["node1"]
    gateway = next(one for one in topology.gateway_plans if one.name == _BY_HAND)
    ends = {_BY_HAND: gateway.under.address("ipv4"), "node1": plan.leg.address("ipv4")}
    hops = {_BY_HAND: _HOP, "node1": _NODE_HOP}
    for here, there in ((_BY_HAND, "node1"), ("node1", _BY_HAND)):
        ip = ("ip", "-n", here)
        link = ("dev", "byhand0")
        vxlan = ("type", "vxlan", "id", "88", "dstport", "8888", "local", str(ends[here]), "nolearning")
        tool(*ip, "link", "add", "byhand0", "address", _MACS[here], "mtu", "1450", *vxlan)
        tool(*ip, "link", "set", "byhand0", "up")
        tool(*ip, "address", "add", f"{hops[here]}/24", *link)
        tool(*ip, "neighbor", "add", hops[there], "lladdr", _MACS[there], *link, "nud", "permanent")
        tool("bridge", "-n", here, "fdb", "add", _MACS[there], *link, "dst", str(ends[there]), "self", "permanent")
    tool("ip", "-n", _BY_HAND, "route", "add", str(plan.pod_cidr("ipv4")), "via", _NODE_HOP, "dev", "byhand0")
    tool("ip", "-n", _BY_HAND, "address", "add", f"{_VIP}/32", "dev", gateway.front.name)
    pod = plan.pods[0].address("ipv4")
    rules = f"""
    table ip byhand {{
      chain in {{ type nat hook prerouting priority dstnat;
        ip daddr {_VIP} tcp dport {_PORT} dnat to {pod}:{_PORT}
      }}
      chain out {{ type nat hook postrouting priority srcnat;
        ct status dnat snat to {_HOP}
      }}
      chain mss {{ type filter hook forward priority mangle;
        tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
      }}
    }}
    """
    tool(*inside(_BY_HAND, ["nft", "-f", "-"]), text=rules)
