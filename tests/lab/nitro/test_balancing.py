"""Virtual servers, groups, members, servers and monitors."""

from __future__ import annotations

from typing import Any

import pytest

from lab.nitro.talking import DONE, Nitro

MEMBER = "servicegroup_servicegroupmember_binding"
LIST = "servicegroup_servicegroupmemberlist_binding"
BOUND = "lbvserver_servicegroup_binding"


@pytest.fixture
async def group(nitro: Nitro) -> Nitro:
    await nitro.made("servicegroup", servicegroupname="sg", servicetype="TCP")
    return nitro


async def members(nitro: Nitro) -> list[tuple[str, int, str]]:
    return [(row["ip"], row["port"], row["weight"]) for row in await nitro.get(f"{MEMBER}/sg")]


async def test_a_member_makes_its_server(group: Nitro) -> None:
    """A member by address makes a server of that name; both are read back; the last member takes it along."""
    for port in (80, 81):
        reply = await group.call("PUT", MEMBER, {MEMBER: {"servicegroupname": "sg", "ip": "10.1.1.1", "port": port}})
        assert (reply.line, reply.text) == ("201 Created", DONE)
    [first, _] = await group.get(f"{MEMBER}/sg")
    assert (first["ip"], first["servername"], first["port"], first["weight"]) == ("10.1.1.1", "10.1.1.1", 80, "1")
    assert [row["name"] for row in await group.get("server")] == ["10.1.1.1"]
    assert (await group.call("DELETE", "server/10.1.1.1")).code == 315
    assert (await group.call("DELETE", f"{MEMBER}/sg?args=ip:10.1.1.1,servername:10.1.1.1,port:80")).code == 1092
    assert (await group.call("DELETE", f"{MEMBER}/sg?args=ip:10.1.1.1")).code == 1095
    assert (await group.call("DELETE", f"{MEMBER}/sg?args=port:80,ip:10.1.1.1")).line == "200 OK"
    assert (await group.call("DELETE", f"{MEMBER}/sg?args=servername:10.1.1.1,port:81")).line == "200 OK"
    assert await group.get("server") == []


async def test_a_named_server_stays(group: Nitro) -> None:
    """A member by address of a server that somebody has named takes that one, and leaves it when it goes."""
    await group.made("server", name="web-1", ipaddress="10.1.1.1")
    assert (await group.add("server", name="web-2", ipaddress="10.1.1.1")).code == 1335
    await group.made(MEMBER, servicegroupname="sg", ip="10.1.1.1", port=80)
    assert (await group.get(f"{MEMBER}/sg"))[0]["servername"] == "web-1"
    rename = {"server": {"name": "web-1", "newname": "web-9"}}
    assert (await group.call("POST", "server?action=rename", rename)).line == "200 OK"
    assert (await group.get(f"{MEMBER}/sg"))[0]["servername"] == "web-9"
    assert (await group.call("DELETE", "servicegroup/sg")).line == "200 OK"
    assert [row["name"] for row in await group.get("server")] == ["web-9"]


async def test_the_desired_members(nitro: Nitro) -> None:
    """The list replaces the set, tells which it could not take, and wants a group whose members an API scales."""
    await nitro.made("servicegroup", servicegroupname="sg", servicetype="TCP", autoscale="API")
    await nitro.made(MEMBER, servicegroupname="sg", ip="10.1.1.1", port=80)
    await nitro.made(MEMBER, servicegroupname="sg", ip="10.1.1.2", port=80)

    async def put(*wanted: dict[str, Any]) -> Any:
        return await nitro.call("PUT", LIST, {LIST: {"servicegroupname": "sg", "members": list(wanted)}})

    reply = await put({"ip": "10.1.1.2", "port": 80}, {"ip": "10.1.1.3", "port": 80, "weight": 5})
    assert (reply.line, reply.text) == ("201 Created", DONE)
    assert await members(nitro) == [("10.1.1.2", 80, "1"), ("10.1.1.3", 80, "5")]
    assert [row["name"] for row in await nitro.get("server")] == ["10.1.1.2", "10.1.1.3"]
    reply = await put({"ip": "10.1.1.2", "port": 80}, {"ip": "10.1.1", "port": 80})
    [failed] = reply.json[LIST][0]["failedmembers"]
    assert (failed["ip"], failed["errorcode"]) == ("10.1.1", 1110)
    assert await members(nitro) == [("10.1.1.2", 80, "1")]
    assert (await nitro.call("DELETE", f"{LIST}/sg")).line == "200 OK"
    assert await nitro.get("server") == []


async def test_the_desired_members_of_an_ordinary_group(group: Nitro) -> None:
    """257, and nothing changes."""
    await group.made(MEMBER, servicegroupname="sg", ip="10.1.1.1", port=80)
    assert (await group.call("PUT", LIST, {LIST: {"servicegroupname": "sg", "members": []}})).code == 257
    assert await members(group) == [("10.1.1.1", 80, "1")]


