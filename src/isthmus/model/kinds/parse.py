"""From a plain document (what YAML or JSON gives) to an object, or to everything that is wrong with it at once.

Pydantic finds the errors; this module says them in words a person can act on: where, why, and the way out, with the
closest field or kind for a slip of the pen. It knows field paths, not files and lines: ``registry`` adds those.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from isthmus.model.kinds.kind import API_VERSION, GROUP, Key, Kind
from isthmus.model.kinds.known import KINDS
from isthmus.model.kinds.wrong import Wrong, closest

__all__ = ["FieldPath", "FieldProblem", "Parsed", "field_text", "key_of", "parse"]

FieldPath = tuple[str | int, ...]

_YAML_KINDS: dict[type, str] = {bool: "a boolean", int: "a number", float: "a number", type(None): "nothing"}
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a block of fields",
    "model_attributes_type": "a block of fields",
    "dict_type": "a block of keys and values",
    "mapping_type": "a block of keys and values",
}


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong at ``path``; ``unquoted`` when YAML read as something else what was meant as text."""

    path: FieldPath
    reason: str
    remedy: str = ""
    unquoted: bool = False

    def __str__(self) -> str:
        said = f"{self.reason} ({self.remedy})" if self.remedy else self.reason
        return f"{field_text(self.path)}: {said}" if self.path else said


@dataclass(frozen=True, slots=True)
class Parsed:
    """An object, or the problems that kept it from being one; ``key`` as far as the document tells it."""

    key: Key | None
    object: Kind | None
    problems: tuple[FieldProblem, ...] = ()


