"""Passages of text files, found by their words: an in-memory index on SQLite's FTS5."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

MAX_FILE = 2**20  # bytes; larger files are logs and data
MAX_FILES = 10_000
PASSAGE = 700  # characters after which a passage ends with its paragraph


@dataclass(frozen=True)
class Passage:
    """A passage that was found: where it begins, its text, and the words around the match."""

    file: str
    line: int
    text: str
    snippet: str


class Passages:
    """The passages of the text files under `root`, or under some `paths` (also files) in it.

    Left out: hidden files, virtual environments, symbolic links, binaries, files over MAX_FILE,
    and what comes after MAX_FILES.
    """

    def __init__(self, root: Path, *paths: Path) -> None:
        self.files = 0
        self._db = sqlite3.connect(":memory:", check_same_thread=False)  # SQLite takes turns itself
        self._db.execute(
            "CREATE VIRTUAL TABLE passages"
            " USING fts5(file, text, line UNINDEXED, tokenize='porter unicode61')"
        )
        for path in islice(_text_files(paths or (root,)), MAX_FILES):
            with suppress(OSError, UnicodeError):
                text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
                rows = [(name, passage, line) for line, passage in _split(text)]
                if rows and "\0" not in text:
                    self._db.executemany("INSERT INTO passages VALUES (?, ?, ?)", rows)
                    self.files += 1

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM passages").fetchone()
        return int(count)

    def close(self) -> None:
        """Free the index."""
        self._db.close()

    def search(self, words: str, limit: int = 4) -> list[Passage]:
        """Return the passages with any of `words`, best first; names and prose count double."""
        rows = self._db.execute(
            "SELECT file, line, text, snippet(passages, 1, '', '', ' … ', 10) FROM passages"
            " WHERE passages MATCH ?"
            " ORDER BY bm25(passages, 2, 1) * (1 + (file GLOB '*.md')), rowid LIMIT ?",
            (match_any(words), limit),
        )
        return [Passage(*row) for row in rows]


def match_any(words: str) -> str:
    """Return an FTS5 expression that matches any of `words`; quoted, none is an operator."""
    return " OR ".join(f'"{word}"' for word in re.findall(r"\w+", words)) or '""'


def _text_files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not _skipped(Path(folder, name)))
            for file in sorted(Path(folder, name) for name in files):
                if not _skipped(file):
                    yield file


def _skipped(path: Path) -> bool:
    if path.name.startswith(".") or path.is_symlink():
        return True
    if path.is_dir():
        return path.name in {"__pycache__", "node_modules"} or (path / "pyvenv.cfg").exists()
    return not path.is_file() or path.stat().st_size > MAX_FILE


def _split(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the first line, passage): paragraphs joined until they are PASSAGE long."""
    begin, passage = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        for part in [line[place : place + PASSAGE] for place in range(0, len(line) or 1, PASSAGE)]:
            is_whole = len(passage) >= PASSAGE and not part.strip()
            if passage.strip() and (is_whole or len(passage) + len(part) >= 2 * PASSAGE):
                yield begin, passage.strip()
                begin, passage = number, ""
            passage += part
        passage += "\n"
    if passage.strip():
        yield begin, passage.strip()
