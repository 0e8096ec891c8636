"""One core to measure on, and what the figures were measured with."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("flowevents", "pocketflow", "blinker", "msgspec")


def pin() -> bool:
    """Keep this process and its children on one core; False where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return True


def describe(pinned: bool) -> dict[str, str]:
    """The machine, the Python and the packages measured, by name."""
    return setting(pinned, {name: _version(name) for name in PACKAGES})


def setting(pinned: bool, versions: dict[str, str]) -> dict[str, str]:
    """The machine and the Python, by name, and these versions."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "pinned to one core": "yes" if pinned else "no",
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown processor"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "from source"
