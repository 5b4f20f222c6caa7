"""A Kubernetes API server small enough for a test, and true enough for kubectl.

It keeps objects, numbers their versions, lists and watches them, validates and defaults the kinds Isthmus meets, serves
whatever CustomResourceDefinitions define, and can be told to misbehave.

What it does not imitate: no garbage collection (owner references are stored and nothing follows them; propagation
policies are read and ignored), no controllers but the allocator of node pod CIDRs and the emptying of a deleted
namespace, no kubelet or proxy, no admission (webhooks, policies, CEL rules), no aggregation, no conversion between
the versions of a custom resource but a changed apiVersion, no protobuf (but for reading what kubectl creates with
it), no gzip, no roles (a user may do everything until denied), no client certificates, no exec, logs, scale or
eviction, no node ports, and of built-in kinds no schema beyond what its rules judge. The Service ``default/kubernetes``
is missing, only its address is kept free. A definition is served by the write that makes it, where the real server takes
some seconds; a watch may last a fraction of a second, and its end brings a bookmark. It holds everything in memory and
forgets it.

What it does do, it does as the real one: ``tests/lab/kube/test_contract_*.py`` run the same assertions over both.
"""

from isthmus.lab.kube.server import Endpoint, KubeApi, run_kube_api, serve
from isthmus.lab.kube.status import ApiError
from isthmus.lab.kube.store import Backup

__all__ = ["ApiError", "Backup", "Endpoint", "KubeApi", "run_kube_api", "serve"]
