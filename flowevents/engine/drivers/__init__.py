"""Who answers what the engine yields: a sync and an async driver with the same verbs.

    driver.py     what both have in common: who drives, how a run pauses and how it ends
    sync.py       in the caller's thread
    in_loop.py    in the caller's task

`pull` gives whoever iterates the next thing, `wait` runs to the end, `cancel` asks the run to stop,
`close` does that and returns when it has ended.
"""

from flowevents.engine.drivers.driver import Consumer, Driver, claim_id, settle
from flowevents.engine.drivers.in_loop import AsyncDriver
from flowevents.engine.drivers.sync import PAUSED, SyncDriver, pull

__all__ = [
    "PAUSED",
    "AsyncDriver",
    "Consumer",
    "Driver",
    "SyncDriver",
    "claim_id",
    "pull",
    "settle",
]
