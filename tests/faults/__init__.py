"""Everything that can fail, failed on purpose: the real controller, an outside that is simulated, and a clock that jumps.

:mod:`faults.seam` is the one place that all input and output goes through; :mod:`faults.play` runs one plan and judges it.
``python -m faults SEED`` tells one plan as a story.
"""
