"""What every object has in common: its name, its labels, and the fields of ``metadata`` that the server decides.

Rules and texts follow k8s.io/apimachinery (pkg/util/validation, pkg/api/validation/objectmeta.go).
"""

from __future__ import annotations

import re
import secrets
import uuid
from datetime import datetime
from typing import Any

from isthmus.lab.kube.status import Cause, bad, forbidden_field, required

Json = dict[str, Any]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_SERVICE = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_NAMED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = rf"({_NAMED})?"
_ANNOTATIONS_MAX = 256 * 1024

_SUFFIXES = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery pkg/util/rand: no vowels, no words

_NAME_RULES = {
    "subdomain": (
        _SUBDOMAIN,
        253,
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        f"'{_SUBDOMAIN}')",
    ),
    "label": (
        _LABEL,
        63,
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
        f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')",
    ),
    "service": (
        _SERVICE,
        63,
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation "
        f"is '{_SERVICE}')",
    ),
    "path": (r"(?!\.{1,2}$)[^/%]+", 65535, "may not be '.' or '..', and may not contain '/' or '%'"),
}

# What a client cannot change by an update, whatever it sends.
_KEPT = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


def timestamp(now: datetime) -> str:
    """Return ``now`` (in UTC) as the API writes times."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def name_causes(rule: str, name: str, field: str = "metadata.name") -> list[Cause]:
    """Return what is wrong with a name."""
    if not name:
        return [required(field, "name or generateName is required")]
    pattern, longest, text = _NAME_RULES[rule]
    causes = []
    if len(name) > longest:
        causes.append(bad(field, name, f"must be no more than {longest} characters"))
    if not re.fullmatch(pattern, name):
        causes.append(bad(field, name, text))
    return causes


def _qualified(key: str, field: str) -> list[Cause]:
    prefix, slash, name = key.rpartition("/")
    causes = []
    if slash and (not prefix or not re.fullmatch(_SUBDOMAIN, prefix)):
        causes.append(bad(field, key, f"prefix part {_NAME_RULES['subdomain'][2]}"))
    if not name:
        causes.append(bad(field, key, "name part must be non-empty"))
    elif len(name) > 63:
        causes.append(bad(field, key, "name part must be no more than 63 characters"))
    if not re.fullmatch(_NAMED, name):
        causes.append(
            bad(
                field,
                key,
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
                f"'{_NAMED}')",
            )
        )
    return causes


def check_metadata(rule: str, metadata: Json) -> list[Cause]:
    """Return what is wrong with name, labels, annotations, finalizers and owner references."""
    causes = name_causes(rule, metadata.get("name", ""))
    labels = metadata.get("labels") or {}
    for key, value in labels.items():
        causes += _qualified(key, "metadata.labels")
        if len(value) > 63:
            causes.append(bad("metadata.labels", value, "must be no more than 63 characters"))
        if not re.fullmatch(_VALUE, value):
            causes.append(
                bad(
                    "metadata.labels",
                    value,
                    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
                    "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
                    f"regex used for validation is '{_VALUE}')",
                )
            )
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        causes += _qualified(key.lower(), "metadata.annotations")
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATIONS_MAX:
        causes.append(
            Cause(
                "FieldValueTooLong",
                f"Too long: may not be more than {_ANNOTATIONS_MAX} bytes",
                "metadata.annotations",
            )
        )
    for index, name in enumerate(metadata.get("finalizers") or []):
        causes += _qualified(str(name), f"metadata.finalizers[{index}]")
    for owner in metadata.get("ownerReferences") or []:
        for part, word in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not owner.get(part):
                # The real server does not say which one.
                causes.append(bad(f"metadata.ownerReferences.{part}", "", f"{word} must not be empty"))
    return causes


def begin(metadata: Json, *, namespace: str, now: datetime, generation: bool) -> None:
    """Fill in the metadata of a new object."""
    if not metadata.get("name") and metadata.get("generateName"):
        base = str(metadata["generateName"])[:58]
        metadata["name"] = base + "".join(secrets.choice(_SUFFIXES) for _ in range(5))
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    for gone in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
        metadata.pop(gone, None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = timestamp(now)
    if generation:
        metadata["generation"] = 1


def carry_over(metadata: Json, old: Json) -> None:
    """Keep what an update cannot change."""
    for name in _KEPT:
        if name in old:
            metadata[name] = old[name]
        else:
            metadata.pop(name, None)
    metadata.pop("selfLink", None)
    for empty in ("labels", "annotations", "finalizers", "ownerReferences"):
        if not metadata.get(empty, True):
            del metadata[empty]


def check_update(metadata: Json, old: Json) -> list[Cause]:
    """Return what an update may not do to the metadata."""
    if old.get("deletionTimestamp") is None:
        return []
    added = sorted(set(metadata.get("finalizers") or []) - set(old.get("finalizers") or []))
    if not added:
        return []
    detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {added!r}"
    return [forbidden_field("metadata.finalizers", detail)]
