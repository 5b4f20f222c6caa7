"""How long the searches of this folder take: seconds by default, and always the same ones.

``ISTHMUS_HYPOTHESIS=thorough`` takes a long look, each time another one, and makes what it found small, which for a
machine with many steps takes minutes; ``first`` shows the first way to fail as it was found.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
_AS_FOUND = [Phase.explicit, Phase.generate]
settings.register_profile(
    "quick",
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=_AS_FOUND,
    report_multiple_bugs=False,
    suppress_health_check=_QUIET,
)
settings.register_profile(
    "thorough", max_examples=3000, stateful_step_count=80, deadline=None, suppress_health_check=_QUIET
)
settings.register_profile(
    "first",
    settings.get_profile("thorough"),
    max_examples=400,
    phases=_AS_FOUND,
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("ISTHMUS_HYPOTHESIS", "quick"))
