"""A real kube-apiserver and its etcd, for the tests that the lab's small API server passes too.

``server.RealApi`` starts the pair on loopback; ``finding`` says where the two programs are, or in one line why they are not
there. The fixtures are in ``tests/conftest.py``. There is no controller-manager beside it: nobody makes EndpointSlices or
service accounts, and a deleted namespace stays until its finalizer is taken off by hand.
"""

from realapi.finding import NotThere, programs, require
from realapi.server import RealApi

__all__ = ["NotThere", "RealApi", "programs", "require"]
