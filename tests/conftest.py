"""How thoroughly property tests search: `FLOWEVENTS_HYPOTHESIS_PROFILE` is `full` or `quick`."""

import os

from hypothesis import settings

settings.register_profile("full", deadline=None, print_blob=True)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=15)
settings.load_profile(os.environ.get("FLOWEVENTS_HYPOTHESIS_PROFILE", "full"))
