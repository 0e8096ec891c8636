"""A pseudo-terminal with a program in it: what it shows is read, what a person types is typed."""

from __future__ import annotations

import codecs
import os
import pty
import select
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType

__all__ = ["Terminal"]

PATIENCE = 60
"""Seconds after which a program that shows nothing more has failed."""


class Terminal:
    """`with Terminal(command, env) as terminal`; the program is killed if it is left too early.

    Attributes:
        shown: All that the program wrote so far, with `"\\n"` for the terminal's `"\\r\\n"`.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        try:
            self._program = subprocess.Popen(
                command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
            )
        finally:
            os.close(theirs)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._place = 0
        self.shown = ""

    def until(self, text: str) -> str:
        """Read until `text` was shown, after what the last call waited for; what came till then."""
        while text not in self.shown[self._place :]:
            if not self._read():
                raise AssertionError(f"{text!r} was not shown after {self.shown!r}")
        end = self.shown.index(text, self._place) + len(text)
        said, self._place = self.shown[self._place : end], end
        return said

    def press(self, text: str) -> None:
        """Type it; a newline is ENTER, `"\\x04"` on an empty line the end of input."""
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Read what is left, and give the program's exit code."""
        while self._read():
            pass
        return self._program.wait(PATIENCE)

    def _read(self) -> bool:
        """Read some more; whether there was some."""
        if not select.select([self._ours], [], [], PATIENCE)[0]:
            raise AssertionError(f"nothing more is shown after {self.shown!r}")
        try:
            read = os.read(self._ours, 65_536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.shown = (self.shown + self._decoder.decode(read)).replace("\r\n", "\n")
        return bool(read)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._program.poll() is None:
            self._program.kill()
        self._program.wait()
        os.close(self._ours)
