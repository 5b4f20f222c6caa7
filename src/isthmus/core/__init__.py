"""Verbs, pure: what should be (desire), what differs (diff), what may go (guard), who gets which address (allocate).

Nothing here reads a clock, a socket or a log; whoever calls passes ``now`` and the facts. So any decision can be replayed.
"""
