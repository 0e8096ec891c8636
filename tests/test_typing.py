"""What the type checkers are given to prove; `make check` runs them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import flowevents
from flowevents import events, signals, testing

API = Path(__file__).parent / "typing" / "api.py"


def used_in(source: str) -> set[str]:
    """Every name and attribute that some code uses, without its imports."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("module", [flowevents, events, testing], ids=lambda each: each.__name__)
def test_every_public_name_is_used(module: ModuleType) -> None:
    """A name that is added has its types proved, too."""
    assert set(module.__all__) - used_in(API.read_text(encoding="utf-8")) == set()


WRITTEN = (
    *("prep", "exec", "exec_fallback", "post", "exec_stream", "question", "item_label"),
    *("prep_async", "exec_async", "exec_fallback_async", "post_async"),
    *("exec_stream_async", "question_async"),
)
"""The methods that users override."""


@pytest.mark.parametrize(
    "kind",
    [each for each in vars(flowevents).values() if getattr(each, "exec", None)],
    ids=lambda each: each.__name__,
)
def test_parameters_may_have_other_names(kind: type) -> None:
    """Whoever overrides a method calls them as it suits the node, and no type checker objects."""
    for name in WRITTEN:
        if hasattr(kind, name):
            _, *given = inspect.signature(getattr(kind, name)).parameters.values()
            assert all(each.kind is each.POSITIONAL_ONLY for each in given), name


def test_every_signal_is_used() -> None:
    """Its handlers' type is proved."""
    names = {kind.signal for kind in events.EVENT_TYPES}
    assert names <= set(dir(signals))
    assert names - used_in(API.read_text(encoding="utf-8")) == set()


def test_every_method_of_a_run_is_used() -> None:
    """And its attributes."""
    public = {name for name in vars(flowevents.Run) if not name.startswith("_")}
    assert public - used_in(API.read_text(encoding="utf-8")) == set()
