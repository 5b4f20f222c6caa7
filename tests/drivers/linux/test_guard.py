"""What the gateway leaves alone, what it notices, and how it comes right again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from isthmus.drivers.base import ProbeTarget
from isthmus.drivers.linux import LinuxDriver, host
from isthmus.drivers.linux.netlink import Message, Reply
from isthmus.drivers.linux.nfnetlink import Failed, Nfnetlink
from isthmus.drivers.linux.services import service_key, shard_of
from isthmus.errors import DeviceRefused, DeviceUnreachable, DeviceUnsupported
from isthmus.model.plan import Change
from isthmus.model.resources import (
    AnyResource,
    FdbEntry,
    Member,
    Neighbor,
    Route,
    SourceAddress,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

from ..bench import by_identity, changes_between, converge, everything, outcomes, overlay, services, settle
from .conftest import run

pytestmark = pytest.mark.packets

TUNNEL = Tunnel("isth0", 7001, 47001, ip_address("192.0.2.1"), "02:00:00:00:70:01", 1450, "up0")


@pytest.fixture
async def driver(underlay: str) -> AsyncIterator[LinuxDriver]:
    gateway = LinuxDriver()
    await gateway.open()
    yield gateway
    await gateway.close()


def create(resource: AnyResource) -> Change:
    return Change("create", resource.identity, None, resource)


async def refusal(gateway: LinuxDriver, resource: AnyResource) -> str:
    """Return the reason for which creating ``resource`` is refused."""
    [outcome] = await outcomes(gateway, [create(resource)])
    assert outcome.result == "refused"
    return outcome.reason


async def drifts(gateway: LinuxDriver, act: Callable[[], object], *, within: float = 5) -> bool:
    """Say whether ``act`` is noticed as drift."""
    drifting = asyncio.create_task(gateway.drift())
    await asyncio.sleep(0.05)
    act()
    try:
        await asyncio.wait_for(drifting, within)
    except TimeoutError:
        return False
    return True


async def test_our_own_writes_are_no_drift(driver: LinuxDriver) -> None:
    """Whatever we apply, update and delete ourselves wakes nobody."""
    drifting = asyncio.create_task(driver.drift())
    await settle(driver, everything("up0"))
    await settle(driver, by_identity(*overlay("up0")))
    await asyncio.sleep(0.6)
    assert not drifting.done()
    drifting.cancel()


@pytest.mark.parametrize(
    "command",
    [
        "ip link del isth0",
        "ip link set isth0 down",
        "ip link set isth0 mtu 1300",
        "ip address del 198.18.0.1/24 dev isth0",
        "ip -6 address del 2001:db8:f::1/64 dev isth0",
        "ip route del 10.244.12.0/24",
        "ip route replace 10.244.12.0/24 via 192.0.2.9 proto static",
        "ip route append 10.244.12.0/24 via 192.0.2.9 proto 200",
        "ip -6 route append 2001:db8:fc::/64 via 2001:db8::9 proto 200",
        "ip neighbor del 198.18.0.12 dev isth0",
        "ip neighbor replace 198.18.0.12 lladdr 02:00:00:00:99:99 dev isth0 nud permanent",
        "bridge fdb del 02:00:00:00:71:0c dev isth0",
        "bridge fdb replace 02:00:00:00:71:0c dev isth0 dst 192.0.2.66",
        "bridge fdb del 00:00:00:00:00:00 dev isth0 dst 192.0.2.12",
        "ip address del 203.0.113.10/32 dev lo",
        "nft delete table inet isthmus_main",
        "nft flush chain inet isthmus_main prerouting",
        "nft flush map inet isthmus_main slots4_3",
        "nft flush map inet isthmus_main services4",
        "nft flush map inet isthmus_main weights4",
        "nft delete element inet isthmus_main vips4 { 203.0.113.10 }",
        "nft add element inet isthmus_main allowed4 { 47001 . 192.0.2.250 }",
        "nft add element inet isthmus_main sources4 { 203.0.113.99 . tcp . 99 : 192.0.2.1 }",
    ],
)
async def test_damage_is_noticed_and_mended(driver: LinuxDriver, command: str) -> None:
    """Whatever is broken by hand: drift tells, the observation differs, and applying brings all of it back."""
    servers = [
        VirtualServer(ip_address("203.0.113.10"), "tcp", port, (Member(ip_address("10.244.11.9"), 80),))
        for port in range(2000, 2040)
    ]
    assert 3 in {shard_of(service_key(s.address, s.protocol, s.port)) for s in servers}
    desired = {**everything("up0"), **by_identity(*servers)}
    await settle(driver, desired)
    assert await drifts(driver, lambda: run(*command.split()))
    adapted = driver.adapt(desired).resources
    assert dict((await driver.observe()).resources) != dict(adapted)
    for _ in range(3):
        await converge(driver, desired)
        if "route replace" in command:
            # Somebody's route took the place of ours: that is a conflict, and it is theirs to solve.
            run("ip", "route", "del", "10.244.12.0/24", "proto", "static")
            command = ""
    assert dict((await driver.observe()).resources) == dict(adapted)


async def test_a_flood_of_foreign_routes_is_no_drift(driver: LinuxDriver) -> None:
    """Thousands of routes of a routing daemon do not make us look again, and neither do other nft tables."""
    await settle(driver, everything("up0"))
    routes = "".join(f"route add 10.{n >> 8}.{n & 255}.0/24 via 192.0.2.9 proto bird\n" for n in range(3000))

    def flood() -> None:
        run("ip", "-batch", "-", stdin=routes)
        run("nft", "-f", "-", stdin="add table inet foreign\nadd set inet foreign s { type ipv4_addr; }\n")

    assert not await drifts(driver, flood, within=1)


async def test_a_contested_place_that_is_freed_is_drift(driver: LinuxDriver) -> None:
    """When the foreign thing that stood in our way goes, we hear of it."""
    run("ip", "route", "add", "10.99.0.0/16", "via", "192.0.2.200", "proto", "static")
    await driver.observe()
    wanted = Route(ip_network("10.99.0.0/16"), ip_address("192.0.2.11"), "up0")
    driver.adapt(by_identity(wanted))
    assert await drifts(driver, lambda: run("ip", "route", "del", "10.99.0.0/16"))


async def test_new_interfaces_are_told(driver: LinuxDriver) -> None:
    """A new link or address changes the facts, so it counts as drift."""
    await driver.observe()
    assert await drifts(driver, lambda: run("ip", "address", "add", "192.0.2.77/24", "dev", "up0"))


async def test_two_installations_with_one_number_are_refused(driver: LinuxDriver) -> None:
    """Another name with our protocol number is refused at once, and the message names the other."""
    await settle(driver, by_identity(*services()))
    with pytest.raises(DeviceRefused, match="main"):
        await LinuxDriver("second", 200).open()


@pytest.mark.parametrize(("name", "number"), [("Main", 200), ("", 200), ("a b", 200), ("main", 2), ("main", 12)])
async def test_marks_that_cannot_be_are_refused(name: str, number: int) -> None:
    """A name that makes no table, or a number that others use, never opens."""
    with pytest.raises(DeviceRefused):
        await LinuxDriver(name, number).open()


async def test_a_host_without_nft_is_told_what_to_install(underlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package."""
    monkeypatch.setattr("shutil.which", lambda *_a, **_k: None)
    with pytest.raises(DeviceUnsupported, match="nftables"):
        await LinuxDriver().open()


