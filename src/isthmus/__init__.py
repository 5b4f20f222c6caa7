"""Isthmus joins Kubernetes clusters to the load balancers and gateways that stand outside them.

The one idea, in a line: *observe, desire, diff, apply*. Facts of clusters go in, a plan comes out, drivers carry it out.
The rooms are described in ``docs/explanation/architecture.md``; the layers between them are checked by import-linter.
"""

__version__ = "0.1.0"
