"""The list of bugs is in form: each stands in the code as it is now, each names tests that exist, each row says its why."""

from __future__ import annotations

import ast

import pytest

from .rows import ROOT, Mutant, mutants, rows


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_bug_fits_the_code_as_it_is(mutant: Mutant) -> None:
    """Planted, the file is still Python and is another one."""
    text = mutant.planted(ROOT)
    ast.parse(text)
    assert text != (ROOT / mutant.file).read_text()


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_the_tests_that_see_a_bug_exist(mutant: Mutant) -> None:
    """A test that was renamed or moved is noticed here and not by a run that takes minutes."""
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not name or name in names, f"{path} has no {name}"


def test_every_published_failure_is_here_once_and_has_a_bug_or_a_reason() -> None:
    """There are as many rows as the page of failures has, and none is there for show."""
    found = rows()
    assert len({row.pattern for row in found}) == len(found) == 23
    for row in found:
        assert row.mutants or row.not_reached, row.pattern
    names = [mutant.name for mutant in mutants()]
    assert len(set(names)) == len(names)
