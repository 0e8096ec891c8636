"""The package itself: its version, and the names that are imported when they are first used."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import flowevents

ROOT = Path(__file__).parent.parent


def run(code: str) -> str:
    """What some code prints in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_version_is_that_of_what_is_installed() -> None:
    """It stands in one place, where the build reads it."""
    assert flowevents.__version__ == metadata.version("flowevents")


def test_all_names_are_listed_before_they_are_used() -> None:
    """`dir`, and with it completion, knows those that are imported later."""
    listed = run("import flowevents; print(*dir(flowevents))").split()
    assert {*flowevents.__all__, "RedisJournal", "TraceObserver", "__version__"} <= set(listed)


@pytest.mark.parametrize("name", ["TraceObserver", "backoff", "TerminalDisplay"])
def test_a_name_is_imported_from_the_package(name: str) -> None:
    """Wherever it is defined."""
    assert run(f"from flowevents import {name}; print({name}.__name__)").strip() == name


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("TraceObserver", "opentelemetry", "otel"), ("RedisJournal", "redis", "redis")],
)
def test_what_an_extra_brings_is_named_where_it_is_missing(
    name: str, package: str, extra: str
) -> None:
    """Who asks for it is told the extra; all else works without, `import *` and `help` too."""
    printed = run(
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "import flowevents, inspect\n"
        "from flowevents import *\n"
        "inspect.getmembers(flowevents)\n"
        "try:\n"
        f"    from flowevents import {name}\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert f"pip install flowevents[{extra}]" in printed


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = flowevents.Nothing
