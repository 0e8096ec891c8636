"""How much an installed package and what it requires take on the disk."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def size(distribution: str) -> int:
    """The bytes of a distribution's files and of all that it requires, without compiled Python."""
    return sum(map(_own_size, _with_requirements(distribution)))


def _with_requirements(distribution: str) -> set[str]:
    """The names of a distribution and of what it requires, as far as that is installed."""
    found: set[str] = set()
    left = [distribution]
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        try:
            requires = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:  # for another system or Python
            continue
        found.add(name)
        left += [_named(each) for each in requires if "extra ==" not in each]
    return found


def _named(requirement: str) -> str:
    match = _NAME.match(requirement)
    assert match, requirement
    return match.group()


def _own_size(distribution: str) -> int:
    ours = ROOT / distribution
    if ours.is_dir():  # installed as a link to this folder
        files = set(ours.rglob("*"))
    else:
        found = metadata.distribution(distribution).files
        files = {Path(str(file.locate())) for file in found or ()}
    return sum(file.stat().st_size for file in files if _counts(file))


def _counts(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts
