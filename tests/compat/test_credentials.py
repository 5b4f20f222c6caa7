"""NS_USER and NS_PASSWORD: read from the environment at each login, held nowhere else, shown nowhere."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from isthmus.app.device_credentials import EnvironmentCredentials, netscaler_credentials
from isthmus.drivers.netscaler.nitro import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.lab.nitro import Appliance, serving
from isthmus.model.kinds.netscaler import EnvironmentReference, NetScalerOptions

REFERENCE = EnvironmentReference(username="NS_USER", password="NS_PASSWORD")  # names, not values


async def test_the_variables_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session begins with what the variables say, and no log, argument or repr holds the password."""
    monkeypatch.setenv("NS_USER", "nsroot")
    monkeypatch.setenv("NS_PASSWORD", "nsroot")
    async with serving(Appliance()) as endpoint:
        options = NetScalerOptions.model_validate(
            {"urls": [endpoint.url], "plainHttp": True, "credentials": {"environment": {}}}
        )
        credentials = netscaler_credentials(options, None)
        with capture_logs() as logs:
            nitro = Nitro("adc1", options, credentials)
            await nitro.open()
            assert await nitro.get("nsversion")
            await nitro.close()
    assert "nsroot" not in repr((options, credentials)) + str(logs)


@pytest.mark.parametrize("missing", ["NS_USER", "NS_PASSWORD"])
async def test_a_variable_that_is_not_set_is_named(missing: str) -> None:
    """Which variable is missing is said, and never what the other one holds."""
    there = {"NS_USER": "planted", "NS_PASSWORD": "planted"}
    del there[missing]
    with pytest.raises(NitroError, match=f"environment variable {missing} is not set") as caught:
        await EnvironmentCredentials(REFERENCE, there).current()
    assert caught.value.meaning is Meaning.CREDENTIALS
    assert "planted" not in str(caught.value)


async def test_asking_again_gives_the_same() -> None:
    """An environment does not change while a process runs, so a refused password stays what it is."""
    there = EnvironmentCredentials(REFERENCE, {"NS_USER": "a", "NS_PASSWORD": "b"})
    first = await there.current()
    assert await there.renewed(first) == first
