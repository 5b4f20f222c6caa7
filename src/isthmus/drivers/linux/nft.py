"""Our nft table: made once, read when somebody else may have touched it, changed by elements alone.

It remembers what the table holds, so that one member more or less costs its own few elements and no dump. The memory is
believed as long as the ruleset's generation moved by our own commits only, or the notifications say that others wrote
elsewhere. Every change is one piece of one transaction, all of its elements or none. The one confusing thing: ``nft``
compiles the rules, once; a table whose rules are not ours any more gets a compiled copy from a dormant scratch table,
because nft 1.0.6 cannot add such rules to a table that stands.
"""

from __future__ import annotations

import asyncio
import errno
import subprocess
import threading
from collections.abc import Callable, Sequence

from isthmus.drivers.linux import ruleset
from isthmus.drivers.linux.elements import Element, messages, read
from isthmus.drivers.linux.hops import NOBODY, Silence
from isthmus.drivers.linux.netlink import APPEND, CREATE, Message, Reply
from isthmus.drivers.linux.nfnetlink import DEL_RULE, NEW_RULE, Failed, Nfnetlink, Rule, kind, payload
from isthmus.drivers.linux.owner import Owner
from isthmus.drivers.linux.services import Held, NftResource, elements_of, read_all, silent_of
from isthmus.drivers.linux.wire import attribute, attributes, children, nested, text
from isthmus.errors import DeviceRefused, DeviceUnreachable
from isthmus.model.resources import VirtualServer
from isthmus.telemetry import get_logger

__all__ = ["Table", "Wish"]

_log = get_logger("linux")
_NFT_SECONDS = 60
_STALE = frozenset({errno.ENOENT, errno.EEXIST, errno.EBUSY})
_DONE = Reply(0)
_EXTHDR_FLAGS, _EXTHDR_SOURCE = 5, 7
Wish = tuple[str, NftResource | None]


class _Delta:
    """What one wish adds and deletes."""

    def __init__(
        self, number: int, before: Sequence[Element], after: Sequence[Element], silent: frozenset[bytes]
    ) -> None:
        self.number = number
        self.silent = silent
        old = {(element.set, element.key): element.data for element in before}
        new = {(element.set, element.key): element.data for element in after}
        self.deletes = [(name, key, b"") for (name, key), data in old.items() if new.get((name, key)) != data]
        self.adds = [(name, key, data) for (name, key), data in new.items() if old.get((name, key)) != data]
        self.size = 64 * (len(self.deletes) + len(self.adds)) + 256

    @property
    def empty(self) -> bool:
        return not self.deletes and not self.adds


