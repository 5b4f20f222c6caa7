"""What the API says when it says no: ``Status`` bodies, worded as kube-apiserver words them.

Clients read ``reason``, ``code`` and ``details``, people read ``message``; all four are kept as the real server has them.
The confusing thing: ``details.kind`` holds the *resource* (``nodes``) in most errors, and the *kind* (``Node``) in Invalid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from isthmus.errors import KubeError

type_meta = {"kind": "Status", "apiVersion": "v1", "metadata": {}}


class Named(Protocol):
    """What an error needs to know of a resource."""

    @property
    def group(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def group_resource(self) -> str: ...


class ApiError(KubeError):
    """An answer other than success; ``body()`` is the Status that goes over the wire."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
        continue_token: str = "",
        plain: bool = False,
    ) -> None:
        super().__init__(message, status=code, reason=reason)
        self.message = message
        self.details = details
        self.retry_after = retry_after
        self.continue_token = continue_token
        self.plain = plain  # told as text, not as a Status

    def body(self) -> dict[str, Any]:
        """Return the Status object."""
        body: dict[str, Any] = {**type_meta, "status": "Failure", "message": self.message}
        if self.reason:
            body["reason"] = self.reason
        if self.continue_token:
            body["metadata"] = {"continue": self.continue_token}
        details = dict(self.details or {})
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        if details or self.details is not None:
            body["details"] = details
        body["code"] = self.status
        return body


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object is invalid: the machine's word, the sentence, the field."""

    reason: str
    message: str
    field: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def _shown(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "[]string{" + ", ".join(json.dumps(item) for item in value) + "}"
    return json.dumps(value, ensure_ascii=False)


def required(field: str, detail: str = "") -> Cause:
    """Say that ``field`` is missing."""
    return Cause("FieldValueRequired", "Required value" + (f": {detail}" if detail else ""), field)


def bad(field: str, value: Any, detail: str) -> Cause:
    """Say that ``value`` does not fit."""
    return Cause("FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}", field)


def forbidden_field(field: str, detail: str) -> Cause:
    """Say that ``field`` may not be set, or not be changed."""
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def unsupported(field: str, value: Any, supported: Iterable[Any]) -> Cause:
    """Say that ``value`` is none of ``supported``."""
    allowed = ", ".join(_shown(item) for item in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {allowed}", field)


def duplicate(field: str, value: Any) -> Cause:
    """Say that ``value`` is there already."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {_shown(value)}", field)


def wrong_type(field: str, value: Any, expected: str) -> Cause:
    """Say that ``value`` is not of the type ``expected``."""
    found = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    shown = json.dumps(found.get(type(value), "null"))
    message = f"Invalid value: {shown}: {field} in body must be of type {expected}: {shown}"
    return Cause("FieldValueTypeInvalid", message, field)


def _details(resource: Named, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details


def not_found(resource: Named, name: str) -> ApiError:
    """Return 404 for an object."""
    message = f'{resource.group_resource} "{name}" not found'
    return ApiError(404, "NotFound", message, details=_details(resource, name))


def no_such_path() -> ApiError:
    """Return 404 for a path that names no resource."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def no_such_page() -> ApiError:
    """Return the 404 of a path below no API: text, and no Status, as whoever asks too early for a custom resource sees."""
    return ApiError(404, "NotFound", "404 page not found", plain=True)


def already_exists(resource: Named, name: str) -> ApiError:
    """Return 409 for a create of what is there."""
    message = f'{resource.group_resource} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_details(resource, name))


def conflict(resource: Named, name: str, why: str = "") -> ApiError:
    """Return 409 for a change that is based on an old version, or that breaks a precondition."""
    why = why or ("the object has been modified; please apply your changes to the latest version and try again")
    message = f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(resource, name))


def precondition(resource: Named, name: str, why: str) -> ApiError:
    """Return 409 for a delete of what is not as the client thinks; the kind stands where the resource does elsewhere."""
    group = f".{resource.group}" if resource.group else ""
    message = f'Operation cannot be fulfilled on {resource.kind}{group} "{name}": {why}'
    return ApiError(409, "Conflict", message, details={**_details(resource, name), "kind": resource.kind})


def apply_conflict(claims: list[tuple[str, str]]) -> ApiError:
    """Return 409 for an apply that wants fields of others; a claim is (the other manager, the field)."""
    causes = [Cause("FieldManagerConflict", f"conflict with {who}", field) for who, field in claims]
    if len(claims) == 1:
        said = f"1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        by_manager: dict[str, list[str]] = {}
        for who, field in claims:
            by_manager.setdefault(who, []).append(field)
        lines = [
            f"conflicts with {who}:\n" + "\n".join(f"- {f}" for f in fields) for who, fields in by_manager.items()
        ]
        said = f"{len(claims)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", f"Apply failed with {said}", details={"causes": _causes(causes)})


def _causes(causes: Iterable[Cause]) -> list[dict[str, str]]:
    return [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]


def invalid(resource: Named, name: str, causes: list[Cause]) -> ApiError:
    """Return 422 with every cause."""
    return invalid_kind(resource.group, resource.kind, name, causes)


def invalid_kind(group: str, kind: str, name: str, causes: list[Cause]) -> ApiError:
    """Return 422 for a kind that is no resource, such as ``ListOptions``."""
    said = list(dict.fromkeys(str(cause) for cause in causes))
    shown = said[0] if len(said) == 1 else "[" + ", ".join(said) + "]"
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    details |= {"kind": kind, "causes": _causes(causes)}
    qualified = f"{kind}.{group}" if group else kind
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {shown}', details=details)


def bad_request(message: str) -> ApiError:
    """Return 400."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """Return 401."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def unread(message: str) -> ApiError:
    """Return 500 without a reason: what the real server says when its own reading fails, where one would expect 400."""
    return ApiError(500, "", message)


def unpatchable(why: str) -> ApiError:
    """Return 422 for a patch whose outcome cannot be decoded; the real server shows all of the outcome in between."""
    cause = Cause("FieldValueInvalid", f"Invalid value: {why}", "patch")
    message = f' "" is invalid: {cause}'
    return ApiError(422, "Invalid", message, details={"causes": _causes([cause])})


def denied(resource: Named, name: str, why: str) -> ApiError:
    """Return 403."""
    subject = f'{resource.group_resource} "{name}"' if name else resource.group_resource
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details=_details(resource, name))


def terminating(resource: Named, name: str, namespace: str) -> ApiError:
    """Return 403 for a create in a namespace that is being deleted."""
    error = denied(
        resource, name, f"unable to create new content in namespace {namespace} because it is being terminated"
    )
    cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
    error.details = {**(error.details or {}), "causes": _causes([cause])}
    return error


def method_not_allowed() -> ApiError:
    """Return 405."""
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def unsupported_media(accepted: Iterable[str]) -> ApiError:
    """Return 415 with what would be read."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(
        accepted
    )
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable() -> ApiError:
    """Return 406."""
    message = "only the following media types are accepted: application/json, application/yaml"
    return ApiError(406, "NotAcceptable", message)


def expired(message: str, continue_token: str = "") -> ApiError:
    """Return 410: that resourceVersion is gone."""
    return ApiError(410, "Expired", message, continue_token=continue_token)


def too_large_version(asked: int, current: int) -> ApiError:
    """Return 504: the asked resourceVersion is in the future (what a client sees after a restore from backup)."""
    return ApiError(
        504,
        "Timeout",
        f"Too large resource version: {asked}, current: {current}",
        details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
        retry_after=1,
    )
