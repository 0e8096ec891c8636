"""The documentation: its examples run and print what it says, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

import flowevents
from flowevents import errors, testing
from flowevents.events import EVENT_TYPES, Event
from flowevents.run import RunOptions, RunStatus

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
EVERY_PAGE = [
    *PAGES,
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md")),
    *(ROOT / name / "README.md" for name in ("demos", "benchmarks")),
]
MARK = "\x1e"  # printed where an example begins


def name_of(page: Path) -> str:
    """A page's path in the project, which names its test."""
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    """The page's text."""
    return page.read_text(encoding="utf-8")


# -- examples -------------------------------------------------------------------------------------


class Example(NamedTuple):
    """A block of Python, and the block of text that follows it, or nothing.

    Attributes:
        line: The line of its fence, from 1.
    """

    line: int
    code: str
    prints: str


def blocks(text: str) -> Iterator[tuple[int, int, str, str]]:
    """A page's fenced blocks: the lines of both fences, from 1, the language and what is between.

    Raises `AssertionError` for one that is not closed.
    """
    opened: tuple[int, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if opened is None:
            if line.startswith("```"):
                opened, inside = (number, line[3:].strip()), []
        elif line == "```":
            yield opened[0], number, opened[1], "".join(each + "\n" for each in inside)
            opened = None
        else:
            inside.append(line)
    assert opened is None, f"The block of line {opened} is not closed."


def examples(text: str) -> list[Example]:
    """A page's examples, in order."""
    lines = text.splitlines()
    found: list[Example] = []
    code_ends: int | None = None  # the last fence, where that closed an example
    for begins, ends, language, inside in blocks(text):
        follows = code_ends is not None and not "".join(lines[code_ends : begins - 1]).strip()
        if language == "text" and follows:
            found[-1] = found[-1]._replace(prints=inside)
        code_ends = None
        if language == "python":
            found.append(Example(begins, inside, ""))
            code_ends = ends
    return found


def script(found: list[Example]) -> str:
    """A page's examples as one program, each on the lines that it has in the page."""
    lines: list[str] = []
    for example in found:
        lines += [""] * (example.line - 1 - len(lines))
        lines += [f"print({MARK!r}, end='')", *example.code.splitlines()]
    return "\n".join(lines) + "\n"


def check_page(page: Path, text: str, where: Path) -> None:
    """Run a page's examples in order, as one program in which every warning is an error.

    Raises `AssertionError` where one fails, writes to stderr, or prints anything but what stands
    below it; below one that prints nothing there is no text.
    """
    found = examples(text)
    program = where / f"{page.stem}.md.py"
    program.write_text(script(found), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{page}:\n{done.stderr}"
    printed = done.stdout.split(MARK)[1:]
    assert len(printed) == len(found)
    for example, out in zip(found, printed, strict=True):
        assert out == example.prints, f"{page}, line {example.line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_examples_of_a_page_print_what_it_says(page: Path, tmp_path: Path) -> None:
    """Every Python block runs, and what it prints is the text block that follows it."""
    text = read(page)
    if page.stem != "architecture":
        assert examples(text), f"{page} has no example"
    check_page(page, text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\nprint(1)\n```\n",
        "```python\nprint(1)\n```\n\nSaid between.\n\n```text\n1\n```\n",
        "```python\nx = 1\n```\n\n```text\n1\n```\n",
        "```python\nraise ValueError\n```\n",
        "```python\nimport warnings\nwarnings.warn('old')\n```\n",
        "```python\nimport sys\nprint('hm', file=sys.stderr)\n```\n",
        "```python\nprint(1)\n",
    ],
)
def test_a_broken_example_is_found(text: str, tmp_path: Path) -> None:
    """A wrong, missing or misplaced output, an error, a warning and an open block all fail."""
    with pytest.raises(AssertionError):
        check_page(Path("broken.md"), text, tmp_path)


def test_an_error_names_the_line_of_the_page(tmp_path: Path) -> None:
    """The traceback of an example that fails points at its line in the page."""
    text = "# Title\n\n```python\nx = 0\n```\n\nText.\n\n```python\n1 / x\n```\n"
    with pytest.raises(AssertionError, match="line 10"):
        check_page(Path("broken.md"), text, tmp_path)


# -- links ----------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """A page without its fenced blocks and without code in its lines."""
    lines = text.splitlines()
    for begins, ends, _, _ in blocks(text):
        lines[begins - 1 : ends] = [""] * (ends - begins + 1)
    return re.sub(r"`[^`\n]*`", "", "\n".join(lines))


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings can be linked to."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?^```$", "", read(page), flags=re.M | re.S), re.M
    )
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_links_lead_to_what_is_there(page: Path) -> None:
    """Every relative link names a file of the project, and a heading where it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(read(page))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)} links to {target}, which is not there"
        assert file.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)} links to {target}, no heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    """The README links to each page of the docs."""
    assert {f"docs/{page.name}" for page in DOCS} <= set(
        re.findall(r"\]\(([^)\s]+)\)", read(ROOT / "README.md"))
    )


# -- completeness ---------------------------------------------------------------------------------


def test_the_readme_shows_both_commands() -> None:
    """`make demo` and `make test` each stand in a block of commands."""
    shown = [
        line.split("#")[0].strip()
        for _, _, language, inside in blocks(read(ROOT / "README.md"))
        if language == "sh"
        for line in inside.splitlines()
    ]
    assert {"make demo", "make test"} <= set(shown)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_every_make_command_that_is_named_is_there(page: Path) -> None:
    """What a page tells to make, the Makefile makes."""
    made = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.M))
    text = read(page)
    named = set(re.findall(r"`make ([a-z-]+)", text))
    for _, _, language, inside in blocks(text):
        if language == "sh":
            named |= set(re.findall(r"\bmake ([a-z-]+)", inside))
    assert named <= made


def mentioned(*pages: Path) -> set[str]:
    """The names that stand in code: in blocks, and in the lines of a page."""
    code = []
    for text in map(read, pages):
        code += [inside for *_, inside in blocks(text)]
        code += re.findall(r"`([^`\n]+)`", text)
        code += re.findall(r"^    .+$", text, re.M)
        code += re.findall(r"\[(\w+)\]\(", text)
    return set(re.findall(r"\w+", " ".join(code)))


def test_every_public_name_is_in_the_docs() -> None:
    """What `flowevents` exports is named in a page of the docs."""
    assert set(flowevents.__all__) - mentioned(*DOCS) == set()


def test_every_helper_for_tests_is_in_its_page() -> None:
    """What `flowevents.testing` exports is named in its page."""
    assert set(testing.__all__) - mentioned(ROOT / "docs" / "testing.md") == set()


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of each line of a page's tables."""
    for line in read(page).splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_events_is_that_of_the_code() -> None:
    """Each event stands in the table with its signal and all of its own fields, in that order."""
    table = [row for row in rows(ROOT / "docs" / "events.md") if len(row) == 4]
    found = [(row[0].strip("`"), row[1].strip("`")) for row in table[2:]]
    assert found == [(kind.signal, kind.__name__) for kind in EVENT_TYPES]
    common = set(Event.__struct_fields__)
    for row, kind in zip(table[2:], EVENT_TYPES, strict=True):
        own = set(kind.__struct_fields__) - common
        outside_brackets = re.sub(r"\([^)]*\)", "", row[2])
        assert set(re.findall(r"`(\w+)`", outside_brackets)) == own, kind.__name__


