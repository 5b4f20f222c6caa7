"""Objects in a home cluster are carried out, and say how they stand."""

from __future__ import annotations

from .rig import Place, until


async def test_objects_are_carried_out(home: Place) -> None:
    """A cluster, a device and a link created in the API make the device route to every node's pods."""
    home.join()
    async with home.controller():
        await until(lambda: home.routes() == ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"])
        await until(
            lambda: home.is_so("ClusterLink", "main", "Joined"), what=lambda: home.status("ClusterLink", "main")
        )
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready"), what=lambda: home.status("EdgeDevice", "gw1"))
        await until(
            lambda: home.is_so("KubeCluster", "prod", "Ready"), what=lambda: home.status("KubeCluster", "prod")
        )
