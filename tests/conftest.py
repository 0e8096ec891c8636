"""What all tests have in common.

`FLOWEVENTS_HYPOTHESIS_PROFILE` says how thoroughly property tests search: `full` or `quick`.
"""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import settings

settings.register_profile("full", deadline=None, print_blob=True)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=15)
settings.load_profile(os.environ.get("FLOWEVENTS_HYPOTHESIS_PROFILE", "full"))


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_is_no_garbage() -> None:
    """What was there before a module's tests is not searched by each that collects garbage."""
    gc.collect()
    gc.freeze()
