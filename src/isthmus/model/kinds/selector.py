"""Label selectors, with the meaning they have in Kubernetes.

All that is said must hold; an empty selector matches everything. The one surprise, kept on purpose because it is
Kubernetes': ``NotIn`` also matches what does not carry the label at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from isthmus.model.kinds.kind import Part
from isthmus.model.kinds.names import LabelKey, LabelValue
from isthmus.model.kinds.wrong import Wrong

__all__ = ["LabelSelector", "Requirement"]


class Requirement(Part):
    """One requirement on one label."""

    key: LabelKey = Field(description="The label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How its value is judged.")
    values: tuple[LabelValue, ...] = Field(
        default=(), max_length=1000, description="The values for In and NotIn; none for Exists and DoesNotExist."
    )

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.operator in ("In", "NotIn") and not self.values:
            raise Wrong(f"{self.operator} needs values", "write values: [...]")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise Wrong(f"{self.operator} takes no values", "remove them, or use In", at=("values",))
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet this requirement."""
        match self.operator:
            case "In":
                return self.key in labels and labels[self.key] in self.values
            case "NotIn":
                return self.key not in labels or labels[self.key] not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


class LabelSelector(Part):
    """Chooses objects by their labels; empty chooses all."""

    match_labels: Mapping[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that must be there with exactly these values."
    )
    match_expressions: tuple[Requirement, ...] = Field(
        default=(), max_length=100, description="Requirements that must all hold."
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet everything that is said here."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )
