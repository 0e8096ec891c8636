"""The agent of the demos behind the page, and its picture for the README."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from tests.driving import PATIENCE
from tests.web.page.site import Site
from tests.web.page.test_person import start, status, step
from tests.web.servers import ROOT, free_port, http, until


def test_it_is_served(page: Page) -> None:
    """`make serve` prints where; the agent takes a question; Ctrl-C ends it."""
    port = free_port()
    environ = {**os.environ, "PORT": str(port), "PYTHONPATH": str(ROOT), "STANDIN_DELAY": "0"}
    demo = subprocess.Popen(
        [sys.executable, "demos/page.py"],
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        until(lambda: answers(port), "the demo is served")
        start(page, Site(f"http://127.0.0.1:{port}"), "agent", {"question": "What is a span?"})
        status(page, "done")
        expect(step(page, "Answer")).to_contain_text("The files say")
    finally:
        demo.send_signal(signal.SIGINT)
        shown, _ = demo.communicate(timeout=PATIENCE)
    assert f"Open http://127.0.0.1:{port}/" in shown
    assert "Traceback" not in shown


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        return http.get(f"http://127.0.0.1:{port}/").status_code == 200
    except httpx.HTTPError:
        return False


def test_its_picture(tmp_path: Path) -> None:
    """Is drawn by one command, and as large as a README may load."""
    done = subprocess.run(
        [sys.executable, "demos/page_screenshot.py", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        timeout=4 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    for picture in (tmp_path / "page.png", ROOT / "docs" / "page.png"):
        raw = picture.read_bytes()
        assert raw.startswith(b"\x89PNG")
        assert struct.unpack(">II", raw[16:24]) == (880, 700)
        assert len(raw) < 150_000
