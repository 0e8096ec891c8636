"""What holds on every engine holds on Dask."""

from tests.workers.test_cancelling import test_no_worker_goes_on, test_who_does_not_stop_is_given_up
from tests.workers.test_failing import (
    test_a_retry_is_heard_while_its_wait_lasts,
    test_an_error_that_cannot_be_pickled,
    test_exceptions_are_results,
    test_its_siblings_are_gone,
    test_the_error_comes_back,
    test_what_is_not_tried_again,
)
from tests.workers.test_live import test_they_come_at_once
from tests.workers.test_losing import (
    test_a_journal_knows,
    test_a_killed_worker_is_replaced,
    test_again_and_again,
    test_failures_before_it_count,
)
from tests.workers.test_same_program import (
    test_every_engine_gives_the_same,
    test_max_concurrency_bounds_what_is_submitted,
    test_nobody_listens,
)
from tests.workers.test_slow_consumers import test_the_worker_waits

__all__ = [
    "test_a_journal_knows",
    "test_a_killed_worker_is_replaced",
    "test_a_retry_is_heard_while_its_wait_lasts",
    "test_again_and_again",
    "test_an_error_that_cannot_be_pickled",
    "test_every_engine_gives_the_same",
    "test_exceptions_are_results",
    "test_failures_before_it_count",
    "test_its_siblings_are_gone",
    "test_max_concurrency_bounds_what_is_submitted",
    "test_no_worker_goes_on",
    "test_nobody_listens",
    "test_the_error_comes_back",
    "test_the_worker_waits",
    "test_they_come_at_once",
    "test_what_is_not_tried_again",
    "test_who_does_not_stop_is_given_up",
]
