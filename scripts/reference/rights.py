"""rights.md: every rule of RBAC that ``deploy/`` hands out, and what it is for, as the comment above it says.

The manifests are read as YAML for what is allowed, and as lines for why. A rule without a comment of its own shares that of
the rule above it; the first one has that of its document. One that has none at all ends this with an error: it would be a
right that nobody could give a reason for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from reference.markdown import code, table

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_WHERE = {
    "base/joined": "Every cluster that a controller joins",
    "base/home": "The home cluster, which has the user's objects",
    "base/node-agent": "The node agent",
    "components/path-overlay": "Path overlay",
    "components/encapsulation-ipip": "IP in IP instead of VXLAN (the node agent)",
    "components/path-flannel": "Path flannel",
    "components/share-devices": "Devices shared among controllers (`--share-devices`)",
    "components/device-credentials": "Credentials of devices in Secrets",
    "overlays/node-controller-replacement/controller": "In the place of an older node controller (`--from-env`)",
}


def rights_page() -> str:
    """Return the page: a table for each folder that has rules."""
    found = {str(path.parent.relative_to(DEPLOY)) for path in DEPLOY.rglob("*.yaml") if list(_roles(path))}
    assert found == _WHERE.keys(), f"folders with rules, and those that are described here: {found ^ _WHERE.keys()}"
    parts = [
        "# Rights\n\nWhat the manifests in `deploy/` let our service accounts do, and why. A controller in the cluster is "
        "given some of these ([how](../how-to/install-in-a-cluster.md)); nothing may do everything, and Secrets are read by "
        "name. A test runs controller and agent against a real kube-apiserver with these rules: nothing is refused, and none "
        "is idle."
    ]
    for folder, title in _WHERE.items():
        rows = [row for path in sorted((DEPLOY / folder).glob("*.yaml")) for row in _roles(path)]
        parts.append(f"## {title}\n\n{code(f'deploy/{folder}')}\n\n" + table(("May", "What", "Where", "Why"), rows))
    return "\n\n".join(parts)


def _roles(path: Path) -> Iterator[tuple[str, str, str, str]]:
    for text in path.read_text("utf-8").split("\n---\n"):
        document = yaml.safe_load(text)
        if not isinstance(document, dict) or document.get("kind") not in ("Role", "ClusterRole"):
            continue
        place = document["metadata"].get("namespace")
        for rule, why in zip(document["rules"], _reasons(text), strict=True):
            assert why, f"{path}: nobody says why {rule}"
            yield (", ".join(rule["verbs"]), _what(rule), code(place) if place else "the cluster", why)


def _reasons(text: str) -> Iterator[str]:
    """Yield the comment of each rule, in order: its own, that of the rule above, or the document's."""
    document: list[str] = []
    own: list[str] = []
    why = ""
    for line in text.splitlines():
        words = line.strip()
        if line.startswith("#"):
            document.append(words.lstrip("# "))
        elif words.startswith("#"):
            own.append(words.lstrip("# "))
        elif words.startswith("- apiGroups:"):
            why = " ".join(own) or why or " ".join(document)
            own = []
            yield why


def _name(resource: str, group: str) -> str:
    plural, _, part = resource.partition("/")
    return (f"{plural}.{group}" if group else plural) + (f"/{part}" if part else "")


def _what(rule: dict[str, Any]) -> str:
    resources = [_name(one, group) for group in rule["apiGroups"] for one in rule["resources"]]
    names = rule.get("resourceNames")
    said = ", ".join(code(one) for one in resources)
    return f"{said}, named {', '.join(code(one) for one in names)}" if names else said
