"""Clear a VXLAN that is to be made anew under another number: what lies on it would keep it, and goes with it anyway."""

from __future__ import annotations

from isthmus.drivers.netscaler.canon import Unreadable
from isthmus.drivers.netscaler.nitro import Meaning, Nitro
from isthmus.drivers.netscaler.objects import read

__all__ = ["sweep"]

_ON_IT = ("bridgetable", "arp", "nd6")
_BOUND = ("vxlan_nsip_binding", "vxlan_nsip6_binding")


async def sweep(nitro: Nitro, vni: int) -> str:
    """Remove what lies on our VXLAN ``vni``; return what could not be, empty when all is gone."""
    for kind in (*_ON_IT, *_BOUND):
        where = {"id": str(vni)} if kind in _BOUND else {"vxlan": str(vni)}
        rows = []
        for row in await nitro.get(kind, str(vni)) if kind in _BOUND else await nitro.get(kind, filter=where):
            try:
                obj = read(kind, row)
            except Unreadable:
                continue
            if obj.get("id" if kind in _BOUND else "vxlan") == str(vni):
                rows.append({**obj.named(), **({"vxlan": vni} if kind == "nd6" else {})})
        if rows:
            for result in await nitro.remove(kind, rows):
                if not result.done and (result.error is None or result.error.meaning is not Meaning.MISSING):
                    return f"VXLAN {vni} cannot be cleared: {result.error or result.why}"
    return ""
