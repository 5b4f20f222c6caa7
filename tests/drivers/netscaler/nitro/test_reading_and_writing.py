"""Rows read and rows written: each row has its own end, in the order in which it was given."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.netscaler.nitro.rig import appliance, talking
from isthmus.drivers.netscaler.nitro import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.bulk import MOST_ITEMS
from isthmus.errors import DeviceUnreachable
from isthmus.lab.nitro import Appliance, Refusal
from isthmus.lab.nitro.answers import Answer
from isthmus.lab.nitro.queries import Request


async def test_a_device_is_met_in_four_requests() -> None:
    """Opening logs in once, finds the role, reads release and features, and writes nothing."""
    async with talking() as rig:
        assert rig.nitro.release == (14, 1, 29)
        assert "SSL" in rig.nitro.features
        assert rig.nitro.requests == {"POST login": 1, "GET hanode": 1, "GET nsversion": 1, "GET nsfeature": 1}
        assert rig.device.faults.writes == 0
    assert rig.sessions == 0


async def test_rows_come_and_go() -> None:
    """What is added is read, changed and removed; what is not there is an empty list, not an error."""
    async with talking() as rig:
        nitro = rig.nitro
        assert await nitro.get("vxlan") == []
        [made] = await nitro.add("vxlan", [{"id": 200, "port": 8472}])
        assert made.done
        [row] = await nitro.get("vxlan", "200")
        assert (row["id"], row["port"]) == ("200", 8472)
        assert [one.done for one in await nitro.update("vxlan", [{"id": 200, "port": 4789}])] == [True]
        assert await nitro.get("vxlan", "201") == []
        assert await nitro.get("vxlan", filter={"id": "200"}, attrs=["id"]) == [{"id": "200"}]
        assert await nitro.get("vxlan", filter={"id": "2.0"}) == []
        assert [one.done for one in await nitro.remove("vxlan", [row])] == [True]
        assert await nitro.get("vxlan") == []


async def test_one_bad_row_hurts_itself_only() -> None:
    """A bulk request goes on after an error, and each row has the answer that is its own."""
    async with talking() as rig:
        rows = [{"id": 1}, {"id": 2}, {"id": 2}, {"id": 3}]
        results = await rig.nitro.add("vxlan", rows)
        assert [one.row for one in results] == rows
        assert [one.done for one in results] == [True, True, False, True]
        error = results[2].error
        assert error is not None
        assert (error.code, error.meaning, error.http) == (273, Meaning.EXISTS, 207)
        assert error.message == "Resource already exists [id, 2]"
        assert str(error) == "adc1: POST vxlan: 273 Resource already exists [id, 2]"
        assert rig.asked("add", "vxlan") == 1


async def test_a_single_row_is_no_array() -> None:
    """One row gives its error with the status of its own."""
    async with talking() as rig:
        await rig.nitro.add("vxlan", [{"id": 2}])
        [result] = await rig.nitro.add("vxlan", [{"id": 2}])
        assert result.error is not None
        assert (result.error.http, result.error.severity) == (409, "ERROR")


async def test_many_rows_are_split() -> None:
    """No request has more items than the limit, and the order of the results is that of the rows."""
    async with talking() as rig:
        rows = [{"id": number} for number in range(1, 2 * MOST_ITEMS + 2)]
        results = await rig.nitro.add("vxlan", rows)
        assert [one.row for one in results] == rows
        assert all(one.done for one in results)
        assert rig.asked("add", "vxlan") == 3
        assert len(await rig.nitro.get("vxlan")) == len(rows)
        gone = await rig.nitro.remove("vxlan", rows)
        assert all(one.done for one in gone)
        assert [one.row for one in gone] == rows
        assert await rig.nitro.get("vxlan") == []
        assert (rig.asked("remove", "vxlan"), rig.asked("delete", "vxlan")) == (3, 0)


async def test_bindings_are_read_whole() -> None:
    """Bindings of all objects come in one request, those of one by its name."""
    async with talking() as rig:
        nitro = rig.nitro
        await nitro.add("nsip", [{"ipaddress": "192.0.2.50", "netmask": "255.255.255.0", "type": "SNIP"}])
        await nitro.add("vxlan", [{"id": 200}, {"id": 201}])
        assert [one.done for one in await nitro.bind("vxlan_srcip_binding", [{"id": 200, "srcip": "192.0.2.50"}])]
        assert [row["srcip"] for row in await nitro.get("vxlan_srcip_binding")] == ["192.0.2.50"]
        assert [row["srcip"] for row in await nitro.get("vxlan_srcip_binding", "200")] == ["192.0.2.50"]
        assert await nitro.get("vxlan_srcip_binding", "201") == []
        assert [one.done for one in await nitro.remove("vxlan_srcip_binding", [{"id": 200, "srcip": "192.0.2.50"}])]


async def test_an_old_release_removes_one_by_one() -> None:
    """A device without the bulk form of removal is asked once, then with one DELETE per row, and each has its result."""
    device = appliance()
    async with talking(device) as rig:
        await rig.nitro.add("vxlan", [{"id": 1}, {"id": 2}])
        for item in range(3):
            device.faults.refuse_item(item, code=1240)
        results = await rig.nitro.remove("vxlan", [{"id": 1}, {"id": 2}, {"id": 3}])
        assert [one.done for one in results] == [True, True, False]
        assert results[2].error is not None
        assert results[2].error.meaning is Meaning.MISSING
        assert rig.asked("delete", "vxlan") == 3
        await rig.nitro.add("vxlan", [{"id": 1}, {"id": 2}])
        await rig.nitro.remove("vxlan", [{"id": 1}, {"id": 2}])
        assert (rig.asked("remove", "vxlan"), rig.asked("delete", "vxlan")) == (1, 5)


async def test_a_release_that_refuses_the_form_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not know the action at all says so once for all rows; they are removed one by one."""

    def perform(self: Appliance, method: str, asked: Request, *args: Any, **more: Any) -> Answer:
        if asked.action == "remove":
            raise Refusal(1097, "action")
        return known(self, method, asked, *args, **more)

    known = Appliance.perform
    monkeypatch.setattr(Appliance, "perform", perform)
    async with talking() as rig:
        await rig.nitro.add("vxlan", [{"id": 1}, {"id": 2}])
        assert [one.done for one in await rig.nitro.remove("vxlan", [{"id": 1}, {"id": 2}])] == [True, True]
        assert (rig.asked("remove", "vxlan"), rig.asked("delete", "vxlan")) == (1, 2)


