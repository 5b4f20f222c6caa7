"""`plan`, `apply`, `doctor` and `clean` with a NetScaler: what a person does by hand works there as on every device."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from app.home.rig import node, thing
from isthmus.lab.kube import KubeApi
from isthmus.lab.nitro import Appliance, serving

PASSWORD = "planted-Passw0rd-0816"


async def isthmus(*arguments: str) -> tuple[int, str]:
    """Run a command as a person does; return its exit code and all that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "isthmus",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(os.environ),
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert PASSWORD not in said.decode()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_by_hand_from_an_empty_device_to_an_empty_device(tmp_path: Path) -> None:
    """A plan shows the route, apply makes it, a second plan is empty, doctor is content, clean leaves nothing of ours."""
    device = Appliance(users={"isthmus": PASSWORD})
    device.write("POST", "nsip", {"nsip": {"ipaddress": "192.0.2.50", "netmask": "255.255.255.0", "type": "SNIP"}})
    device.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, "action=enable")
    device.config.end_save()
    before = {kind: len(table) for kind, table in device.running.tables.items() if table}
    api = KubeApi(tls=False)
    api.put(node(1))
    config, secret = tmp_path / "config", tmp_path / "adc1"
    config.mkdir()
    secret.mkdir()
    (secret / "username").write_text("isthmus\n")
    (secret / "password").write_text(f"{PASSWORD}\n")
    async with api.serving() as cluster, serving(device) as endpoint:
        adc = {"urls": [endpoint.url], "plainHttp": True, "credentials": {"directory": str(secret)}}
        link = {"cluster": "prod", "devices": ["adc1"], "path": "direct", "services": False}
        for kind, name, spec in (
            ("KubeCluster", "prod", {"kubeconfig": {"path": str(cluster.kubeconfig_path)}}),
            ("EdgeDevice", "adc1", {"driver": "netscaler", "tunnelAddresses": ["192.0.2.50"], "netscaler": adc}),
            ("ClusterLink", "main", link),
        ):
            (config / f"{name}.json").write_text(json.dumps(thing(kind, name, spec)))
        where = ("--config", str(config), "--state", str(tmp_path / "state"))
        code, said = await isthmus("plan", *where)
        assert code in (0, 2), said
        assert "+ route 10.244." in said
        assert device.faults.writes == 0, "a plan writes nothing"
        code, said = await isthmus("apply", *where, "--yes")
        assert code == 0, said
        assert len(device.running.table("route")) == 1
        assert not device.config.changed, "it is saved"
        code, said = await isthmus("plan", *where)
        assert code == 0, said
        assert "0 to create, 0 to update, 0 to delete" in said
        code, said = await isthmus("doctor", *where)
        assert code == 0, said
        assert "adc1" in said
        assert "packets go both ways" not in said, "nobody was asked"
        code, said = await isthmus("explain", "n1", *where)
        assert code == 0, said
        assert "route 10.244." in said
        assert "a NetScaler cannot be asked" in said
        code, said = await isthmus("clean", *where, "--yes")
        assert code == 0, said
    assert {kind: len(table) for kind, table in device.running.tables.items() if table} == before
    assert device.sessions.live() == []
