"""Reads JSON into our own frozen types, strictly: every field's type, every address, nothing that is not known.

``msgspec`` checks types at the speed of C, but it knows no ``ipaddress`` objects in unions. So for each of our types a twin
is made once, in which addresses are text; what was read into the twin is then built into the real thing. A new field of a
resource needs nothing here.

The one confusing thing: a scope in an IPv6 address (``fe80::1%anything``) is accepted by ``ipaddress`` and may hold any text.
It is refused here, because text that nobody has checked must not travel on inside a value that looks checked.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from socket import AF_INET, AF_INET6, inet_pton
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec

__all__ = ["BadMessage", "Reader"]

T = TypeVar("T")
Build = Callable[[Any], Any]

_LONGEST = 4096
_PLAIN = (str, int, float, bool, tuple, type(None))
_Text = Annotated[str, msgspec.Meta(max_length=_LONGEST)]


def _address(text: str) -> IPv4Address | IPv6Address:
    """Return what ``ip_address`` does, in a third of its time: there may be a quarter of a million members."""
    try:
        if ":" in text:
            return IPv6Address(inet_pton(AF_INET6, text))
        return IPv4Address(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        return ip_address(text)  # which says what is wrong with it


_PARSERS: tuple[tuple[frozenset[type], Build, str], ...] = (
    (frozenset({IPv4Address, IPv6Address}), _address, "an IP address"),
    (frozenset({IPv4Network, IPv6Network}), ip_network, "an IP network"),
    (frozenset({IPv4Interface, IPv6Interface}), ip_interface, "an address with its prefix length"),
)


class BadMessage(ValueError):
    """What was read is not what it should be; ``place`` is a path in the message, ``$`` its root."""

    def __init__(self, reason: str, place: str = "") -> None:
        self.reason = reason
        self.below = place
        super().__init__(reason)

    @property
    def place(self) -> str:
        """Return the path to the bad value."""
        return f"${self.below}"


class Reader(Generic[T]):
    """Decodes messages of one type."""

    def __init__(self, model: type[T]) -> None:
        twin, self._build = _twin(model)
        self._decoder = msgspec.json.Decoder(twin)

    def read(self, raw: bytes) -> T:
        """Return the message; raise ``BadMessage`` that names the place and the reason."""
        try:
            found = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at `$")
            raise BadMessage(reason, place.rstrip("`")) from error
        except msgspec.DecodeError as error:
            raise BadMessage(f"is not JSON: {error}") from error
        except RecursionError as error:
            raise BadMessage("is nested too deeply") from error
        built: T = self._build(found)
        return built


_twins: dict[type, tuple[Any, Build]] = {}


def _twin(hint: Any) -> tuple[Any, Build]:
    """Return the type to decode ``hint`` as, and how to build it from that."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner = get_args(hint)[0]
        twin, build = (str, _same) if inner is str else _twin(inner)  # it says its own longest
        return Annotated[(twin, *hint.__metadata__)], build
    if origin in (types.UnionType, Union):
        return _union(get_args(hint))
    if origin is tuple and get_args(hint)[1:] == (...,):
        return _many(get_args(hint)[0])
    if origin in (Mapping, dict) or hint is Mapping:
        key, value = get_args(hint)
        return _mapping(key, value)
    if origin is frozenset:
        return hint, _same
    if origin is Literal or hint in (int, bool, float, type(None)):
        return hint, _same
    if hint is str:
        return _Text, _same
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _struct(hint)
    raise TypeError(f"{hint!r} cannot be read from JSON")


def _same(value: Any) -> Any:
    return value


def _union(members: tuple[Any, ...]) -> tuple[Any, Build]:
    left = list(members)
    builders: dict[type, Build] = {}
    twins: list[Any] = []
    for kinds, parse, what in _PARSERS:
        if kinds <= set(left):
            left = [one for one in left if one not in kinds]
            twins.append(_Text)
            builders[str] = _parser(parse, what)
    for one in left:
        twin, build = _twin(one)
        twins.append(twin)
        if isinstance(twin, type):
            builders[twin] = build
    build_one = builders.get

    def build_union(value: Any) -> Any:
        build = build_one(type(value))
        return value if build is None else build(value)

    return Union[tuple(twins)], build_union  # noqa: UP007  # made at run time


def _parser(parse: Build, what: str) -> Build:
    def build(text: str) -> Any:
        try:
            if "%" in text:
                raise ValueError("an interface is not part of an address here")
            return parse(text)
        except ValueError as error:
            raise BadMessage(f"{text[:80]!r} is not {what}: {error}") from error

    return build


def _many(item: Any) -> tuple[Any, Build]:
    twin, build_item = _twin(item)

    def build(values: Any) -> tuple[Any, ...]:
        try:
            return tuple([build_item(value) for value in values])
        except BadMessage:
            # Only now: counting along would cost the good case.
            for index, value in enumerate(values):
                _at(f"[{index}]", build_item, value)
            raise

    made: Any = tuple.__class_getitem__((twin, ...))
    return made, build_item if build_item is _same else build


def _mapping(key: Any, value: Any) -> tuple[Any, Build]:
    twin, build_value = _twin(value)

    def build(values: Any) -> dict[Any, Any]:
        return {name: _at(f"[{str(name)[:80]!r}]", build_value, one) for name, one in values.items()}

    made: Any = dict.__class_getitem__((_twin(key)[0], twin))
    return made, _same if build_value is _same else build


def _struct(model: type[msgspec.Struct]) -> tuple[Any, Build]:
    known = _twins.get(model)
    if known is not None:
        return known
    config = model.__struct_config__
    fields: list[Any] = []
    changed: list[tuple[int, str, Build]] = []
    for index, field in enumerate(msgspec.structs.fields(model)):
        twin, build = _twin(field.type)
        if field.required:
            fields.append((field.name, twin))
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, twin, msgspec.field(default_factory=field.default_factory)))
        elif isinstance(field.default, msgspec.Struct):
            assert field.default == type(field.default)(), (
                f"{model.__name__}.{field.name}: its default has values of its own"
            )
            fields.append((field.name, twin, msgspec.field(default_factory=twin)))
        else:
            assert isinstance(field.default, _PLAIN), (
                f"{model.__name__}.{field.name}: its default is no text, number, ()"
            )
            fields.append((field.name, twin, field.default))
        if build is not _same:
            changed.append((index, field.name, build))
    made = msgspec.defstruct(
        f"{model.__name__}Read",
        fields,
        tag=config.tag,
        tag_field=config.tag_field,
        forbid_unknown_fields=True,
        kw_only=True,
    )
    values_of = msgspec.structs.astuple

    def build_struct(read: Any) -> Any:
        values = list(values_of(read))
        for index, name, build in changed:
            try:
                values[index] = build(values[index])
            except BadMessage as error:
                raise BadMessage(error.reason, f".{name}{error.below}") from error
        return model(*values)

    _twins[model] = made, build_struct
    return _twins[model]


def _at(place: str, build: Build, value: Any) -> Any:
    try:
        return build(value)
    except BadMessage as error:
        raise BadMessage(error.reason, f"{place}{error.below}") from error
