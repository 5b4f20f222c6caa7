"""CustomResourceDefinitions: judging them, and turning each into the resources it defines.

Names are accepted at once (no check against other definitions) and a definition is established by the write that makes
it, where the real server takes a moment. Versions share one storage; only the apiVersion differs on the way out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from isthmus.lab.kube.kinds import Resource
from isthmus.lab.kube.metadata import timestamp
from isthmus.lab.kube.rules import Plain
from isthmus.lab.kube.schemas import check_schema
from isthmus.lab.kube.shapes import schema_shapes
from isthmus.lab.kube.status import Cause, bad, required, unsupported
from isthmus.lab.kube.structural import StructuralRule

Json = dict[str, Any]

BUCKET = "customresourcedefinitions.apiextensions.k8s.io"


def _rank(version: str) -> tuple[int, int, int, str]:
    """Order versions as discovery does: stable before beta before alpha, newer before older."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (3, 0, 0, version)
    major, stage, minor = match.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), version)


class DefinitionRule(Plain):
    """The rule of the CustomResourceDefinition kind itself."""

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Default the names and write the status that the definition's controllers would."""
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        kind = names.get("kind", "")
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
        spec.setdefault("conversion", {"strategy": "None"})
        given = dict(obj.get("status") or {}) if old is not None else {}
        stored = list(given.get("storedVersions") or [])
        stored += [
            version["name"]
            for version in spec.get("versions") or []
            if version.get("storage") and version.get("name") and version["name"] not in stored
        ]
        conditions = given.get("conditions") or [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
        obj["status"] = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Judge names, scope, versions and schemas."""
        spec = obj["spec"]
        names = spec["names"]
        causes = [required(f"spec.{name}") for name in ("group", "scope") if not spec.get(name)]
        causes += [required(f"spec.names.{name}") for name in ("plural", "kind") if not names.get(name)]
        versions = spec.get("versions") or []
        if not versions:
            causes.append(required("spec.versions", "must have at least one version"))
        if causes:
            return causes
        expected = f"{names['plural']}.{spec['group']}"
        if obj["metadata"].get("name") != expected:
            detail = 'must be spec.names.plural+"."+spec.group'
            causes.append(bad("metadata.name", obj["metadata"].get("name", ""), detail))
        if spec["scope"] not in ("Cluster", "Namespaced"):
            causes.append(unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
        if len([version for version in versions if version.get("storage")]) != 1:
            shown = [version.get("name") for version in versions if version.get("storage")]
            detail = "must have exactly one version marked as storage version"
            causes.append(bad("spec.versions", shown, detail))
        for index, version in enumerate(versions):
            causes += _check_version(version, f"spec.versions[{index}]")
        if old is not None:
            before = old["spec"]
            if before["scope"] != spec["scope"]:
                causes.append(bad("spec.scope", spec["scope"], "field is immutable"))
            if before["group"] != spec["group"]:
                causes.append(bad("spec.group", spec["group"], "field is immutable"))
        return causes


def _condition(kind: str, reason: str, message: str) -> Json:
    return {
        "type": kind,
        "status": "True",
        "lastTransitionTime": timestamp(datetime.now(UTC)),
        "reason": reason,
        "message": message,
    }


def _check_version(version: Json, where: str) -> list[Cause]:
    causes = [
        required(f"{where}.{name}") for name in ("name", "served", "storage") if version.get(name) in (None, "")
    ]
    for listed, wanted in (
        ("additionalPrinterColumns", ("name", "type", "jsonPath")),
        ("selectableFields", ("jsonPath",)),
    ):
        for index, entry in enumerate(version.get(listed) or []):
            causes += [required(f"{where}.{listed}[{index}].{name}") for name in wanted if not entry.get(name)]
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(schema, dict):
        return [*causes, required(f"{where}.schema.openAPIV3Schema", "schemas are required")]
    return causes + check_schema(schema, f"{where}.schema.openAPIV3Schema", root=True)


def defined_resources(definition: Json) -> tuple[Resource, ...]:
    """Return the resources of a definition (in stored form), one for each served version, best first."""
    spec = definition["spec"]
    names, group = spec["names"], spec["group"]
    served = sorted(
        (version for version in spec["versions"] if version.get("served")), key=lambda version: _rank(version["name"])
    )
    rows = []
    for version in served:
        schema = version["schema"]["openAPIV3Schema"]
        rows.append(
            Resource(
                group,
                version["name"],
                names["kind"],
                names["plural"],
                spec["scope"] == "Namespaced",
                tuple(names.get("shortNames") or ()),
                tuple(names.get("categories") or ()),
                singular=names.get("singular", ""),
                list_kind=names.get("listKind", ""),
                status="status" in (version.get("subresources") or {}),
                generation=True,
                custom=True,
                unconditional=False,
                fields=tuple(entry["jsonPath"].lstrip(".") for entry in version.get("selectableFields") or ()),
                columns=tuple(version.get("additionalPrinterColumns") or ()),
                schema=schema,
                rule=StructuralRule(schema),
                shapes=schema_shapes(schema),
            )
        )
    return tuple(rows)
