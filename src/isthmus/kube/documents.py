"""Documents inside of ConfigMaps, made flat: ``net-conf.json`` gives ``net-conf.json:Backend.Type`` and so on.

JSON or YAML by the key's name. Templates of CNI configurations hold ``__PLACEHOLDERS__`` where numbers will be, so they are
no JSON yet; those count as null. A document that was read has its own name with a colon as a key, so that one that says
nothing is told from one that is broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import yaml

_JSON = ("net-conf.json", "cni-conf.json", "cni_network_config")
_YAML = ("antrea-agent.conf",)
_PLACEHOLDER = re.compile(r'(?<!")__[A-Z0-9_]+__(?!")')
_TOO_LONG = 256 * 1024
_TOO_DEEP = 20


def flat(data: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Return the texts of a ConfigMap, and in place of each document that we know its values, flat."""
    found: dict[str, str] = {}
    for key, text in data.items():
        if key not in _JSON and key not in _YAML:
            found[key] = text
            continue
        document = _document(key, text, problems)
        if not isinstance(document, dict):
            continue
        found[f"{key}:"] = "read"
        found.update((f"{key}:{path}", value) for path, value in _values(document, ""))
    return found


def _document(key: str, text: str, problems: list[str]) -> Any:
    if len(text) > _TOO_LONG:
        problems.append(f"{key} is too long to be read: {len(text)} characters")
        return None
    try:
        if key in _YAML:
            return yaml.load(text, Loader=_Plain)  # noqa: S506 - it is a safe loader
        return msgspec.json.decode(_PLACEHOLDER.sub("null", text))
    except (msgspec.MsgspecError, yaml.YAMLError, RecursionError, UnicodeError, ValueError) as error:
        problems.append(f"{key} cannot be read: {str(error).splitlines()[0][:200]}")
        return None


def _values(found: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > _TOO_DEEP:
        return
    if isinstance(found, dict):
        for key, value in found.items():
            yield from _values(value, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from _values(value, f"{path}.{index}" if path else str(index), depth + 1)
    elif isinstance(found, bool):
        yield path, "true" if found else "false"
    elif isinstance(found, str | int | float):
        yield path, str(found)


class _Plain(yaml.SafeLoader):
    """A safe loader without aliases: a few lines of them make a document that is endless once it is made flat."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)
