"""Who asks, and what they may do: bearer tokens for names, denials for rights.

Everybody with a token may do everything until a test denies it; there are no roles to bind. The same answer that a
request would get is what a SelfSubjectAccessReview tells.
"""

from __future__ import annotations

import hmac
from typing import Any

from isthmus.lab.kube import status
from isthmus.lab.kube.faults import Faults
from isthmus.lab.kube.kinds import Resource

Json = dict[str, Any]

ANONYMOUS = "system:anonymous"
OPEN_PATHS = frozenset(("/healthz", "/livez", "/readyz", "/version"))


class Access:
    """The tokens and denials of one server."""

    def __init__(self, tokens: dict[str, str], faults: Faults) -> None:
        self.tokens = dict(tokens)  # token -> user; a test may change it at any time
        self._faults = faults

    def user(self, authorization: str, path: str) -> str:
        """Return the name behind an Authorization header; raise 401."""
        if not authorization and path in OPEN_PATHS:
            return ANONYMOUS
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer":
            for token, user in self.tokens.items():
                if hmac.compare_digest(token.encode(), given.strip().encode()):
                    return user
        raise status.unauthorized()

    def check(
        self, user: str, verb: str, resource: Resource, namespace: str, name: str, subresource: str = ""
    ) -> None:
        """Raise 403, in the real words, when ``user`` may not do this."""
        if not self._faults.is_denied(user, verb, resource.plural):
            return
        what = f"{resource.plural}/{subresource}" if subresource else resource.plural
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        why = f'User "{user}" cannot {verb} resource "{what}" in API group "{resource.group}" {where}'
        raise status.denied(resource, name, why)

    def review(self, plural: str, user: str, body: Json) -> Json:
        """Return the answered SelfSubjectReview or SelfSubjectAccessReview."""
        if plural == "selfsubjectreviews":
            answer: Json = {"userInfo": {"username": user, "groups": ["system:authenticated"]}}
            return {**body, "metadata": {}, "status": answer}
        spec = body.get("spec")
        asked = (spec.get("resourceAttributes") or {}) if isinstance(spec, dict) else None
        if not isinstance(asked, dict):
            raise status.bad_request("spec.resourceAttributes is not an object")
        refused = self._faults.is_denied(user, asked.get("verb", "*"), asked.get("resource", "*"))
        return {**body, "metadata": {}, "status": {"allowed": not refused, "reason": "lab"}}
