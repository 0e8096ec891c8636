"""What the demos ask of a model: each task is a system prompt.

The user's message is a JSON object with `question`, `searched` (the searches made so far),
`wishes` (what a person wants changed) and `passages` (a list of `{"file": …, "text": …}`): so no
text of a file can pass for a part of the prompt.
"""

from __future__ import annotations

import json
import re
from typing import Any

PLAN = """Task: plan
You look for the answer to the question in a folder of text files. Reply with one line, either
search: <one to three words to look for, not searched before>
or, when the passages answer the question or no useful words are left,
answer"""

SUMMARY = """Task: summary
Reply with one line: the file of the passage that helps most with the question, a colon, and the
passage's most useful sentence in quotes."""

ANSWER = """Task: answer
Answer the question from the passages only. Quote what you rely on, each quote with its file. If no
passage helps, say that nothing was found."""

DRAFT = """Task: draft
Write a short letter to Ada about the question, from Bo. Fulfil every wish."""

TELL = """Task: tell
Tell at length what the passages say about the question; without one, all of it."""


def messages(task: str, **given: object) -> list[Any]:
    """Return the chat messages that set a model to `task`, one of the prompts above."""
    asked = json.dumps(given, ensure_ascii=False)
    return [{"role": "system", "content": task}, {"role": "user", "content": asked}]


def decision(reply: str) -> tuple[str, str]:
    """Return what a reply to PLAN decides last: `("search", words)` or `("answer", "")`."""
    line = r"^[^\w\n]*(?:search:[^\w\n]*(\w(?:.*\w)?)|answer)[^\w\n]*$"
    searches: list[str] = re.findall(line, reply, re.IGNORECASE | re.MULTILINE)
    return ("search", searches[-1]) if searches and searches[-1] else ("answer", "")