class Table:
    """The nft table of one installation. ``untouched`` tells whether nobody else wrote to it since it was last asked."""

    def __init__(self, owner: Owner, nft: str, untouched: Callable[[], bool]) -> None:
        self.owner = owner
        self._nft = nft
        self._untouched = untouched
        self._netfilter = Nfnetlink()
        self.portid = self._netfilter.portid
        self._lock = threading.Lock()
        self._held: dict[str, Held] | None = None
        self._generation = -1
        self._sound = False
        self._silence: Silence = NOBODY

    def close(self) -> None:
        """Close the socket; the table stays."""
        self._netfilter.close()

    async def check(self) -> None:
        """Raise ``DeviceRefused`` when another installation on this host uses our protocol number."""
        await asyncio.to_thread(self._check)

    async def ensure(self) -> None:
        """Make the table, or put its rules right; free when it stands. Raises ``DeviceRefused`` with nft's words."""
        await asyncio.to_thread(self._ensure)

    async def remove_empty(self) -> None:
        """Remove the table if it is ours and holds nothing; free when there is none."""
        await asyncio.to_thread(self._remove_empty)

    async def held(self) -> dict[str, Held]:
        """Return what the table holds, by identity; nothing while its rules are not as we wrote them."""
        return await asyncio.to_thread(self._read)

    async def write(self, wishes: Sequence[Wish]) -> list[Reply]:
        """Bring each identity to its wish (none: nothing of it) and return an answer for each."""
        return await asyncio.to_thread(self._write, wishes)

    async def heed(self, silence: Silence) -> list[tuple[VirtualServer, frozenset[bytes]]]:
        """Give silent members' slots to the others, from now on, and theirs back to those that answer again.

        Return the servers that changed, each with the keys of its silent members. What is held is not what changes.
        """
        return await asyncio.to_thread(self._heed, silence)

    def _heed(self, silence: Silence) -> list[tuple[VirtualServer, frozenset[bytes]]]:
        with self._lock:
            self._silence = silence
            self._refresh()
            if not self._sound:
                return []
            assert self._held is not None, "refresh reads"
            moved = [
                held.resource
                for held in self._held.values()
                if isinstance(held.resource, VirtualServer)
                and held.raw is None
                and (held.silent or silence.hops)
                and silent_of(held.resource, silence) != held.silent
            ]
            replies = self._write_all([(server.identity, server) for server in moved])
            done = [server for server, reply in zip(moved, replies, strict=True) if reply.errno == 0]
            return [(server, self._held[server.identity].silent) for server in done]

    def _check(self) -> None:
        for table in self._netfilter.tables():
            self.owner.check_other_table(table.name, table.comment)

    def _read(self) -> dict[str, Held]:
        with self._lock:
            self._refresh()
            assert self._held is not None, "refresh reads"
            return self._held if self._sound else {}

    def _refresh(self) -> None:
        """Read the table anew unless what we remember must still be true."""
        generation = self._netfilter.generation()
        if self._held is not None and (generation == self._generation or self._untouched()):
            self._generation = generation
            return
        self._untouched()
        self._generation = generation
        self._sound = self._is_sound()
        tables = {table.name for table in self._netfilter.tables()}
        rows = {name: read(name, self._elements(name)) for name in ruleset.SETS} if self.owner.table in tables else {}
        self._held = read_all(rows)

    def _elements(self, name: str) -> list[bytes]:
        try:
            return self._netfilter.elements(self.owner.table, name)
        except DeviceUnreachable as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOENT:
                return []
            raise

    def _is_sound(self) -> bool:
        """Say whether table and rules stand as we wrote them."""
        standing = next((table for table in self._netfilter.tables() if table.name == self.owner.table), None)
        if standing is None or standing.dormant:
            return False
        ours = set(ruleset.chains())
        rules: dict[str, list[str]] = {}
        for rule in self._netfilter.rules(self.owner.table):
            if rule.chain in ours:
                rules.setdefault(rule.chain, []).append(rule.comment)
        expected: dict[str, list[str]] = {}
        for chain, comment in ruleset.expected_rules():
            expected.setdefault(chain, []).append(comment)
        return rules == expected

    def _ensure(self) -> None:
        with self._lock:
            self._refresh()
            if self._sound:
                return
            self._check()
            standing = next((table for table in self._netfilter.tables() if table.name == self.owner.table), None)
            comment = self.owner.table_comment()
            if standing is not None and standing.comment == comment and not standing.dormant:
                self._repair(comment)
                _log.warning("put the rules of our table right", table=self.owner.table)
            else:
                again = f"delete table inet {self.owner.table}\n" if standing is not None else ""
                self._run(again + ruleset.text(self.owner.table, comment))
                _log.info("made our table", table=self.owner.table)
            self._held = None
            self._refresh()
            if not self._sound:
                raise DeviceRefused(f"table inet {self.owner.table} does not read back as it was written")

    def _remove_empty(self) -> None:
        with self._lock:
            self._refresh()
            standing = next((table for table in self._netfilter.tables() if table.name == self.owner.table), None)
            if standing is None or standing.comment != self.owner.table_comment() or self._held:
                return
            self._run(f"delete table inet {self.owner.table}\n")
            self._held = None
            _log.info("removed our table", table=self.owner.table)

    def _repair(self, comment: str) -> None:
        table, scratch = self.owner.table, f"scratch_{self.owner.table}"
        drop = f"add table inet {scratch}\ndelete table inet {scratch}\n"
        self._run(drop + ruleset.text(scratch, comment, dormant=True))
        try:
            self._run(ruleset.maps_text(table))
            rules = self._netfilter.rules(scratch)
            head = text(1, table)
            changes = [
                Message(kind(DEL_RULE), 0, payload(head, text(2, chain)))
                for chain in {rule.chain for rule in self._netfilter.rules(table)} & set(ruleset.chains())
            ]
            changes += [Message(kind(NEW_RULE), CREATE | APPEND, payload(head, *_copy(rule))) for rule in rules]
            self._netfilter.commit(changes)
        except Failed as error:
            raise DeviceRefused(f"table inet {table}: rules cannot be put right: {error}") from error
        finally:
            self._run(drop)

    def _run(self, script: str) -> None:
        """Feed ``nft``; its text holds names of ours only, never a user's."""
        try:
            done = subprocess.run(
                [self._nft, "-f", "-"],
                input=script,
                capture_output=True,
                text=True,
                timeout=_NFT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceUnreachable(f"nft did not run: {error}") from error
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise DeviceRefused(f"nft declined our table: {reason}")

    def _write(self, wishes: Sequence[Wish]) -> list[Reply]:
        with self._lock:
            self._refresh()
            return self._write_all(wishes)

    def _write_all(self, wishes: Sequence[Wish]) -> list[Reply]:
        replies: dict[int, Reply] = {}
        group: list[_Delta] = []
        size = 0
        for number in range(len(wishes)):
            delta = self._delta(number, wishes[number])
            if delta.empty:
                replies[number] = _DONE
                continue
            if group and size + delta.size > self._netfilter.limit:
                self._commit(group, wishes, replies)
                group, size = [], 0
            group.append(delta)
            size += delta.size
        if group:
            self._commit(group, wishes, replies)
        return [replies[number] for number in range(len(wishes))]

    def _delta(self, number: int, wish: Wish) -> _Delta:
        assert self._held is not None, "read before"
        identity, after = wish
        held = self._held.get(identity)
        before = list(held.elements()) if held else []
        if after is None:
            return _Delta(number, before, [], frozenset())
        silent = silent_of(after, self._silence)
        return _Delta(number, before, elements_of(after, silent), silent)

    def _commit(
        self, group: list[_Delta], wishes: Sequence[Wish], replies: dict[int, Reply], *, retried: bool = False
    ) -> None:
        """Carry out ``group`` as one transaction; one that fails is halved until the bad one is alone."""
        before = self._generation
        try:
            self._netfilter.commit(self._messages(group))
        except Failed as error:
            if error.reply.errno in _STALE and not retried:
                # Somebody changed elements of ours: read them, and mean the same wishes against what stands now.
                self._held = None
                self._refresh()
                group = [self._delta(delta.number, wishes[delta.number]) for delta in group]
                self._commit(group, wishes, replies, retried=True)
            elif len(group) > 1 and error.reply.errno is not None:
                half = len(group) // 2
                self._commit(group[:half], wishes, replies, retried=retried)
                self._commit(group[half:], wishes, replies, retried=retried)
            else:
                replies.update((delta.number, error.reply) for delta in group)
                if error.reply.errno is None:
                    self._held = None
                    self._refresh()
            return
        generation = self._netfilter.generation()
        if generation == before + 1:
            self._generation = generation
        assert self._held is not None, "read before"
        for delta in group:
            identity, after = wishes[delta.number]
            replies[delta.number] = _DONE
            if after is None:
                self._held.pop(identity, None)
            else:
                self._held[identity] = Held(after, silent=delta.silent)

    def _messages(self, group: Sequence[_Delta]) -> list[Message]:
        """Return deletes, then adds: a value is changed by deleting its key and adding it again, within one commit."""
        found: list[Message] = []
        for delete in (True, False):
            by_set: dict[str, list[tuple[bytes, bytes]]] = {}
            for delta in group:
                for name, key, data in delta.deletes if delete else delta.adds:
                    by_set.setdefault(name, []).append((key, data))
            for name, elements in by_set.items():
                found += messages(self.owner.table, name, elements, delete=delete)
        return found


def _copy(rule: Rule) -> tuple[bytes, bytes, bytes]:
    """Return the attributes that make ``rule`` again: chain, expressions, user data."""
    expressions = b"".join(_writable(expression) for _, expression in children(rule.expressions))
    return text(2, rule.chain), nested(4, expressions), attribute(7, rule.userdata)


def _writable(expression: bytes) -> bytes:
    """Return an expression as the kernel takes it: it shows flags of a header write that it declines to be told."""
    name, data = (attributes(expression).get(kind, b"") for kind in (1, 2))
    parts = children(data)
    if name == b"exthdr\0" and any(kind == _EXTHDR_SOURCE for kind, _ in parts):
        parts = [part for part in parts if part[0] != _EXTHDR_FLAGS]
        data = b"".join(attribute(kind, value) for kind, value in parts)
    return nested(1, attribute(1, name), attribute(2 | 0x8000, data))
