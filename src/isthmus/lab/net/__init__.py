"""The lab's network: nodes, pods, clients, gateways and a router as network namespaces on one Linux host.

A network is described (`topology`), built (`build`), served (`pods`) and questioned (`clients`, `matrix`) here. All of it
lives inside a sandbox (`sandbox`), which takes everything away when it ends, however it ends. The confusing thing: the
namespaces hang off the *sandbox's* own root network, not the host's, so the Kubernetes API of the lab listens at an
address (`Topology.control`) that only the lab can see.

Nothing is imported here on purpose: the sandbox's first process loads this package and has to start quickly.
"""
