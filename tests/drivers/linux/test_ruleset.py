"""The rules are written so that every nft on every host reads them alike."""

from __future__ import annotations

import re

from isthmus.drivers.linux import ruleset


def test_no_protocol_is_written_by_name() -> None:
    """nft looks names up in /etc/protocols, and a small Debian has no such file: then it declines the whole table."""
    text = ruleset.text("isthmus_main", "isthmus protocol=200")
    compared = re.findall(r"meta l4proto (?:!= |== )?(\S+)", text)
    assert {"1", "6", "17", "58", "132"} <= set(compared)
    assert not [word for word in compared if word[0].isalpha() and word != "vmap"]
