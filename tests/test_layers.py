"""The rooms keep to their layers: import-linter's rules, and who may know what a Kubernetes URL looks like."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "isthmus"
URL_PARTS = ("/api/v1", "/apis/")
MAY_KNOW_URLS = ("kube/client.py", "lab/")


def docstrings(tree: ast.Module) -> set[int]:
    """Return the ids of the constants that are documentation: they may speak of URLs."""
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }


def url_literals(path: Path) -> list[str]:
    """Return the strings of a module's code (not of its docstrings) that hold a part of a Kubernetes URL."""
    tree = ast.parse(path.read_text("utf-8"))
    spoken = docstrings(tree)
    return [
        f"{path.relative_to(SOURCES)}:{node.lineno}: {node.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken
        if any(part in node.value for part in URL_PARTS)
    ]


def test_every_room_keeps_to_its_layer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No import breaks a contract of .importlinter."""
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_sibling_drivers_and_paths_are_all_listed() -> None:
    """A new driver or path is in the contract that keeps siblings apart: import-linter has no wildcard for them."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    for section, folder, shared in (
        ("sibling-drivers", "drivers", {"base"}),
        ("sibling-paths", "core/paths", set()),
    ):
        listed = set(config[f"importlinter:contract:{section}"]["modules"].split())
        room = SOURCES / folder
        names = {entry.stem for entry in room.iterdir() if not entry.name.startswith("_")} - shared
        assert listed == {f"isthmus.{folder.replace('/', '.')}.{name}" for name in names}


def test_kubernetes_urls_are_known_in_one_place() -> None:
    """Outside the Kubernetes client and the lab, no code spells a Kubernetes URL."""
    found = [
        literal
        for path in sorted(SOURCES.rglob("*.py"))
        if not str(path.relative_to(SOURCES)).startswith(MAY_KNOW_URLS)
        for literal in url_literals(path)
    ]
    assert not found


def test_the_search_for_urls_finds_them() -> None:
    """The check above is not blind: it finds those that the lab spells."""
    assert url_literals(SOURCES / "lab" / "net" / "nodes.py")
