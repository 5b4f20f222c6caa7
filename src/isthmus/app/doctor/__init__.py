"""``isthmus doctor``: what a support engineer would ask for, each as a sentence with a verdict and a way out.

Gathering and judging are apart: ``host_facts``, ``clusters``, ``segment`` read, ``host`` and ``objects`` judge what was read
and touch nothing. ``examine`` runs them side by side, each with a time limit of its own, so that one that hangs is one line.
"""
