"""Pods in Calico's blocks, which move: whatever fails where the CNI and its blocks are read, no wanted route goes."""

from __future__ import annotations

import json
from typing import Any

from faults.playing import faults


def test_every_fault_at_every_reading_comes_right() -> None:
    """Each failure at each such point of one life, one at a time: lists that lie, watches that die, rights that go."""
    ended = faults("blocks", "--jobs", "2", "--json", timeout=500)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["played"] > 200
    assert {"kube.list empty", "kube.list forbidden", "kube.stream frozen", "kube.get failed"} <= set(found["struck"])


def test_a_life_with_blocks_is_the_same_each_time() -> None:
    """Blocks move, are lent and given up, and routes follow without any fault, too."""
    ended = faults("3", "--path", "blocks", "--steps", "12", "--faults", "")
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert "world  move block" in ended.stdout
    assert "route 10.244.1.0/26" in ended.stdout
    assert "route 10.9." not in ended.stdout, "no pod is where Kubernetes assigned something"
