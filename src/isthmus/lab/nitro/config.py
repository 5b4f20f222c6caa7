"""The configuration of a device, running and saved, and the pair that two devices make.

The one confusing thing: the two nodes of a pair hold one configuration between them. A real pair copies it from the primary
to the secondary in a moment; here that moment takes no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.running import Running

if TYPE_CHECKING:
    from isthmus.lab.nitro.appliance import Appliance


def stamp() -> str:
    """Return the time as the device writes it."""
    return datetime.now(UTC).strftime("%a %b %e %H:%M:%S %Y")


class Config:
    """The running and the saved configuration of a device, or of a pair."""

    def __init__(self, running: Running) -> None:
        """Start with ``running``, saved."""
        self.running = running
        self.saved = running.copy()
        self.saved_at = self.changed_at = stamp()
        self.saving = False

    @property
    def changed(self) -> bool:
        """Return whether something has changed since the configuration was saved."""
        return self.running.revision != self.saved.revision

    def begin_save(self, *, disk_full: bool) -> None:
        """Start to save; refuse while another save goes on, or if there is no room."""
        if self.saving:
            raise Refusal(293)
        if disk_full:
            raise Refusal(1461, message="Configuration could not be saved: no space left on device")
        self.saving = True

    def end_save(self) -> None:
        """Keep what runs now."""
        self.saving = False
        self.saved = self.running.copy()
        self.saved_at = stamp()

    def revert(self) -> None:
        """Go back to what was saved, as a device does that starts."""
        self.running = self.saved.copy()
        self.saving = False


@dataclass(slots=True, eq=False)
class Pair:
    """Two devices, one of which is primary."""

    nodes: tuple[Appliance, Appliance]
    first_leads: bool = True

    def other(self, node: Appliance) -> Appliance:
        """Return the peer of ``node``."""
        return self.nodes[1] if node is self.nodes[0] else self.nodes[0]

    def leads(self, node: Appliance) -> bool:
        """Return whether ``node`` is the primary."""
        return (node is self.nodes[0]) == self.first_leads

    def fail_over(self) -> None:
        """Let the other one be primary."""
        self.first_leads = not self.first_leads
        for node in self.nodes:
            node.role_since = node.clock()
            if node.carrier is not None:
                node.carrier.changed()
