"""The screen: what a model wrote does not command the terminal, and a demo ends in good order."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from openai import OpenAIError

from demos.model import ModelError

_C0_AND_C1 = set(range(0x20)) - {ord("\n"), ord("\t")} | set(range(0x7F, 0xA0))
_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_ESCAPES = {code: f"\\x{code:02x}" for code in _C0_AND_C1} | {
    code: f"\\u{code:04x}" for code in _BIDI
}


def plain(text: object) -> str:
    """Return `text` with C0, C1 and bidirectional controls as escapes; newline and tab stay."""
    return str(text).translate(_ESCAPES)


def show(text: object, end: str = "\n") -> None:
    """Print `text` at once, plain, with escapes also for what the terminal's encoding lacks."""
    encoding = sys.stdout.encoding
    print(plain(text).encode(encoding, "backslashreplace").decode(encoding), end=end, flush=True)


def start(main: Callable[[], object]) -> None:
    """Run a demo: Ctrl-C ends it with code 130, and a model that fails with one line."""
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print()
        raise SystemExit(130) from None
    except BrokenPipeError:  # who read our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ModelError, OpenAIError) as error:  # LiteLLM's errors are OpenAI's too
        raise SystemExit(plain(error)) from None
