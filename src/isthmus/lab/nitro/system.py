"""What is one for the whole device: version, features, modes, host name, the state of configuration and of the pair.

These are read back as objects, not lists, but for the host name and the nodes of a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.lab.nitro import network
from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.kinds import Row, kind
from isthmus.lab.nitro.running import Running

if TYPE_CHECKING:
    from isthmus.lab.nitro.appliance import Appliance

Json = dict[str, Any]

# Longer names that mean the same feature.
_LONG = {
    "ApplicationFirewall": "AppFw",
    "BGPRouting": "BGP",
    "CMPcntl": "CMP",
    "CacheRedirection": "CR",
    "CallHome": "CH",
    "CompressionControl": "CMP",
    "ContentFiltering": "CF",
    "ContentInspection": "CI",
    "ContentSwitching": "CS",
    "GlobalServerLoadBalancing": "GSLB",
    "HttpDoSProtection": "HDOSP",
    "IPv6protocoltranslation": "IPv6PT",
    "ISISRouting": "ISIS",
    "IntegratedCaching": "IC",
    "LoadBalancing": "LB",
    "NSPush": "push",
    "NetScalerPush": "push",
    "OSPFRouting": "OSPF",
    "PriorityQueuing": "PQ",
    "RIPRouting": "RIP",
    "Reputation": "Rep",
    "SSLOffload": "SSL",
    "SSLOffloading": "SSL",
    "SureConnect": "SC",
    "SurgeProtection": "SP",
    "WebLogging": "WL",
    "ClientKeepAlive": "CKA",
    "FastRamp": "FR",
    "L2Mode": "L2",
    "L3Mode": "L3",
    "MACbasedforwarding": "MBF",
    "PMTUDiscovery": "PMTUD",
    "TCPBuffering": "TCPB",
    "USeSourceIP": "USIP",
    "UseSubnetIP": "USNIP",
}
# How a kind is called in an answer, where that is not its name in lower case.
SPOKEN_KINDS = {"interface": "Interface"}
OBJECTS = ("nsversion", "nsfeature", "nsmode", "nsconfig")


@dataclass(frozen=True, slots=True)
class Port:
    """A network interface of the device: its number, MAC and MTU in bytes."""

    ifnum: str
    mac: str
    mtu: int = 1500


def interfaces(device: Appliance) -> list[Json]:
    """Return ``Interface``: the ports, and the loopback that every device shows."""
    of = kind("interface")
    shown = []
    for unit, port in enumerate((*device.ports, Port("LO/1", "00:00:00:00:00:00"))):
        row: Row = {
            **of.defaults(),
            "id": port.ifnum,
            "mtu": port.mtu,
            "devicename": port.ifnum,
            "unit": unit,
            "description": "Netscaler Loopback interface" if port.ifnum == "LO/1" else "NetScaler Virtual Interface",
            "flags": 0,
            "actualmtu": port.mtu,
            "vlan": 1,
            "mac": port.mac,
            "state": "ENABLED",
            "linkstate": 1,
            "intfstate": 1,
        }
        shown.append(of.show(row))
    return shown


def version(device: Appliance) -> Json:
    """Return ``nsversion``."""
    return {"installedversion": False, "version": device.release, "mode": "1"}


def flags(name: str, running: Running) -> Json:
    """Return ``nsfeature`` or ``nsmode``: the names of what is on, then each name with true or false."""
    on = running.features if name == "nsfeature" else running.modes
    word = "feature" if name == "nsfeature" else "mode"
    known = [field for field in kind(name).fields if field != word]
    lower = {item.lower() for item in on}
    return {word: sorted(on), **{field: field in lower for field in known}}


def switch(name: str, running: Running, body: Json, *, on: bool) -> None:
    """Turn features or modes on or off."""
    word = "feature" if name == "nsfeature" else "mode"
    given = kind(name).read(body, frozenset({word})).get(word)
    if not isinstance(given, tuple) or not given:
        raise Refusal(1095, word)
    names = frozenset(_LONG.get(item, item) for item in given)
    if name == "nsfeature":
        before, running.features = running.features, running.features | names if on else running.features - names
        running.changed(lambda: setattr(running, "features", before))
    else:
        before, running.modes = running.modes, running.modes | names if on else running.modes - names
        running.changed(lambda: setattr(running, "modes", before))


def config(device: Appliance) -> Json:
    """Return ``nsconfig``."""
    stored = device.config
    return {
        "ipaddress": device.address,
        "netmask": device.netmask,
        "systemtype": "HA" if device.pair is not None else "Stand-alone",
        "primaryip": device.address,
        "flags": "0",
        "lastconfigchangedtime": stored.changed_at,
        "lastconfigsavetime": stored.saved_at,
        "configchanged": stored.changed,
    }


def host_name(running: Running) -> list[Json]:
    """Return ``nshostname``."""
    return [{"hostname": running.hostname, "ownernode": "255"}]


def set_host_name(running: Running, body: Json) -> None:
    """Set the host name."""
    given = kind("nshostname").read(body, kind("nshostname").update)
    if not given.get("hostname"):
        raise Refusal(1095, "hostName")
    before, running.hostname = running.hostname, str(given["hostname"])
    running.changed(lambda: setattr(running, "hostname", before))


def nodes(device: Appliance) -> list[Json]:
    """Return ``hanode`` as this device sees it: itself as node 0, its peer as node 1."""
    pair = [device] if device.pair is None else [device, device.pair.other(device)]
    defaults = kind("hanode").show(kind("hanode").defaults())
    return [
        {
            **defaults,
            "id": str(number),
            "name": node.config.running.hostname,
            "ipaddress": node.address,
            "flags": "0",
            "hastatus": "UP" if node.up else "DOWN",
            "state": "Primary" if node.primary else "Secondary",
            "netmask": node.netmask,
            "ssl2": "NO",
            "masterstatetime": str(int(node.role_age)),
        }
        for number, node in enumerate(pair)
    ]


def policy_routes(name: str, running: Running, action: str) -> None:
    """Do ``nspbrs?action=apply``, ``clear`` or ``renumber`` (for ``nspbr6`` the resource is the same as of its rows)."""
    of = "nspbr" if name == "nspbrs" else name
    if action == "apply":
        network.apply(running, of)
    elif action == "renumber":
        network.renumber(running, of)
    elif action == "clear":
        for row in list(running.table(of).values()):
            running.remove(kind(of), row)
    else:
        raise Refusal(1240, action)


def management_address(address: str, netmask: str) -> Row:
    """Return the NSIP, which is there before anybody configures anything."""
    base = kind("nsip").defaults()
    return {**base, "ipaddress": address, "netmask": netmask, "type": "NSIP", "mgmtaccess": "ENABLED"}