async def test_a_closed_driver_says_so(underlay: str) -> None:
    """Observing before open is an error of the device, not a crash."""
    with pytest.raises(DeviceUnreachable):
        await LinuxDriver().observe()


async def test_forwarding_is_switched_on(driver: LinuxDriver) -> None:
    """Looking at a host changes nothing; preparing it to be written to makes it forward, also when somebody stopped it."""
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", name).write_text("0")
    await driver.observe()
    assert host.look() == host.Host(True, False, False)
    await driver.prepare()
    assert host.look() == host.Host(True, True, True)


async def test_a_strict_host_does_not_filter_our_tunnel(driver: LinuxDriver) -> None:
    """Where the host filters by reverse path, our tunnel is set to loose, which wins over strict."""
    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")
    await settle(driver, by_identity(TUNNEL))
    assert Path("/proc/sys/net/ipv4/conf/isth0/rp_filter").read_text().strip() == "2"


async def test_a_tunnel_is_made_as_it_should_be(driver: LinuxDriver) -> None:
    """Bound to its underlay, learning nothing, without a link-local address; over IPv6 it sends real UDP checksums."""
    v6 = Tunnel("isth6", 7006, 47006, ip_address("2001:db8::1"), "02:00:00:00:70:06", 1400, "up0")
    await settle(driver, by_identity(TUNNEL, v6))
    shown = run("ip", "-d", "link", "show", "isth0")
    for part in ("dev up0", "dstport 47001", "nolearning", "mtu 1450", "addrgenmode none", "alias isthmus:main"):
        assert part in shown
    assert "noudp6zerocsumtx udp6zerocsumrx" in run("ip", "-d", "link", "show", "isth6")
    assert "fe80" not in run("ip", "address", "show", "isth0")


