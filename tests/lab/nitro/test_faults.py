"""What can go wrong: saving, starting anew, fail-over, lost answers, and the address to order it from."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from isthmus.errors import LabError
from isthmus.lab.nitro import Appliance, serving
from lab.nitro.conftest import Clock
from lab.nitro.talking import DONE, Json, Nitro

SAVE = ("POST", "nsconfig?action=save", {"nsconfig": {}})


async def ids(nitro: Nitro) -> list[str]:
    return [row["id"] for row in await nitro.get("vxlan")]


async def test_what_is_not_saved_is_lost(nitro: Nitro, device: Appliance, clock: Clock) -> None:
    """A start goes back to what was saved; until it is over the device does not answer; sessions are gone."""
    await nitro.made("vxlan", id=1)
    assert (await nitro.get("nsconfig"))["configchanged"] is True
    reply = await nitro.call(*SAVE)
    assert (reply.line, reply.text) == ("200 OK", DONE)
    assert (await nitro.get("nsconfig"))["configchanged"] is False
    await nitro.made("vxlan", id=2)
    device.reboot(30)
    with pytest.raises(aiohttp.ClientConnectionError):
        await nitro.call("GET", "vxlan")
    clock.now += 31
    assert await ids(nitro) == ["1"]
    device.faults.set(boot_takes=9)
    assert (await nitro.call("POST", "reboot", {"reboot": {"warm": True}})).line == "201 Created"
    assert not device.up
    clock.now += 10
    assert await ids(nitro) == ["1"]


async def test_saving_takes_its_time(nitro: Nitro, device: Appliance) -> None:
    """A second save meanwhile is 293; what is written meanwhile is saved or not, but the next save has it."""
    device.faults.save_takes = 0.2
    first = asyncio.create_task(nitro.call(*SAVE))
    await asyncio.sleep(0.05)
    reply = await nitro.call(*SAVE)
    assert reply.line == "599 Netscaler specific error"
    assert '"errorcode": 293' in reply.text
    assert (await first).line == "200 OK"
    assert (await nitro.call(*SAVE)).line == "200 OK"


async def test_no_room_to_save(nitro: Nitro, device: Appliance) -> None:
    """It says so, and the configuration stays unsaved."""
    await nitro.made("vxlan", id=1)
    device.faults.disk_full = True
    assert (await nitro.call(*SAVE)).code == 1461
    assert device.config.changed
    device.faults.disk_full = False
    assert (await nitro.call(*SAVE)).line == "200 OK"
    assert not device.config.changed


async def test_clearing(nitro: Nitro) -> None:
    """``nsconfig?action=clear`` leaves the NSIP."""
    await nitro.made("vxlan", id=1)
    await nitro.made("nsip", ipaddress="10.0.0.50", netmask="255.255.255.0")
    clear = {"nsconfig": {"force": True, "level": "full"}}
    assert (await nitro.call("POST", "nsconfig?action=clear", clear)).line == "200 OK"
    assert await ids(nitro) == []
    assert [row["type"] for row in await nitro.get("nsip")] == ["NSIP"]


async def test_a_pair(clock: Clock) -> None:
    """The secondary shows what the primary holds and takes no change, until it leads."""
    one, two = Appliance(address="192.0.2.10", clock=clock), Appliance(address="192.0.2.11", clock=clock)
    pair = Appliance.paired(one, two)
    async with serving(one) as at_one, serving(two) as at_two, aiohttp.ClientSession() as session:
        first, second = Nitro(session, at_one.url), Nitro(session, at_two.url)
        await first.made("vxlan", id=1)
        assert await ids(second) == ["1"]
        reply = await second.add("vxlan", id=2)
        assert (reply.line, reply.code) == ("599 Netscaler specific error", 368)
        two.faults.set(secondary_code=1028)
        assert (await second.call(*SAVE)).code == 1028
        nodes = [(row["id"], row["ipaddress"], row["state"]) for row in await second.get("hanode")]
        assert nodes == [("0", "192.0.2.11", "Secondary"), ("1", "192.0.2.10", "Primary")]
        pair.fail_over()
        assert (await first.add("vxlan", id=2)).code == 368
        await second.made("vxlan", id=2)
        force = {"hafailover": {"force": True}}
        assert (await first.call("POST", "hafailover?action=force", force)).line == "200 OK"
        await first.made("vxlan", id=3)
        one.reboot(5)
        assert [row["state"] for row in await second.get("hanode")] == ["Primary", "Secondary"]
        assert await ids(second) == ["1", "2", "3"]


async def test_requests_are_counted(nitro: Nitro, device: Appliance) -> None:
    """By verb and resource, with the items of bulk requests; reading is no write."""
    await nitro.made("vxlan", id=1)
    await nitro.call("POST", "vxlan", {"vxlan": [{"id": 2}, {"id": 3}]})
    await nitro.get("vxlan")
    await nitro.call("PUT", "vxlan", {"vxlan": {"id": 1, "port": 5}})
    await nitro.call("PUT", "vxlan_srcip_binding", {"vxlan_srcip_binding": {"id": 1, "srcip": "192.0.2.10"}})
    await nitro.call(*SAVE)
    await nitro.call("GET", "vxlan?args=id:")
    await nitro.call("POST", "vxlan", "{")
    assert device.faults.requests == {
        ("unread", "get"): 1,
        ("unread", "post"): 1,
        ("add", "vxlan"): 2,
        ("get", "vxlan"): 1,
        ("update", "vxlan"): 1,
        ("add", "vxlan_srcip_binding"): 1,
        ("save", "nsconfig"): 1,
    }
    assert device.faults.items[("add", "vxlan")] == 3
    assert device.faults.writes == 5


async def test_failures(nitro: Nitro, device: Appliance) -> None:
    """503 with Retry-After, as often as told, for what is told; nothing is done."""
    device.faults.fail_next(2, verb="add", retry_after=7)
    for _ in range(2):
        reply = await nitro.add("vxlan", id=1)
        assert (reply.line, reply.headers["Retry-After"]) == ("503 Service Unavailable", "7")
    assert await ids(nitro) == []
    await nitro.made("vxlan", id=1)
    device.faults.set(fail_every=2)
    assert sorted([(await nitro.call("GET", "vxlan")).status for _ in range(4)]) == [200, 200, 503, 503]


async def test_a_lost_answer(nitro: Nitro, device: Appliance) -> None:
    """It is done, and nobody is told."""
    device.faults.drop_replies(verb="add", resource="vxlan")
    with pytest.raises(aiohttp.ClientConnectionError):
        await nitro.add("vxlan", id=1)
    assert await ids(nitro) == ["1"]


async def test_slowness(nitro: Nitro, device: Appliance) -> None:
    """A delay for each request, and one for each item."""
    device.faults.delay(0.05, verb="add")
    device.faults.set(per_item=0.01)
    start = time.monotonic()
    await nitro.call("POST", "vxlan", {"vxlan": [{"id": number} for number in range(1, 6)]})
    assert time.monotonic() - start >= 0.1
    device.faults.clear()
    assert device.faults.latency("add", "vxlan", 5) == 0
    assert device.faults.writes == 1


async def test_orders_over_http(device: Appliance) -> None:
    """Another process counts, breaks and changes things with the device's password; nonsense is refused."""
    good = {"Authorization": aiohttp.encode_basic_auth("nsroot", "nsroot")}
    wrong = {"Authorization": aiohttp.encode_basic_auth("nsroot", "wrong")}
    async with serving(device, admin=0) as endpoint, aiohttp.ClientSession() as session:
        nitro = Nitro(session, endpoint.url)

        async def order(command: str, auth: Json | None = good, **arguments: Any) -> tuple[int, str]:
            url = f"{endpoint.admin_url}/{command}"
            async with session.post(url, json=arguments, headers=auth) as response:
                return response.status, await response.text()

        assert (await order("reboot", None))[0] == 401
        assert (await order("reboot", wrong))[0] == 401
        assert (await order("write", method="POST", path="vxlan", body={"vxlan": {"id": 9}}))[0] == 200
        assert await ids(nitro) == ["9"]
        assert (await order("write", method="POST", path="vxlan", body={"vxlan": {"id": 9}}))[0] == 400
        assert (await order("fail-next", count=1, retry_after=3))[0] == 200
        assert (await nitro.call("GET", "vxlan")).headers["Retry-After"] == "3"
        for command, arguments, said in (
            ("explode", {}, "known commands"),
            ("fail-over", {}, "this device has no peer"),
            ("set", {"nothing": 1}, "no such fault: nothing"),
            ("delay", {"wrong": 1}, "wrong"),
        ):
            status, text = await order(command, **arguments)
            assert status in (400, 404)
            assert said in text
        assert (await order("set", disk_full=True))[0] == 200
        assert (await nitro.call(*SAVE)).code == 1461
        await nitro.call("POST", "login", {"login": {"username": "nsroot", "password": "nsroot"}}, {})
        assert await order("kill-sessions") == (200, '{"result": 1}')
        async with session.get(f"{endpoint.admin_url}/", headers=good) as response:
            shown = await response.json()
        assert (shown["state"], shown["unsaved"], shown["sessions"]) == ("Primary", True, 0)
        assert shown["objects"] == {"nsip": 1, "vxlan": 1}
        assert {"verb": "get", "resource": "vxlan", "count": 2, "items": 2} in shown["requests"]
        assert (await order("reboot"))[0] == 200
        assert await ids(nitro) == []