async def test_a_virtual_server_brings_its_address(group: Nitro) -> None:
    """The VIP comes with the first virtual server on it, counts them, and goes with the last."""
    for port in (80, 443):
        await group.made("lbvserver", name=f"v{port}", servicetype="TCP", ipv46="203.0.113.1", port=port)
    [vip] = await group.get("nsip?args=type:VIP")
    assert (vip["ipaddress"], vip["netmask"], vip["vipvsercount"]) == ("203.0.113.1", "255.255.255.255", "2")
    assert (await group.add("lbvserver", name="w", servicetype="TCP", ipv46="203.0.113.1", port=80)).code == 273
    await group.made("lbvserver", name="u", servicetype="UDP", ipv46="203.0.113.1", port=80)
    for name in ("v80", "v443", "u"):
        assert (await group.call("DELETE", f"lbvserver/{name}")).line == "200 OK"
    assert await group.get("nsip?args=type:VIP") == []


async def test_groups_of_a_virtual_server(group: Nitro) -> None:
    """A binding is made by POST as by PUT, is read back from both sides, and goes with the group."""
    await group.made("lbvserver", name="v", servicetype="TCP", ipv46="203.0.113.1", port=80)
    await group.made(BOUND, name="v", servicegroupname="sg")
    assert (await group.add(BOUND, name="w", servicegroupname="sg")).code == 258
    assert (await group.add(BOUND, name="v", servicegroupname="other")).code == 258
    assert [row["servicegroupname"] for row in await group.get(f"{BOUND}/v")] == ["sg"]
    [shown] = await group.get("lbvserver_binding/v")
    assert [row["servicegroupname"] for row in shown[BOUND]] == ["sg"]
    assert (await group.call("DELETE", "servicegroup/sg")).line == "200 OK"
    assert (await group.call("GET", f"{BOUND}/v")).text == DONE


async def test_monitors(group: Nitro) -> None:
    """A monitor is told by name and type, stays while it is bound, and shows 60 seconds as one minute."""
    await group.made("lbmonitor", monitorname="m", type="TCP", interval=60, resptimeout=3)
    await group.made("lbmonitor", monitorname="n", type="TCP", interval=10)
    shown = [(row["interval"], row["units3"]) for row in await group.get("lbmonitor")]
    assert shown == [(1, "MIN"), (10, "SEC")]
    await group.made("servicegroup_lbmonitor_binding", servicegroupname="sg", monitor_name="m")
    assert (await group.call("DELETE", "lbmonitor/m")).code == 1095
    assert (await group.call("DELETE", "lbmonitor/m?args=type:HTTP")).code == 258
    assert (await group.call("DELETE", "lbmonitor/m?args=type:TCP")).code == 315
    assert (await group.call("DELETE", "servicegroup_lbmonitor_binding/sg?args=monitor_name:m")).line == "200 OK"
    assert (await group.call("DELETE", "lbmonitor/m?args=type:TCP")).line == "200 OK"


async def test_disabling(group: Nitro) -> None:
    """A virtual server, a group and one member are switched off and on."""
    await group.made("lbvserver", name="v", servicetype="TCP", ipv46="203.0.113.1", port=80)
    await group.made(MEMBER, servicegroupname="sg", ip="10.1.1.1", port=80)
    await group.made(MEMBER, servicegroupname="sg", ip="10.1.1.2", port=80)
    one = {"servicegroup": {"servicegroupname": "sg", "servername": "10.1.1.1", "port": 80}}
    assert (await group.call("POST", "servicegroup?action=disable", one)).line == "200 OK"
    assert [row["state"] for row in await group.get(f"{MEMBER}/sg")] == ["DISABLED", "ENABLED"]
    assert (await group.call("POST", "lbvserver?action=disable", {"lbvserver": {"name": "v"}})).line == "200 OK"
    assert (await group.get("lbvserver/v"))[0]["curstate"] == "OUT OF SERVICE"
    assert (await group.call("POST", "lbvserver?action=enable", {"lbvserver": {"name": "v"}})).line == "200 OK"
    assert (await group.get("lbvserver/v"))[0]["curstate"] == "DOWN"


async def test_a_feature_that_is_off(nitro: Nitro) -> None:
    """It is done, and with ``warning=yes`` 209 and a header say that it does nothing; features are an object."""
    body = {"lbvserver": {"name": "v", "servicetype": "TCP"}}
    reply = await nitro.call("POST", "lbvserver?warning=yes", body)
    assert reply.line == "209 X-NITRO-WARNING"
    assert reply.headers["X-NITRO-WARNING"] == "1067 - Feature(s) not enabled [LB]"
    assert (reply.code, reply.json["severity"]) == (1067, "WARNING")
    assert len(await nitro.get("lbvserver/v")) == 1
    on = {"nsfeature": {"feature": ["LoadBalancing"]}}
    assert (await nitro.call("POST", "nsfeature?action=enable", on)).line == "200 OK"
    features = await nitro.get("nsfeature")
    assert features["lb"] is True
    assert "LB" in features["feature"]
    body["lbvserver"]["name"] = "w"
    assert (await nitro.call("POST", "lbvserver?warning=yes", body)).line == "201 Created"
    assert (await nitro.call("POST", "nsfeature?action=disable", {"nsfeature": {"feature": "LB"}})).line == "200 OK"
    assert (await nitro.get("nsfeature"))["lb"] is False