def test_the_cookbook_counts_its_programs() -> None:
    """The command that the page names prints its table, which says less than PocketFlow's."""
    page = ROOT / "docs" / "cookbook.md"
    counted = subprocess.run(
        [sys.executable, str(ROOT / "demos" / "lines.py"), str(page)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {name: int(lines) for lines, name in map(str.split, counted.stdout.splitlines())}
    table = [row for row in rows(page) if len(row) == 4][2:]
    assert {re.findall(r"\w+[\w-]+", row[0])[0]: int(row[2]) for row in table} == found
    assert all(int(row[2]) < int(row[1]) for row in table)


def first_cells(page: str, beside: int) -> list[str]:
    """The names in the first cells of the tables of that width."""
    table = [row for row in rows(ROOT / "docs" / page) if len(row) == beside]
    return [row[0].strip("`") for row in table]


def test_the_table_of_fields_is_that_of_the_code() -> None:
    """Each field that every event has stands in its table."""
    assert tuple(first_cells("events.md", 3)[2:]) == Event.__struct_fields__


def test_the_tables_of_runs_are_those_of_the_code() -> None:
    """Each state and each option of a run stands in its table."""
    cells = first_cells("running.md", 2)
    states, options = cells.index("state"), cells.index("option")
    assert tuple(cells[states + 2 : options]) == get_args(RunStatus)
    assert cells[options + 2 :] == list(RunOptions.__annotations__)


def test_every_error_is_in_the_tree() -> None:
    """The tree of errors in the docs is the one of the code."""
    page = prose(read(ROOT / "docs" / "running.md"))
    tree = re.findall(r"^    (?:│   )?(?:[├└]── )?(\w+)", page, re.M)
    assert sorted(tree) == sorted(errors.__all__)
