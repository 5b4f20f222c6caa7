"""How fast Isthmus is, as ratios that anybody can measure: ``make bench``, or ``python -m bench``.

Every row puts what we do beside the plainest tool that does the same (``ip -batch``, ``nft -f``, bare decoding), in one
run and in turns, because a ratio survives a slow machine and seconds do not. What it measures is the product itself:
nothing is stubbed but the clusters and what no measurement is about.
"""