def field_text(path: FieldPath) -> str:
    """Return ``path`` as people write it: ``spec.overlay.networks[0]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def key_of(document: object) -> Key | None:
    """Return kind and name of ``document``, valid or not, or None where it does not say them."""
    if not isinstance(document, Mapping):
        return None
    metadata = document.get("metadata")
    kind, name = document.get("kind"), metadata.get("name") if isinstance(metadata, Mapping) else None
    return (kind, name) if isinstance(kind, str) and isinstance(name, str) and kind and name else None


def parse(document: object, *, drivers: Collection[str] | None = None) -> Parsed:
    """Return the object that ``document`` says, or all its problems; ``drivers`` are the known ones (None: any)."""
    key = key_of(document)
    if not isinstance(document, Mapping):
        return Parsed(None, None, (FieldProblem((), "is not an object", "it begins with apiVersion: and kind:"),))
    problem = _unknown_kind(document)
    if problem is not None:
        return Parsed(key, None, (problem,))
    model = KINDS[document["kind"]]
    problems: list[FieldProblem] = []
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping) and "namespace" in metadata:
        problems.append(FieldProblem(("metadata", "namespace"), f"a {model.__name__} has no namespace", "remove it"))
        document = {**document, "metadata": {name: value for name, value in metadata.items() if name != "namespace"}}
    try:
        found = model.model_validate(document, context={"drivers": drivers}, by_alias=True, by_name=False)
    except ValidationError as error:
        problems.extend(
            _explained(details, model) for details in error.errors(include_url=False) if not _follows(details)
        )
        return Parsed(key, None, tuple(problems))
    return Parsed(key, None if problems else found, tuple(problems))


def _unknown_kind(document: Mapping[Any, Any]) -> FieldProblem | None:
    kind, version = document.get("kind"), document.get("apiVersion")
    known = "known kinds: " + ", ".join(KINDS)
    if not isinstance(kind, str):
        return FieldProblem(("kind",), "is missing" if kind is None else "must be text", known)
    if isinstance(version, str) and version != API_VERSION and kind in KINDS:
        return FieldProblem(("apiVersion",), f'{kind} of "{version}" is not known', f"write {API_VERSION}")
    if isinstance(version, str) and version.partition("/")[0] != GROUP and closest(kind, KINDS) is None:
        return FieldProblem(("kind",), f"{kind} of {version} is not an object of Isthmus", known)
    if kind not in KINDS:
        meant = closest(kind, KINDS)
        return FieldProblem(("kind",), f'no kind is called "{kind}"', f"did you mean {meant}?" if meant else known)
    if version != API_VERSION:
        return FieldProblem(
            ("apiVersion",), "is missing" if version is None else "must be text", f"write {API_VERSION}"
        )
    return None


def _follows(details: ErrorDetails) -> bool:
    """Return whether a list is only "too short" because entries of it were refused, which is reported by itself."""
    value = details["input"]
    return (
        details["type"] == "too_short"
        and isinstance(value, list | tuple)
        and len(value) >= details.get("ctx", {}).get("min_length", 0)
    )


def _explained(details: ErrorDetails, model: type[Kind]) -> FieldProblem:
    # The keys of a mapping are reported as (..., key, "[key]"): the key itself is the place.
    path: FieldPath = tuple(step for step in details["loc"] if step != "[key]")
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    wrong = context.get("error")
    if isinstance(wrong, Wrong):
        return FieldProblem((*path, *wrong.at), wrong.reason, wrong.remedy)
    if kind == "missing":
        return FieldProblem(path, "is missing", "it must be said")
    if kind == "extra_forbidden":
        return _unknown_field(path, model)
    if kind == "string_type" and isinstance(value, bool | int | float):
        return FieldProblem(
            path, f"must be text, and reads as {_YAML_KINDS[type(value)]}", "put it in quotes", unquoted=True
        )
    if kind in _EXPECTED:
        return FieldProblem(path, f"must be {_EXPECTED[kind]}, not {_named(value)}", _hint(kind, value))
    if kind == "literal_error":
        return _not_among(path, value, context)
    if kind in ("too_short", "too_long"):
        bound = (
            f"at least {context.get('min_length')}" if kind == "too_short" else f"at most {context.get('max_length')}"
        )
        return FieldProblem(path, f"has {context.get('actual_length')} entries", f"write {bound}")
    # Pydantic's own words for the rest ("Input should be less than or equal to 255") say both reason and way out.
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return FieldProblem(path, message[:1].lower() + message[1:], f"it is {value}" if isinstance(value, int) else "")


def _named(value: object) -> str:
    if isinstance(value, Mapping):
        return "a block of fields"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        return f'"{value}"'
    return (
        str(value)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else _YAML_KINDS.get(type(value), type(value).__name__)
    )


def _hint(kind: str, value: object) -> str:
    if kind == "tuple_type" and isinstance(value, str):
        return f'write ["{value}"]'
    if isinstance(value, str) and (
        (kind == "int_type" and value.isdigit()) or (kind == "bool_type" and value in ("true", "false"))
    ):
        return f"write {value} without quotes"
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("yes", "on", "no", "off"):
        return f"write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    return ""


def _not_among(path: FieldPath, value: object, context: Mapping[str, Any]) -> FieldProblem:
    expected = str(context.get("expected", "")).replace("'", "")
    if not isinstance(value, str):
        return FieldProblem(path, f"must be one of {expected}, not {_named(value)}", unquoted=isinstance(value, bool))
    choices = expected.replace(" or ", ", ").split(", ")
    meant = closest(value, choices)
    return FieldProblem(path, f'"{value}" is not one of {expected}', f"did you mean {meant}?" if meant else "")


def _unknown_field(path: FieldPath, model: type[Kind]) -> FieldProblem:
    name = str(path[-1])
    known = sorted(_fields(_model_at(model, path[:-1])))
    meant = closest(name, known)
    if meant:
        return FieldProblem(path, f'no field is called "{name}"', f"did you mean {meant}?")
    return FieldProblem(path, f'no field is called "{name}"', "known fields: " + ", ".join(known) if known else "")


def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {}
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_at(model: type[BaseModel] | None, path: FieldPath) -> type[BaseModel] | None:
    for step in path:
        if isinstance(step, int):
            continue  # an index stays within the element type that the list's field already led to
        model = _inner(_fields(model).get(step))
    return model


def _inner(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside ``X``, ``X | None`` or ``tuple[X, ...]``, if there is one."""
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple):
        for argument in get_args(annotation):
            found = _inner(argument)
            if found is not None:
                return found
    return None