async def test_what_cannot_be_told_is_not_removed() -> None:
    """A row without what identifies it is refused before anything is sent: half a key could be somebody else's object."""
    async with talking() as rig:
        with pytest.raises(ValueError, match="without its network"):
            await rig.nitro.remove(
                "route", [{"network": "10.0.0.0", "netmask": "255.0.0.0"}, {"netmask": "255.0.0.0"}]
            )
        with pytest.raises(ValueError, match="nobody has said"):
            await rig.nitro.remove("systemuser", [{"username": "nsroot"}])
        assert rig.device.faults.writes == 0


async def test_warnings_are_kept() -> None:
    """A row that was taken with a remark (209) is done, and the remark is not lost."""
    async with talking() as rig:
        row = {"name": "isth_main_a", "servicetype": "TCP", "ipv46": "198.51.100.1", "port": 80}
        [result] = await rig.nitro.add("lbvserver", [row])
        assert result.done
        assert "1067" in result.warning
        assert "Feature" in result.warning


async def test_a_lost_answer_of_a_write_is_unknown() -> None:
    """The rows of a request whose answer was lost may stand: that is said, and nothing is sent twice."""
    async with talking() as rig:
        rig.device.faults.drop_replies(verb="add", resource="vxlan")
        results = await rig.nitro.add("vxlan", [{"id": 1}, {"id": 2}])
        assert [(one.unknown, one.error) for one in results] == [(True, None), (True, None)]
        assert "POST vxlan" in results[0].why
        assert rig.asked("add", "vxlan") == 1
        assert len(await rig.nitro.get("vxlan")) == 2


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_no_write_is_repeated_behind_our_back(method: str) -> None:
    """HTTP clients like to repeat a PUT or DELETE on a connection that was just closed; ours must not."""
    async with talking() as rig:
        await rig.nitro.add("vxlan", [{"id": 1}])
        verb = "update" if method == "PUT" else "delete"
        rig.device.faults.drop_replies(verb=verb, resource="vxlan")
        if method == "PUT":
            [result] = await rig.nitro.update("vxlan", [{"id": 1, "port": 4789}])
        else:
            [result] = await rig.nitro.remove("vxlan", [{"id": 1}])
        assert result.unknown
        assert rig.asked(verb, "vxlan") == 1


async def test_a_read_is_tried_twice() -> None:
    """One lost answer of a read costs a second question; two are the device's failure."""
    async with talking() as rig:
        rig.device.faults.drop_replies(verb="get", resource="vxlan")
        assert await rig.nitro.get("vxlan") == []
        assert rig.asked("get", "vxlan") == 2
        rig.device.faults.drop_replies(2, verb="get", resource="vxlan")
        with pytest.raises(DeviceUnreachable, match="GET vxlan"):
            await rig.nitro.get("vxlan")
        assert rig.asked("get", "vxlan") == 4


async def test_a_503_to_a_write_is_unknown() -> None:
    """Whether a web server that says 503 has passed the request on before, nobody knows."""
    async with talking() as rig:
        rig.device.faults.fail_next(verb="add", resource="vxlan")
        [result] = await rig.nitro.add("vxlan", [{"id": 1}])
        assert result.unknown
        assert "503" in result.why
        assert rig.asked("add", "vxlan") == 1


async def test_busy_is_no_refusal_of_the_row() -> None:
    """An operation in progress passes: the row is looked at again, it is not given up."""
    async with talking() as rig:
        rig.device.faults.refuse_item(0, code=293)
        results = await rig.nitro.add("vxlan", [{"id": 1}, {"id": 2}])
        assert [one.unknown for one in results] == [True, False]


async def test_a_read_that_is_refused_says_so() -> None:
    """An error of a read that does not mean "none" is raised with code, message and severity."""
    async with talking() as rig:
        with pytest.raises(NitroError) as refused:
            await rig.nitro.get("nosuchkind")
        assert refused.value.severity == "ERROR"
        assert refused.value.code