async def test_foreign_links_are_left_alone(driver: LinuxDriver) -> None:
    """A link of the wanted name, and one with the wanted VNI and port, are told, refused and left as they are."""
    run("ip", "link", "add", "isth0", "type", "veth", "peer", "name", "isthx")
    run(
        *["ip", "link", "add", "flannel.1", "type", "vxlan", "id", "9", "dev", "up0", "dstport", "8472", "nolearning"]
    )
    foreign = (await driver.observe()).foreign
    assert "not ours" in foreign["tunnel isth0"]
    assert foreign["vxlan 9/8472 ipv4"] == "link flannel.1 vxlan (not ours)"
    assert "not ours" in await refusal(driver, TUNNEL)
    assert "flannel.1" in await refusal(driver, Tunnel("isth1", 9, 8472, TUNNEL.local, TUNNEL.mac, 1450, "up0"))
    assert "no link" in await refusal(driver, Tunnel("isth2", 10, 8473, TUNNEL.local, TUNNEL.mac, 1450, "eth9"))
    assert await refusal(driver, Tunnel("isth3", 11, 8474, TUNNEL.local, TUNNEL.mac, 1500, "up0"))
    await outcomes(driver, [Change("delete", TUNNEL.identity, TUNNEL, None)])
    assert "veth" in run("ip", "-d", "link", "show", "isth0")
    assert "isth3" not in run("ip", "link", "show")
    refused = await refusal(driver, FdbEntry("flannel.1", "02:00:00:00:00:09", ip_address("192.0.2.9")))
    assert "not a tunnel of ours" in refused


async def test_foreign_neighbors_and_addresses_are_left_alone(driver: LinuxDriver) -> None:
    """A permanent neighbor and an address of somebody else stay; a merely learnt neighbor makes room."""
    run(*["ip", "neighbor", "add", "192.0.2.60", "lladdr", "02:00:00:00:60:60", "dev", "up0", "nud", "permanent"])
    run(*["ip", "neighbor", "add", "192.0.2.61", "lladdr", "02:00:00:00:61:61", "dev", "up0", "nud", "stale"])
    run(*["ip", "address", "add", "203.0.113.9/32", "dev", "lo"])
    foreign = (await driver.observe()).foreign
    assert "02:00:00:00:60:60" in foreign["neighbor up0 192.0.2.60"]
    assert "203.0.113.9/32 dev lo" in foreign["vip 203.0.113.9"]
    kept = Neighbor("up0", ip_address("192.0.2.60"), "02:00:00:00:00:01")
    assert "not ours" in await refusal(driver, kept)
    await outcomes(driver, [Change("delete", kept.identity, kept, None)])
    assert "02:00:00:00:60:60" in run("ip", "neighbor", "show", "192.0.2.60", "dev", "up0")
    vip = VirtualAddress(ip_address("203.0.113.9"), "up0")
    assert "not ours" in await refusal(driver, vip)
    await outcomes(driver, [Change("delete", vip.identity, vip, None)])
    assert "203.0.113.9/32" in run("ip", "address", "show", "lo")
    assert "203.0.113.9" not in run("nft", "list", "set", "inet", "isthmus_main", "vips4")
    ours = [
        Neighbor("up0", ip_address("192.0.2.61"), "02:00:00:00:00:02"),
        Neighbor("up0", ip_address("192.0.2.62"), "02:00:00:00:00:03"),
    ]
    await settle(driver, by_identity(*ours))
    await settle(driver, {})


