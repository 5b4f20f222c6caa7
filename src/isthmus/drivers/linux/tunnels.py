"""Carrying out changes of tunnels.

MAC and MTU change while the tunnel stands; VNI, port, local address and underlay do not, nor does anything of an IP-in-IP
tunnel, so the tunnel is made anew and what stood on it is gone (``disturbed``). A link is deleted by its index, after its
alias has been seen to be ours.
"""

from __future__ import annotations

import asyncio
import errno
import secrets

from isthmus.drivers.base import Outcome
from isthmus.drivers.linux import host, links
from isthmus.drivers.linux.answers import done, outcome, refused
from isthmus.drivers.linux.kernel import Kernel, Links
from isthmus.drivers.linux.links import LinkRow
from isthmus.drivers.linux.sentences import foreign_link, tunnel_of
from isthmus.drivers.linux.spelling import replaces
from isthmus.model.plan import Change
from isthmus.model.resources import IpTunnel, Tunnel

__all__ = ["apply_tunnel"]


async def apply_tunnel(kernel: Kernel, change: Change) -> Outcome:
    """Carry out one change of a tunnel."""
    tunnel = change.resource
    assert isinstance(tunnel, Tunnel | IpTunnel), "only tunnels come here"
    standing = await kernel.links()
    row = standing.by_name.get(tunnel.name)
    ours = row is not None and row.name in standing.ours
    if change.after is None:
        if row is None or not ours:
            return done(change)
        [reply] = await kernel.send([links.delete_link(row.ifindex)])
        return outcome(change, reply)
    if row is not None and not ours:
        return refused(change, f"exists, not ours: {foreign_link(row)}")
    if row is None:
        return await _create(kernel, standing, change, tunnel)
    now = tunnel_of(row, standing)
    if now != tunnel and replaces(now, tunnel):
        [reply] = await kernel.send([links.delete_link(row.ifindex)])
        if reply.errno not in (0, errno.ENODEV):
            return outcome(change, reply)
        made = await _create(kernel, standing, change, tunnel)
        return Outcome(change, made.result, made.reason, disturbed=True)
    if now == tunnel:
        return await _settle(kernel, change, row)
    assert isinstance(tunnel, Tunnel), "an IP-in-IP tunnel that differs was made anew"
    [reply] = await kernel.send([links.change_tunnel(row.ifindex, tunnel)])
    if reply.errno:
        return outcome(change, reply)
    return await _settle(kernel, change, row)


async def _create(kernel: Kernel, standing: Links, change: Change, tunnel: Tunnel | IpTunnel) -> Outcome:
    index = _free_index(standing)
    _, reverse_path = await asyncio.to_thread(host.reverse_path, tunnel.name)
    if isinstance(tunnel, IpTunnel):
        messages = links.create_ip_tunnel(tunnel, index, kernel.owner.alias, reverse_path=reverse_path)
    else:
        underlay = standing.index(tunnel.underlay) if tunnel.underlay else 0
        if tunnel.underlay and not underlay:
            return refused(change, f"no link is named {tunnel.underlay!r} to put the tunnel on")
        rival = _rival(standing, tunnel)
        if rival is not None:
            return refused(change, f"VNI {tunnel.vni} on port {tunnel.port} is taken by {foreign_link(rival)}")
        messages = links.create_tunnel(tunnel, index, underlay, kernel.owner.alias, reverse_path=reverse_path)
    replies = await kernel.send(messages)
    failed = next((reply for reply in replies if reply.errno != 0), None)
    if failed is None:
        return done(change)
    if replies[0].errno == 0:
        await kernel.send([links.delete_link(index)])
    elif failed.errno == errno.EOPNOTSUPP and isinstance(tunnel, IpTunnel):
        return refused(
            change, f"this kernel has no IP-in-IP tunnels, or may not load its module ipip: {failed.sentence()}"
        )
    return outcome(change, failed)


async def _settle(kernel: Kernel, change: Change, row: LinkRow) -> Outcome:
    """See to what the resource does not tell of a tunnel that stands as wanted."""
    now, wanted = await asyncio.to_thread(host.reverse_path, row.name)
    if now == wanted:
        return done(change)
    [reply] = await kernel.send([links.set_reverse_path(row.ifindex, wanted)])
    return outcome(change, reply)


def _rival(standing: Links, tunnel: Tunnel) -> LinkRow | None:
    for row in standing.rows:
        if row.vxlan is None or (row.vxlan.vni, row.vxlan.port) != (tunnel.vni, tunnel.port):
            continue
        if tunnel.local.version in row.vxlan.versions:
            return row
    return None


def _free_index(standing: Links) -> int:
    """Return a link index that nobody has: the create and the mark that follows it must mean one link."""
    while True:
        index = (1 << 20) + secrets.randbelow(1 << 24)
        if index not in standing.names:
            return index
