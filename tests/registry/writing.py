"""Files as users write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

API = "isthmus.dev/v1alpha1"


def pool(name: str, *ranges: str) -> dict[str, Any]:
    """Return an AddressPool."""
    return {"apiVersion": API, "kind": "AddressPool", "metadata": {"name": name}, "spec": {"ranges": list(ranges)}}


def write(file: Path, *documents: object) -> Path:
    """Write ``documents`` as a YAML stream (JSON is YAML), text as it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = [document if isinstance(document, str) else json.dumps(document) for document in documents]
    file.write_text("\n---\n".join(texts) + "\n")
    return file