async def test_a_route_that_cannot_be_is_refused_in_the_kernels_words(driver: LinuxDriver) -> None:
    """A next hop that is not there is refused with what the kernel says of it."""
    reason = await refusal(driver, Route(ip_network("10.9.0.0/16"), ip_address("198.51.100.1"), "up0"))
    assert "invalid gateway" in reason
    assert "no link" in await refusal(driver, Route(ip_network("10.9.0.0/16"), ip_address("192.0.2.9"), "eth9"))


async def test_a_crash_between_two_next_hops_heals(driver: LinuxDriver) -> None:
    """Old and new route side by side, as a crash would leave them, are seen and brought to the one wanted."""
    for family, prefix, old, new in (
        ("-4", "10.7.0.0/16", "192.0.2.7", "192.0.2.8"),
        ("-6", "2001:db8:7::/64", "2001:db8::7", "2001:db8::8"),
    ):
        run("ip", family, "route", "add", prefix, "via", old, "dev", "up0", "proto", "200")
        run("ip", family, "route", "append", prefix, "via", new, "dev", "up0", "proto", "200")
        wanted = Route(ip_network(prefix), ip_address(new), "up0")
        observed = (await driver.observe()).resources
        assert observed[wanted.identity] != wanted
        await settle(driver, {**observed, wanted.identity: wanted})
        assert len(run("ip", family, "route", "show", prefix, "proto", "200").splitlines()) == 1
        await settle(driver, {k: v for k, v in (await driver.observe()).resources.items() if k != wanted.identity})


