"""The cluster edge: how we speak to a Kubernetes API, and what we believe of what it says.

From the outside in: ``kubeconfig`` and ``connection`` say how to reach an API, ``client`` knows its URLs, ``parse`` turns
its JSON into facts, ``informer`` keeps those facts current and knows when they are *not* to be believed. Nothing here
knows devices, links or plans; it imports errors, telemetry and the model only.

The one confusing thing: an API that fails, lists nothing, or forgets, never makes anything disappear here. A thing is gone
by a DELETED event or by a complete list of the same cluster, and by nothing else.
"""

from __future__ import annotations
