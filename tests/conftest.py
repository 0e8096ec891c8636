"""How thoroughly property tests search: `FLOWEVENTS_HYPOTHESIS_PROFILE` is `full` or `quick`."""

import gc
import os

from hypothesis import settings

settings.register_profile("full", deadline=None, print_blob=True)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=15)
settings.load_profile(os.environ.get("FLOWEVENTS_HYPOTHESIS_PROFILE", "full"))


def pytest_collection_finish() -> None:
    """What the imports made is not searched again by every test that collects garbage."""
    gc.collect()
    gc.freeze()
