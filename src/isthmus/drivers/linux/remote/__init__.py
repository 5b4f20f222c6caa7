"""A Linux gateway away from the controller: the same driver, asked over HTTPS.

The agent's side is in ``agents/gateway``; what both must agree on (messages, tokens, private files) is here, because agents
may know drivers and never the other way round.
"""

from __future__ import annotations

from isthmus.drivers.linux.remote.driver import RemoteGateway

__all__ = ["RemoteGateway"]
