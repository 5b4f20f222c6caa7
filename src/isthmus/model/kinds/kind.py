"""What all kinds share: the shape of an object, its metadata, and conditions.

An object is what a user wrote (``spec``) plus what we say about it (``status``); ``status`` is never trusted as input.
Everything is frozen and camelCase in files. The confusing thing: Python code may build parts by their field names
(``KubeClusterSpec(in_cluster=True)``), files may not: ``parse`` accepts the camelCase spelling only, or one setting
would have two names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, Strict, WithJsonSchema
from pydantic.alias_generators import to_camel

from isthmus.model.kinds.names import Name

__all__ = [
    "API_VERSION",
    "CATEGORY",
    "GROUP",
    "VERSION",
    "Column",
    "Condition",
    "Key",
    "Kind",
    "Metadata",
    "Part",
    "Status",
    "Timestamp",
    "Whole",
    "YesNo",
    "rule",
]

GROUP = "isthmus.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "isthmus"

Key = tuple[str, str]
"""Kind and name: what one object is called everywhere."""

Whole = Annotated[int, Strict()]
"""An integer that is not "5", 5.0 or true."""

YesNo = Annotated[bool, Strict()]
"""A boolean that is not "yes" or 1."""


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(_stamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in UTC, whole seconds when written, as Kubernetes has it."""


class Part(BaseModel):
    """One block of an object: frozen, camelCase in files, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
    )


def rule(expression: str, message: str, *further: tuple[str, str]) -> dict[str, Any]:
    """Return the schema extra that has the API server check ``expression`` (CEL), and each further one, on this block."""
    rules = ((expression, message), *further)
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class Metadata(Part):
    """The metadata of an object. Users write the name, labels and annotations; an API server adds the rest."""

    name: Name = Field(description="Name of the object, unique among its kind.")
    labels: Mapping[str, str] = Field(default_factory=dict, description="Labels, free for the user.")
    annotations: Mapping[str, str] = Field(default_factory=dict, description="Annotations, some of which we read.")
    uid: str | None = Field(default=None, description="Set by the API server.")
    resource_version: str | None = Field(default=None, description="Set by the API server.")
    generation: Whole | None = Field(default=None, description="Set by the API server; grows with every new spec.")
    creation_timestamp: Timestamp | None = Field(default=None, description="Set by the API server.")
    deletion_timestamp: Timestamp | None = Field(
        default=None,
        description="Set by the API server when somebody deletes the object; this is consent to clean up.",
    )
    deletion_grace_period_seconds: Whole | None = Field(default=None, description="Set by the API server.")
    finalizers: tuple[str, ...] = Field(default=(), description="Who must clean up before the object goes.")
    owner_references: tuple[Mapping[str, Any], ...] = Field(default=(), description="Objects this one goes with.")
    managed_fields: tuple[Mapping[str, Any], ...] = Field(default=(), description="Set by the API server.")
    generate_name: str | None = Field(default=None, description="Set by the API server.")
    self_link: str | None = Field(default=None, description="Set by old API servers.")


class Condition(Part):
    """One statement about an object, with a reason a person can act on (the shape of metav1.Condition)."""

    type: str = Field(description="What the statement is about, in CamelCase.", pattern=r"^[A-Za-z][A-Za-z0-9]*$")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(description="Why, as one CamelCase word for programs.", pattern=r"^[A-Za-z][A-Za-z0-9]*$")
    message: str = Field(default="", description="Why, and what to do about it, for people.", max_length=32768)
    last_transition_time: Timestamp = Field(description="When the status last changed.")
    observed_generation: Whole = Field(default=0, description="Generation of the spec this is about.")


class Status(Part):
    """What we say about an object. Unknown fields are ignored: a newer version of ours may have written them."""

    model_config = ConfigDict(extra="ignore")

    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Statements about the object, one of each type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    observed_generation: Whole | None = Field(
        default=None, description="Generation of the spec this status is about."
    )


@dataclass(frozen=True, slots=True)
class Column:
    """One column of ``kubectl get``: its title, the JSON path of its value, and whether only ``-o wide`` shows it."""

    title: str
    path: str
    type: str = "string"
    wide: bool = False


class Kind(Part):
    """An object of ours. Subclasses add ``kind``, ``spec`` and ``status`` and say what the kind is called."""

    PLURAL: ClassVar[str]
    SINGULAR: ClassVar[str]
    SHORT_NAMES: ClassVar[tuple[str, ...]]
    COLUMNS: ClassVar[tuple[Column, ...]]

    api_version: Literal["isthmus.dev/v1alpha1"] = Field(
        default="isthmus.dev/v1alpha1", description="Version of the kind."
    )
    metadata: Metadata = Field(description="Name, labels and annotations.")

    @property
    def name(self) -> str:
        """Return the object's name."""
        return self.metadata.name

    @property
    def key(self) -> Key:
        """Return kind and name."""
        return type(self).__name__, self.metadata.name

    def document(self) -> dict[str, Any]:
        """Return the object as it would stand in a file: camelCase, plain values, only what was said, no status."""
        body: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True, exclude={"status"})
        return {"apiVersion": API_VERSION, "kind": type(self).__name__, **body}
