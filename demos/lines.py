"""Counts lines of code: of Python files, and of the program under each heading of a page."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path


def lines_of_code(text: str) -> int:
    """The lines that hold code: not those that are blank, a comment or a docstring."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(ast.Constant(str())):
                docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(number not in docstrings and bool(re.match(r"\s*[^\s#]", x)) for number, x in lines)


def programs(path: Path) -> Iterator[tuple[str, str]]:
    """Names and texts: of a page its headings, each with the first block of Python below it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        yield path.name, text
        return
    for heading, section in re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", text, re.M | re.S):
        if block := re.search(r"^```python\n(.*?)^```$", section, re.M | re.S):
            yield heading, block[1]


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        for name, text in programs(path):
            print(f"{lines_of_code(text):5} {name}")


if __name__ == "__main__":
    main()
