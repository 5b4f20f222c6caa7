"""What each mode needs of the environment: the ADC, an overlay of our own, flannel's, or somebody else's device.

Every function reads all it needs before it ends, so that one run tells everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.compat.documents import Wishes
from isthmus.compat.reading import Reader

__all__ = ["MODES"]


def overlay(reader: Reader) -> Wishes:
    wishes = Wishes()
    _device(reader, wishes)
    for name in ("NODE_CNI_CIDR", "NS_POD_CIDR"):
        if name in reader:
            reader.wrong(
                name,
                "is of flannel's own overlay (1.x), and NETWORK of an overlay of its own (2.x)",
                f"remove {name}, or NETWORK",
            )
    _own_overlay(reader, wishes, port_names=("VXLAN_PORT",))
    vtep = "REMOTE_TUNNEL_ENDPOINT" if wishes.encapsulation == "ipip" and "REMOTE_TUNNEL_ENDPOINT" in reader else ""
    _tunnel_end(reader, wishes, vtep or "REMOTE_VTEPIP")
    wishes.policy_routes = reader.text("CLUSTER_NAME") is not None
    wishes.cluster = reader.text("CLUSTER_NAME") or ""
    return wishes


def router(reader: Reader) -> Wishes:
    wishes = Wishes(external=True)
    _own_overlay(reader, wishes, port_names=("VXLAN_PORT", "K8S_VXLAN_PORT"))
    if wishes.encapsulation == "ipip" and "REMOTE_TUNNEL_ENDPOINT" in reader:
        _tunnel_end(reader, wishes, "REMOTE_TUNNEL_ENDPOINT")
    elif (text := reader.needed("REMOTE_VTEPIP", "the nodes' tunnels end there", "192.0.2.50")) is not None:
        wishes.ends = reader.addresses("REMOTE_VTEPIP", text)
        _apart(reader, wishes, "REMOTE_VTEPIP")
    wishes.cluster = reader.text("CLUSTER_NAME") or ""
    return wishes


def flannel(reader: Reader) -> Wishes:
    wishes = Wishes(flannel=True)
    _device(reader, wishes)
    text = reader.needed("NODE_CNI_CIDR", "it is flannel's network, and the ADC's own mask there", "10.244.0.0/16")
    wishes.networks = reader.networks("NODE_CNI_CIDR", text) if text else ()
    _tunnel_end(reader, wishes, "NS_VTEP_IP" if "NS_VTEP_IP" in reader else "REMOTE_VTEPIP")
    if (mac := reader.text("NS_VTEP_MAC")) is not None:
        wishes.mac = reader.mac("NS_VTEP_MAC", mac)
    if (vni := reader.text("NS_VXLAN_ID")) is not None:
        wishes.vni = reader.number("NS_VXLAN_ID", vni, 1, 16777215)
    if (port := reader.text("K8S_VXLAN_PORT")) is not None:
        wishes.port = reader.number("K8S_VXLAN_PORT", port, 1, 65535)
    if (reader.text("TYPE") or "VXLAN").upper() != "VXLAN":
        reader.wrong("TYPE", "is not what flannel's own overlay is made of", "remove it, or write VXLAN")
    wishes.cluster = reader.text("CLUSTER_NAME") or ""
    if wishes.cluster:
        reader.odd("CLUSTER_NAME", "only names the cluster here: a peer of flannel has no policy routes")
    return wishes


def _device(reader: Reader, wishes: Wishes) -> None:
    text = reader.needed("NS_IP", "it is where the ADC is configured", "192.0.2.10")
    wishes.hosts = reader.hosts("NS_IP", text) if text else ()
    protocol = reader.choice("NS_PROTOCOL", reader.text("NS_PROTOCOL") or "https", {"https": "https", "http": "http"})
    wishes.protocol = protocol or "https"
    if (port := reader.text("NS_PORT")) is not None:
        wishes.management_port = reader.number("NS_PORT", port, 1, 65535)
    _credentials(reader, wishes)
    if (ca := reader.text("NS_CA_FILE")) is not None:
        wishes.ca_file = reader.path("NS_CA_FILE", ca)
    if (fingerprint := reader.text("NS_CERT_SHA256")) is not None:
        wishes.fingerprint = reader.fingerprint("NS_CERT_SHA256", fingerprint)
    if "NS_CA_FILE" in reader and "NS_CERT_SHA256" in reader:
        reader.wrong("NS_CERT_SHA256", "is given besides NS_CA_FILE", "keep one of them")
    for name in ("NS_CA_FILE", "NS_CERT_SHA256"):
        if name in reader and wishes.protocol == "http":
            reader.wrong(name, "has no use with NS_PROTOCOL=http", "remove one of them; https is the default")
    if wishes.protocol == "http":
        reader.odd("NS_PROTOCOL", "sends the password in clear: whoever is on the way can read it", "write https")


def _credentials(reader: Reader, wishes: Wishes) -> None:
    directory = reader.text("NS_CREDENTIALS_DIRECTORY")
    if directory is None:
        for name in ("NS_USER", "NS_PASSWORD"):
            reader.needed(name, "without it nobody can log in (or set NS_CREDENTIALS_DIRECTORY)", "... from a Secret")
        return
    wishes.credentials = reader.path("NS_CREDENTIALS_DIRECTORY", directory, folder=True)
    for name in ("NS_USER", "NS_PASSWORD"):
        if name in reader:
            reader.wrong(name, "is given besides NS_CREDENTIALS_DIRECTORY", "keep the variables or the directory")


def _own_overlay(reader: Reader, wishes: Wishes, *, port_names: tuple[str, ...]) -> None:
    kind = reader.choice("TYPE", reader.text("TYPE") or "VXLAN", {"VXLAN": "vxlan", "IPIP": "ipip"})
    wishes.encapsulation = kind or "vxlan"
    text = reader.needed("NETWORK", "the ADC and every node get an address in it", "192.168.1.0/24")
    wishes.networks = reader.networks("NETWORK", text) if text else ()
    ipip = wishes.encapsulation == "ipip"
    given = [name for name in port_names if name in reader]
    if len({reader.text(name) for name in given}) > 1:
        reader.wrong(given[1], f"contradicts {given[0]}={reader.text(given[0])}", "keep one of them")
    name = given[0] if given else port_names[0]
    port = (
        reader.text(name) if given or ipip else reader.needed(name, "the overlay needs a UDP port of its own", "7700")
    )
    wishes.port = reader.number(name, port, 1, 65535) if port else None
    vni = reader.text("VNID") if ipip else reader.needed("VNID", "it tells our overlay from others", "300")
    wishes.vni = reader.number("VNID", vni, 1, 16777215) if vni else None
    if ipip and (given or port):
        reader.odd(name, "is of VXLAN, and TYPE is IPIP", "remove it")
    if (range_ := reader.text("DSR_IP_RANGE")) is not None:
        wishes.direct_return = reader.networks("DSR_IP_RANGE", range_)
        for network in wishes.direct_return:
            if any(network.version == own.version and network.overlaps(own) for own in wishes.networks):
                reader.wrong("DSR_IP_RANGE", "overlaps NETWORK", "VIPs lie outside of the overlay")


def _tunnel_end(reader: Reader, wishes: Wishes, name: str) -> None:
    text = reader.text(name)
    if text is not None:
        wishes.ends = reader.addresses(name, text)
    elif wishes.hosts:
        if len(wishes.hosts) > 1 or any(
            character.isalpha() for character in wishes.hosts[0].strip("[]").split(":")[0]
        ):
            reader.needed(name, "NS_IP is not one address that a tunnel could end on", "192.0.2.50")
            return
        name = "NS_IP"
        wishes.ends = reader.addresses(name, wishes.hosts[0].strip("[]"))
    _apart(reader, wishes, name)


def _apart(reader: Reader, wishes: Wishes, name: str) -> None:
    for end in wishes.ends:
        inside = next((network for network in wishes.networks if end in network), None)
        if inside is not None and not wishes.flannel:
            reader.wrong(
                name if name in reader else "REMOTE_VTEPIP",
                f"{end} lies in the overlay's own network {inside}",
                "a tunnel cannot end inside of itself: write the device's address outside, or another NETWORK",
            )
    if wishes.encapsulation == "ipip" and any(end.version == 6 for end in wishes.ends):
        reader.wrong(name, "is IPv6, and IPIP carries IPv4 in IPv4 only", "write an IPv4 address, or TYPE=VXLAN")


MODES: dict[str, Callable[[Reader], Wishes]] = {"overlay": overlay, "flannel": flannel, "router": router}
"""What is read for each mode, by its name."""
