"""The harness can fail: each bug that is made on purpose is found by a bounded number of plans."""

from __future__ import annotations

import pytest

from faults.mutants import MUTANTS
from faults.playing import faults


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_bug_made_on_purpose_is_found(name: str) -> None:
    """Two hundred plans of chance are enough, and the one that found it last comes first."""
    ended = faults("catch", "200", "--mutant", name)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
