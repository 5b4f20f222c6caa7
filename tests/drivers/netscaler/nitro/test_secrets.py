"""Neither password nor session is seen anywhere but on the wire, whatever goes wrong."""

from __future__ import annotations

import contextlib
import logging
import traceback
from urllib.parse import unquote

import pytest
from structlog.testing import capture_logs

from drivers.netscaler.nitro.rig import PASSWORD, Hand, Rig, talking
from isthmus.errors import IsthmusError
from isthmus.metrics import exposition


async def _all_that_can_go_wrong(rig: Rig, hand: Hand, said: list[str]) -> set[str]:
    """Meet every sort of failure, note all texts of errors and results, and return the tokens that there were."""
    faults, tokens = rig.device.faults, set()

    @contextlib.asynccontextmanager
    async def noted():  # type: ignore[no-untyped-def]
        tokens.update(session.token for session in rig.device.sessions.live())
        try:
            yield
        except IsthmusError as error:
            said.append("".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))
        tokens.update(session.token for session in rig.device.sessions.live())

    for disturb in (
        lambda: faults.fail_next(5),
        lambda: faults.fail_next(2, status=500),
        lambda: faults.drop_replies(4),
        lambda: faults.delay(1.5),
        lambda: setattr(rig.given, "password", f"{PASSWORD}-wrong"),
        rig.device.sessions.kill_all,
        lambda: setattr(faults, "disk_full", True),
        lambda: rig.device.reboot(),
        lambda: setattr(rig.device, "release", f"BIG-IP {PASSWORD}"),
    ):
        disturb()
        for _ in range(2):
            async with noted():
                await rig.nitro.open()
            async with noted():
                await rig.nitro.get("lbvserver", PASSWORD)
            async with noted():
                # A device repeats names that it refuses; here it repeats our own password.
                said.append(repr(await rig.nitro.add("lbvserver", [{"name": "a", "servicetype": PASSWORD}] * 2)))
            async with noted():
                await rig.nitro.save()
            async with noted():
                await rig.nitro.close()
            hand.now += 1000
        faults.clear()
        rig.given.password = PASSWORD
    return tokens


async def test_planted_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """0 hits in logs at DEBUG, errors with their causes, results, counters and metrics."""
    hand = Hand()

    async def sleep(seconds: float) -> None:
        hand.now += seconds

    said: list[str] = []
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        async with talking(clock=hand, sleep=sleep, opened=False, timeout="1s") as rig:
            tokens = await _all_that_can_go_wrong(rig, hand, said)
            said += [repr(rig.nitro), repr(rig.nitro.requests), rig.nitro.save_trouble]
    assert len(tokens) > 3
    assert len(said) > 15
    # What we sent as a row comes back as that row; everything else is searched.
    everything = "\n".join([*said, caplog.text, repr(logs), exposition().decode()])
    everything = everything.replace(repr({"name": "a", "servicetype": PASSWORD}), "")
    assert PASSWORD not in everything
    for token in tokens:
        assert token not in everything
        assert token not in unquote(everything)
