"""What devices showed of themselves in public reports (fields and values theirs), read by the client as it goes along."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from drivers.netscaler.nitro.rig import Given, options
from isthmus.drivers.netscaler.nitro import Meaning, NitroError, client
from isthmus.drivers.netscaler.nitro.bodies import Answer
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.drivers.netscaler.nitro.wire import Request

# telegraf#11478
LOGIN = '{ "errorcode": 0, "message": "Done", "severity": "NONE", "sessionid": "##8F90" }'
# ansible-collection-netscaleradc#553: the own node is 0, kept primary by hand; its peer is the secondary.
PAIR = (
    '{ "errorcode": 0, "message": "Done", "severity": "NONE", "hanode": [ { "id": "0", "name": "WEDC-CCM-01", '
    '"ipaddress": "192.168.55.5", "flags": "1", "hastatus": "STAYPRIMARY", "state": "Primary", "hasync": "ENABLED", '
    '"haprop": "ENABLED", "enaifaces": "0/1", "netmask": "0.0.0.0", "inc": "DISABLED", "ssl2": "NOT PRESENT", '
    '"hellointerval": 200, "deadinterval": 3, "masterstatetime": 2382, "failsafe": "OFF", "maxflips": "0" }, '
    '{ "id": "1", "ipaddress": "192.168.55.6", "flags": "528", "hastatus": "UP", "state": "Secondary", '
    '"hasync": "SUCCESS", "haprop": "ENABLED", "enaifaces": "0/1", "netmask": "0.0.0.0", "inc": "DISABLED", '
    '"ssl2": "NOT PRESENT", "masterstatetime": 0, "failsafe": "OFF", "maxflips": "0" } ] }'
)
# adc-nitro-go#91: a device alone is a pair of one.
ALONE = (
    '{ "errorcode": 0, "message": "Done", "severity": "NONE", "hanode": [ { "id": "0", "name": "server-name", '
    '"flags": "129", "hastatus": "UP", "state": "Primary", "hasync": "ENABLED", "masterstatetime": 19121744 } ] }'
)
# ansible#453: objects, not lists.
VERSION = (
    '{ "errorcode": 0, "message": "Done", "severity": "NONE", "nsversion": { "installedversion": false, '
    '"version": "NetScaler NS13.1: Build 53.24.nc, Date: Apr 22 2024, 01:51:35   (64-bit)", "mode": "1" } }'
)
FEATURES = (
    '{ "errorcode": 0, "message": "Done", "severity": "NONE", "nsfeature": { "feature": [ "LB", "CS", "SSL" ], '
    '"wl": false, "sp": false, "lb": true, "cs": true } }'
)


@dataclass
class Recorded:
    """Answers what was printed, whatever the node."""

    answers: dict[str, str]
    asked: list[str] = field(default_factory=list)

    async def close(self) -> None:
        return None

    async def send(self, root: str, request: Request) -> Answer:
        self.asked.append(request.what)
        return Answer(201 if request.what == "POST login" else 200, self.answers.get(request.what, LOGIN).encode())


@pytest.mark.parametrize("nodes", [PAIR, ALONE])
async def test_a_device_of_the_reports(monkeypatch: pytest.MonkeyPatch, nodes: str) -> None:
    """It is met, its role, release and features are read."""
    device = Recorded({"GET hanode": nodes, "GET nsversion": VERSION, "GET nsfeature": FEATURES})
    monkeypatch.setattr(client, "Wire", lambda place, trust, *, connections: device)
    nitro = Nitro("adc1", options("http://192.168.55.5"), Given())
    await nitro.open()
    assert nitro.release == (13, 1, 53)
    assert nitro.features == {"LB", "CS", "SSL"}
    assert await nitro.get("lbvserver_servicegroup_binding", "lb1") == [], "nothing bound has no key (ansible#287)"
    await nitro.close()
    assert device.asked[-1] == "POST logout"


async def test_the_other_node_of_the_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pair, seen from its secondary."""
    seen = PAIR.replace('"state": "Primary"', '"state": "?"').replace('"state": "Secondary"', '"state": "Primary"')
    device = Recorded({"GET hanode": seen.replace('"state": "?"', '"state": "Secondary"')})
    monkeypatch.setattr(client, "Wire", lambda place, trust, *, connections: device)
    nitro = Nitro("adc1", options("http://192.168.55.6"), Given())
    with pytest.raises(NitroError) as secondary:
        await nitro.open()
    assert secondary.value.meaning is Meaning.SECONDARY
    await nitro.close()
