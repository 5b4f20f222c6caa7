"""What an agent shows of itself to Prometheus and to those who ask whether it is well."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from isthmus.web.address import Address

from .rig import opened, running


async def test_figures_tell_the_epoch_and_who_listens(tmp_path: Path, unused_tcp_port: int) -> None:
    """With a controller there, both are shown; readiness says that nothing is missing."""
    at = f"http://127.0.0.1:{unused_tcp_port}"
    async with (
        running(tmp_path, metrics=Address("127.0.0.1", unused_tcp_port)) as rig,
        opened(await rig.client(epoch=lambda: 77)) as driver,
        aiohttp.ClientSession() as session,
    ):
        await driver.prepare()
        async with session.get(f"{at}/metrics") as answer:
            shown = await answer.text()
        assert "isthmus_gateway_epoch 77.0" in shown
        assert "isthmus_gateway_controllers 1.0" in shown
        async with session.get(f"{at}/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
