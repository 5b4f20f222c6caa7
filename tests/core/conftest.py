"""How long the searches of this folder take: a few seconds by default, ``ISTHMUS_HYPOTHESIS=thorough`` for a long look."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile(
    "quick", max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=_QUIET
)
settings.register_profile(
    "thorough", max_examples=3000, stateful_step_count=80, deadline=None, suppress_health_check=_QUIET
)
# Shows the first way to fail that it finds, as it is: a long life takes minutes to shrink.
settings.register_profile(
    "first",
    settings.get_profile("thorough"),
    max_examples=400,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("ISTHMUS_HYPOTHESIS", "quick"))
