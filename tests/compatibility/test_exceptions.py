"""An exception has the context that it has with pocketflow, however the run is driven."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Any

import pytest

import flowevents
from flowevents import Run
from tests.compatibility.libraries import pocketflow
from tests.watching import in_loop

KINDS = ("Node", "BatchNode", "AsyncNode", "AsyncBatchNode", "AsyncParallelBatchNode")
FALLBACKS = ("none", "another error", "the error", "a bare raise", "a result")


def chain(error: BaseException | None) -> list[str]:
    """An error, what it came of, and so on."""
    return [] if error is None else [repr(error), *chain(error.__context__)]


def failing(library: Any, kind: str, fallback: str, log: list[Any]) -> Any:
    """A node whose attempts fail, each while it handles an error of its own."""
    tries = itertools.count(1)

    class Fails(getattr(library, kind)):  # type: ignore[misc]
        def prep(self, shared: Any) -> list[str]:
            return ["item"]

        async def prep_async(self, shared: Any) -> list[str]:
            return ["item"]

        def exec(self, prep_res: Any) -> None:
            log.append(("exec", chain(sys.exc_info()[1])))
            tried = next(tries)
            try:
                raise KeyError(tried)
            except KeyError:
                raise ValueError(tried)  # noqa: B904

        async def exec_async(self, prep_res: Any) -> None:
            await asyncio.sleep(0)
            self.exec(prep_res)

        def post(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            log.append(("post", exec_res, chain(sys.exc_info()[1])))

        async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> None:
            self.post(shared, prep_res, exec_res)

    def fall_back(self: Any, prep_res: Any, exc: Exception) -> str:
        log.append(("fallback", chain(exc), chain(sys.exc_info()[1])))
        if fallback == "another error":
            raise RuntimeError(fallback)
        if fallback == "the error":
            raise exc
        if fallback == "a bare raise":
            raise
        return fallback

    async def fall_back_async(self: Any, prep_res: Any, exc: Exception) -> str:
        await asyncio.sleep(0)
        return fall_back(self, prep_res, exc)

    if fallback != "none":
        Fails.exec_fallback, Fails.exec_fallback_async = fall_back, fall_back_async
    return Fails


def outcome(library: Any, kind: str, fallback: str, tries: int, way: str, handling: bool) -> Any:
    """What comes of it, where the run is made while an error is `handling`, or none."""
    log: list[Any] = []
    is_async = kind.startswith("Async")
    node = failing(library, kind, fallback, log)(max_retries=tries)
    flow = (library.AsyncFlow if is_async else library.Flow)(start=node)

    def made() -> Run:
        return Run(flow, {}, observers=[lambda event: None] if way == "observed" else [])

    async def main() -> Any:
        if way == "plainly":
            return await flow.run_async({})
        run = made()
        if way == "pulled":
            async for _ in run:
                continue
        return await run.wait_async()

    def sync_main() -> Any:
        if way == "plainly":
            return flow.run({})
        run = made()
        if way == "pulled":
            list(run)
        return run.wait()

    async def handled() -> Any:
        try:
            raise OSError("handled")
        except OSError:
            return await main() if is_async else sync_main()

    try:
        result = in_loop(handled if handling else main) if is_async or handling else sync_main()
    except Exception as error:
        return chain(error), log
    return result, log


@pytest.mark.parametrize("tries", [1, 3])
@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_of_what_it_comes_of_there(kind: str, fallback: str, tries: int) -> None:
    """A fallback's of the last attempt's, which it handles; no attempt's of an earlier one's."""
    theirs = outcome(pocketflow, kind, fallback, tries, "plainly", False)
    for library in (flowevents, pocketflow):
        for way in ("plainly", "observed", "pulled"):
            ours = outcome(library, kind, fallback, tries, way, False)
            assert ours == theirs, (library.__name__, way)


@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("kind", KINDS[:-1])
def test_an_error_that_is_handled_around_the_run_hides_nothing(kind: str, fallback: str) -> None:
    """It is the last of the chain, as in any code that is called where an error is handled."""
    theirs = outcome(pocketflow, kind, fallback, 2, "plainly", True)
    for library in (flowevents, pocketflow):
        for way in ("plainly", "observed"):
            assert outcome(library, kind, fallback, 2, way, True) == theirs, (library.__name__, way)


@pytest.mark.parametrize("kind", KINDS[2:])
def test_code_in_a_task_of_its_own_knows_no_error_around_it(kind: str) -> None:
    """That of a pulled run, or of a parallel item; what its error came of is kept."""
    for library in (flowevents, pocketflow):
        error, _ = outcome(library, kind, "another error", 2, "pulled", True)
        assert error == ["RuntimeError('another error')", "ValueError(2)", "KeyError(2)"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_raised_again_as_it_was(kind: str) -> None:
    """By a second `wait`, where another one is being handled."""
    run = Run(failing(flowevents, kind, "none", [])(), {})

    async def main() -> None:
        for _ in range(2):
            try:
                raise OSError("handled")
            except OSError:
                with pytest.raises(ValueError, match="1") as raised:
                    await run.wait_async() if kind.startswith("Async") else run.wait()
            assert "KeyError(1)" in chain(raised.value)

    in_loop(main)
