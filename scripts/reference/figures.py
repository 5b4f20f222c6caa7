"""metrics.md: every figure that the processes show to Prometheus, from the one module that names them."""

from __future__ import annotations

from isthmus import metrics
from reference.markdown import code, prose, table

_INTRO = """
Served at `/metrics` where `--listen` says ([Monitor it](../how-to/monitor.md)). A histogram `x` is `x_bucket`, `x_sum` and
`x_count`. Beside these there are the usual `process_…` figures.

"""


def page() -> str:
    """Return the page."""
    rows = [(code(one.name), one.type, ", ".join(map(code, one.labels)), one.help) for one in metrics.documented()]
    return f"# Metrics\n\n{prose(metrics.__doc__)}\n{_INTRO}" + table(("Metric", "Type", "Labels", "Says"), rows)