async def test_tls(device: Appliance) -> None:
    """The certificate is good for the address when its authority is trusted, and for nobody else."""
    import ssl

    async with serving(device, tls=True) as endpoint:
        assert endpoint.ca_path is not None
        assert endpoint.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=endpoint.ca_path)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session:
            assert (await Nitro(session, endpoint.url).call("GET", "nsversion")).line == "200 OK"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await Nitro(session, endpoint.url).call("GET", "nsversion")
    assert not endpoint.ca_path.exists()


async def test_an_address_that_is_taken(device: Appliance) -> None:
    """It says which, and why."""
    async with serving(device) as endpoint:
        port = int(endpoint.url.rpartition(":")[2])
        with pytest.raises(LabError, match=f"cannot listen on 127.0.0.1 port {port}: .*in use"):
            async with serving(Appliance(), port=port):
                pass


async def test_many_objects_are_quick() -> None:
    """A thousand virtual servers with groups of ten members each are made in bulk in seconds, not minutes."""
    device = Appliance()
    start = time.monotonic()
    numbers = range(1000)
    groups = [{"servicegroupname": f"g{n}", "servicetype": "TCP"} for n in numbers]
    servers = [
        {"name": f"v{n}", "servicetype": "TCP", "ipv46": f"203.0.{n // 250}.{n % 250}", "port": 80} for n in numbers
    ]
    members = [
        {"servicegroupname": f"g{n}", "ip": f"10.{n // 250}.{n % 250}.{m}", "port": 80}
        for n in numbers
        for m in range(10)
    ]
    bound = [{"name": f"v{n}", "servicegroupname": f"g{n}"} for n in numbers]
    for kind, items in (
        ("servicegroup", groups),
        ("lbvserver", servers),
        ("servicegroup_servicegroupmember_binding", members),
        ("lbvserver_servicegroup_binding", bound),
    ):
        device.write("POST", kind, {kind: items})
    assert len(device.running.table("servicegroup_servicegroupmember_binding")) == 10_000
    assert time.monotonic() - start < 20