async def test_a_next_hop_moves_without_a_gap(driver: LinuxDriver) -> None:
    """While a next hop changes there is a route at every moment: the monitor sees the new one before the old goes."""
    route = Route(ip_network("10.7.0.0/16"), ip_address("192.0.2.7"), "up0")
    await settle(driver, by_identity(route))
    watching = await asyncio.create_subprocess_exec(
        "ip", "-o", "monitor", "route", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert watching.stdout is not None
    try:
        lines: list[str] = []
        async with asyncio.timeout(5):
            while not any("10.66.0.0" in line for line in lines):  # wait until it listens
                run("ip", "route", "replace", "10.66.0.0/16", "via", "192.0.2.9")
                run("ip", "route", "del", "10.66.0.0/16")
                lines.append((await watching.stdout.readline()).decode())
            await settle(driver, by_identity(Route(route.prefix, ip_address("192.0.2.8"), "up0")))
            seen: list[str] = []
            while len(seen) < 2:
                line = (await watching.stdout.readline()).decode()
                if "10.7.0.0/16" in line:
                    seen.append(line)
        assert "192.0.2.8" in seen[0]
        assert seen[0].startswith("10.7.0.0/16")
        assert seen[1].startswith("Deleted")
        assert "192.0.2.7" in seen[1]
    finally:
        watching.terminate()
        await watching.communicate()


async def test_a_bad_element_hurts_its_own_service_only(driver: LinuxDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many services in one transaction the one that the kernel declines is refused alone."""
    bad = service_key(ip_address("203.0.113.10"), "tcp", 83)
    real = Nfnetlink.commit
    commits = 0

    def commit(self: Nfnetlink, messages: Sequence[Message]) -> None:
        nonlocal commits
        commits += 1
        if any(bad in message.payload for message in messages):
            raise Failed(Reply(13, "declined on demand"))
        real(self, messages)

    monkeypatch.setattr(Nfnetlink, "commit", commit)
    wanted = [
        VirtualServer(ip_address("203.0.113.10"), "tcp", port, (Member(ip_address("10.244.11.9"), 80),))
        for port in range(80, 112)
    ]
    results = await outcomes(driver, changes_between({}, by_identity(*wanted)))
    refused = [outcome for outcome in results if outcome.result != "done"]
    assert [(o.change.identity, o.reason) for o in refused] == [
        ("virtual-server 203.0.113.10:83/tcp", "declined on demand (EACCES)")
    ]
    assert commits <= 12
    assert len((await driver.observe()).resources) == 31


async def test_a_lost_answer_leaves_the_rest_unknown(driver: LinuxDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel's socket fails, what was not answered is unknown, and the next pass finds out."""
    desired = everything("up0")
    real: Any = driver._opened().kernel.routes

    async def broken(**_: object) -> list[object]:
        raise DeviceUnreachable("the socket is gone")

    await settle(driver, by_identity(*overlay("up0")[:7]))
    moved = Route(ip_network("10.244.11.0/24"), ip_address("198.18.0.12"), "isth0", onlink=True)
    monkeypatch.setattr(driver._opened().kernel, "routes", broken)
    results = await outcomes(
        driver, [Change("update", moved.identity, moved, moved), *(create(service) for service in services())]
    )
    assert {outcome.result for outcome in results} == {"unknown"}
    monkeypatch.setattr(driver._opened().kernel, "routes", real)
    await settle(driver, desired)


async def test_a_source_on_a_link_of_the_hosts_is_a_source(driver: LinuxDriver) -> None:
    """An address of ours with a subnet reads back as a source address wherever it stands."""
    await settle(driver, by_identity(SourceAddress(ip_interface("198.51.100.1/28"), "up0")))


async def test_the_announce_list_restricts_links(underlay: str) -> None:
    """A gateway told to answer on one link declines VIPs on another, but not on ``lo``."""
    gateway = LinuxDriver(announce=("up0",))
    vips = [VirtualAddress(ip_address(f"203.0.113.{n}"), link) for n, link in enumerate(("up0", "lo", "eth9"))]
    adapted = gateway.adapt(by_identity(*vips))
    assert set(adapted.resources) == {"vip 203.0.113.0", "vip 203.0.113.1"}
    assert "up0" in adapted.refused["vip 203.0.113.2"]


async def test_probes_without_the_capability_say_so(driver: LinuxDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node agent may have NET_ADMIN alone: it opens, and its probes tell what they lack."""

    def forbidden(_version: int, _token: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("isthmus.drivers.linux.probe.raw_socket", forbidden)
    [answer] = await driver.probe([ProbeTarget(ip_address("192.0.2.9"))])
    assert "NET_RAW" in answer.why


async def test_a_process_without_the_capability_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NET_ADMIN opening fails with its name."""
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_a, **_k: "CapEff:\t0000000000000000\n")
    with pytest.raises(DeviceUnsupported, match="NET_ADMIN"):
        await LinuxDriver().open()


async def test_a_delete_that_names_no_mac_hurts_only_itself(driver: LinuxDriver) -> None:
    """What is to go comes as its caller spells it: nothing stands at what is no MAC, and the rest is carried out."""
    await settle(driver, {TUNNEL.identity: TUNNEL})
    entry = FdbEntry("isth0", "02:00:00:00:00:09", ip_address("192.0.2.9"))
    nonsense = FdbEntry("isth0", "no mac", ip_address("192.0.2.8"))
    found = await outcomes(driver, [Change("delete", nonsense.identity, nonsense, None), create(entry)])
    assert [one.result for one in found] == ["done", "done"]
