"""Asking nodes from a device, once: questions become a driver's probes, and what is silent is looked at more closely."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.core.ground import Ground
from isthmus.core.reach import Answer, Question, ends, questions
from isthmus.core.silence import GRACE, Silence
from isthmus.core.world import path_of
from isthmus.drivers.base import Driver, ProbeTarget

__all__ = ["ask", "ask_about", "remedy"]


async def ask(driver: Driver, questions: Sequence[Question]) -> dict[Question, Answer]:
    """Ask ``questions`` from a device and return every answer."""
    targets = [
        ProbeTarget(one.address, one.source, one.size, method="port" if one.port else "echo") for one in questions
    ]
    results = await driver.probe(targets) if targets else []
    return {
        question: Answer(found.reached, found.milliseconds, found.why, found.fragment, found.mtu)
        for question, found in zip(questions, results, strict=True)
    }


async def ask_about(driver: Driver, ground: Ground, names: Iterable[str]) -> tuple[dict[Question, Answer], list[str]]:
    """Ask all there is to ask about ``names``; return the answers, and where long packets get lost as sentences."""
    nodes = {name: ground.cluster.nodes[name] for name in names if name in ground.cluster.nodes}
    answers = await ask(driver, [question for node in nodes.values() for question in questions(ground, node)])
    silence = Silence(ground.device_name, remedy=remedy(ground))
    silence.follow({name: found for name, node in nodes.items() if (found := ends(ground, node))}, 0.0)
    silence.hear(answers, GRACE)
    silence.hear(await ask(driver, silence.again(nodes)), GRACE)
    return answers, [trouble.text for trouble in silence.troubles({}).values() if trouble.kind == "mtu"]


def remedy(ground: Ground) -> str:
    """Return what a person can do about an MTU on this link's path."""
    if path_of(ground.world, ground.link) == "overlay":
        return f"raise the MTU on the way, or set spec.overlay.mtu of ClusterLink {ground.link_name} to what passes"
    return "raise the MTU on the way, or lower it at both ends"
