"""The examples of docs/front-ends.md in JavaScript: they do what the page says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driving import PATIENCE
from tests.web.node import CLIENTS, ROOT, needs_clients
from tests.web.servers import serving

pytestmark = needs_clients

PAGE = (ROOT / "docs" / "front-ends.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the page's flow."""
    with serving(tmp_path_factory.mktemp("server"), "tests.web.talking:app") as server:
        yield server.url


def example(language: str, url: str) -> str:
    """The page's example in that language, for this server."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    code: str = found[0].replace("http://127.0.0.1:8000", url)
    assert url in code
    return code


def run(folder: Path, program: Path) -> str:
    """What a program prints, which finds the clients in that folder."""
    (folder / "node_modules").symlink_to(CLIENTS / "node_modules")
    done = subprocess.run(
        [CLIENTS / "node", program, folder], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_http_agent(tmp_path: Path, url: str) -> None:
    """It prints what comes, and answers with the first choice."""
    program = tmp_path / "example.mjs"
    program.write_text(example("js", url), encoding="utf-8")
    assert run(tmp_path, program).splitlines() == [
        "Hi Dear Ada, …",
        "Send it? { enum: [ 'yes', 'no' ] }",
        "Sent.",
    ]


def test_use_chat(tmp_path: Path, url: str) -> None:
    """A question is answered in another tab; void text is gone from both."""
    (tmp_path / "chat.jsx").write_text(example("jsx", url), encoding="utf-8")
    first, second = json.loads(run(tmp_path, ROOT / "tests" / "web" / "clients" / "chat.mjs"))
    answer = "Draft: ok Dear Ada, …Approve: ok Send it? yesSend: ok Sent.Send"
    assert first == f"Write to Ada.{answer}"
    assert second == answer
