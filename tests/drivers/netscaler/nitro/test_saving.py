"""The configuration is saved once it is calm, not too late if it never is, and again if it could not be."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from drivers.netscaler.nitro.rig import Hand, Rig, talking
from isthmus.drivers.netscaler.nitro import Meaning, NitroError


async def until(rig: Rig, saves: int) -> None:
    """Wait until the device has been asked to save so often."""
    async with asyncio.timeout(5):
        while rig.asked("save", "nsconfig") < saves:
            await asyncio.sleep(0.01)


async def change(rig: Rig, number: int) -> None:
    [made] = await rig.nitro.add("vxlan", [{"id": number}])
    assert made.done


async def test_one_save_for_many_changes() -> None:
    """Ten changes in ten seconds are saved once, five seconds after the last; then the device is left alone."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep) as rig:
        for number in range(1, 11):
            await change(rig, number)
            await hand.move(1)
        await hand.move(3.9)
        assert rig.asked("save", "nsconfig") == 0
        assert rig.device.config.changed
        await hand.move(0.2)
        await until(rig, 1)
        assert not rig.device.config.changed
        await hand.move(600)
        assert rig.asked("save", "nsconfig") == 1
        rig.device.reboot()
        assert len(await rig.nitro.get("vxlan")) == 10
    assert rig.asked("save", "nsconfig") == 1


async def test_changes_that_never_end() -> None:
    """A device that changes every second is saved after ten times the calm that is waited for."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep) as rig:
        saved_at = []
        for second in range(1, 61):
            await change(rig, second)
            await hand.move(1)
            if rig.asked("save", "nsconfig") > len(saved_at):
                saved_at.append(second)
        assert saved_at == [50]


async def test_what_is_left_is_saved_at_the_end() -> None:
    """Who closes before it was calm saves then; who has changed nothing saves nothing."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep) as rig:
        await change(rig, 1)
        await rig.nitro.close()
        assert rig.asked("save", "nsconfig") == 1
        assert not rig.device.config.changed
        await rig.nitro.open()
        await rig.nitro.get("vxlan")
    assert rig.asked("save", "nsconfig") == 1


async def test_the_last_answer_was_lost() -> None:
    """What was changed by a request whose answer was lost is saved at the end, too: nobody comes after us to do it."""
    async with talking(saveAfter="1m") as rig:
        rig.device.faults.drop_replies(verb="add", resource="vxlan")
        [result] = await rig.nitro.add("vxlan", [{"id": 1}])
        assert result.unknown
    assert not rig.device.config.changed
    assert rig.sessions == 0


async def test_a_device_that_is_gone_at_the_end() -> None:
    """A device that does not answer any more does not hold up who closes it."""
    async with talking(saveAfter="1m") as rig:
        await change(rig, 1)
        rig.device.reboot(60)
        async with asyncio.timeout(6):
            await rig.nitro.close()


async def test_somebody_else_saves() -> None:
    """293: a save in progress is waited out, a second and then two, and nothing is said about it."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep, saveAfter="0s") as rig:
        rig.device.config.saving = True
        with capture_logs() as logs:
            await change(rig, 1)
            await until(rig, 1)
            await hand.move(1.1)
            await until(rig, 2)
            rig.device.config.saving = False
            await hand.move(2.1)
            await until(rig, 3)
        await hand.move(0.1)
        assert not rig.device.config.changed
        assert not [one for one in logs if one["log_level"] == "warning"]
        await hand.move(600)
        assert rig.asked("save", "nsconfig") == 3


async def test_a_full_disk() -> None:
    """1461: said once, shown as long as it lasts, tried again seldom, and taken back when it is over."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep) as rig:
        rig.device.faults.disk_full = True
        with capture_logs() as logs:
            await change(rig, 1)
            await hand.move(5.1)
            await until(rig, 1)
            for _ in range(60):
                await hand.move(60)
            tried = rig.asked("save", "nsconfig")
            assert 5 <= tried <= 12
            assert "no space left on device" in rig.nitro.save_trouble
            rig.device.faults.disk_full = False
            await hand.move(601)
            await until(rig, tried + 1)
            await hand.move(0.1)
        assert rig.nitro.save_trouble == ""
        assert [one["event"] for one in logs] == ["configuration not saved", "configuration saved again"]


async def test_a_save_by_order() -> None:
    """``save`` saves now, and raises what keeps it from that."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep) as rig:
        await change(rig, 1)
        await rig.nitro.save()
        assert not rig.device.config.changed
        await hand.move(60)
        assert rig.asked("save", "nsconfig") == 1
        rig.device.config.saving = True
        with pytest.raises(NitroError) as busy:
            await rig.nitro.save()
        assert busy.value.meaning is Meaning.BUSY
        rig.device.config.saving = False


async def test_a_change_while_a_save_is_under_way() -> None:
    """What changes while the device saves is saved by the next one."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep) as rig:
        rig.device.faults.save_takes = 0.2
        await change(rig, 1)
        await hand.move(5.1)
        await until(rig, 1)
        await change(rig, 2)
        rig.nitro.changed()
        await asyncio.sleep(0.3)
        await hand.move(5.1)
        await until(rig, 2)
        await asyncio.sleep(0.3)
        assert not rig.device.config.changed


async def test_a_device_that_went_away() -> None:
    """Nobody answers: it is saved when somebody does, without a second change."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep) as rig:
        await change(rig, 1)
        rig.device.faults.fail_next(3, verb="save", resource="nsconfig", status=500)
        await hand.move(5.1)
        for _ in range(8):
            await hand.move(120)
        assert not rig.device.config.changed


async def test_a_killed_session_is_no_change() -> None:
    """Ending another writer's session changes no configuration: there is nothing to save."""
    hand = Hand()
    async with talking(clock=hand, sleep=hand.sleep) as rig:
        other = rig.device.sessions.login("nsroot", "nsroot", None)
        [killed] = await rig.nitro.act("systemsession", "kill", [{"sid": other.sid}])
        assert killed.done
        await hand.move(600)
        assert rig.asked("save", "nsconfig") == 0
