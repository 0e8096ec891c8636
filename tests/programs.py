"""Programs that tests need and pip does not bring: Debian's, installed if need be and may be."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

__all__ = ["program"]


def program(name: str) -> str:
    """Where the program is, whose package has the same name.

    Where it is missing and cannot be installed the test is skipped, but fails in CI.
    """
    if shutil.which(name) is None and shutil.which("apt-get") and os.geteuid() == 0:
        install = ["apt-get", "install", "-y", "--no-install-recommends", name]
        subprocess.run(install, capture_output=True, check=False)
    found = shutil.which(name)
    if found is None:
        missing = f"{name} is not installed: apt-get install {name}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found
