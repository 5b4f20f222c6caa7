"""Tables: lists and objects as rows, which is what ``kubectl get`` asks for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from isthmus.lab.kube.columns import layout
from isthmus.lab.kube.kinds import Resource
from isthmus.lab.kube.store import Record

Json = dict[str, Any]


def table(resource: Resource, records: Iterable[Record], meta: Json, *, include: str, columns: bool = True) -> bytes:
    """Return a meta.k8s.io/v1 Table; ``include`` is None, Metadata or Object: what of the object goes with each row."""
    chosen, now = layout(resource), datetime.now(UTC)
    rows = []
    for record in records:
        obj = record.obj()
        row: Json = {"cells": chosen.cells(obj, now), "object": None}
        if include == "Object":
            row["object"] = {"kind": resource.kind, "apiVersion": resource.api_version, **obj}
        elif include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": obj["metadata"],
            }
        rows.append(row)
    return msgspec.json.encode(
        {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": meta,
            "columnDefinitions": chosen.columns if columns else None,
            "rows": rows,
        }
    )


class TableForm:
    """Write each event of a watch as a table of one row; the columns come with the first only."""

    key: object = None  # which event is the first differs between watchers, so nothing is shared

    def __init__(self, resource: Resource, include: str) -> None:
        self._resource = resource
        self._include = include
        self._first = True

    def write(self, record: Record) -> bytes:
        """Return the table."""
        first, self._first = self._first, False
        meta = {"resourceVersion": str(record.rv)}
        return table(self._resource, [record], meta, include=self._include, columns=first)
