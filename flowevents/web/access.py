"""Who may do what: `authorize` is asked before anything is read or looked up, on every route."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["Access", "Authorize", "RunAction"]

_logger: Final = logging.getLogger("flowevents")

RunAction = Literal["start", "list", "watch", "reply", "cancel", "pause"]
"""What somebody wants to do."""

Authorize = Callable[[Request, RunAction, str | None], Any]
"""Is asked with the request, the action and the run's id; refuses by an exception, or `False`."""


class Access:
    """Asks `authorize`, where there is one.

    Args:
        authorize: Plain or async. An `HTTPException` refuses with its own status, any other
            exception with 403; the text of a `PermissionError` is told.
    """

    def __init__(self, authorize: Authorize | None) -> None:
        self._authorize = authorize

    async def ask(self, request: Request, action: RunAction, run_id: str | None = None) -> None:
        """Raise `HTTPException` where that is refused."""
        if self._authorize is None:
            return
        try:
            answer = self._authorize(request, action, run_id)
            if inspect.isawaitable(answer):
                answer = await answer
        except HTTPException:
            raise
        except PermissionError as error:
            raise _forbidden(action, str(error)) from error
        except Exception as error:
            _logger.warning("authorize refused %r by an exception", action, exc_info=error)
            raise _forbidden(action) from error
        if answer is False:
            raise _forbidden(action)

    def route(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        action: RunAction,
        methods: Sequence[str] = ("GET",),
    ) -> Route:
        """A route for those who may do that; a run's id is `{id}` in its path."""

        async def asked(request: Request) -> Response:
            await self.ask(request, action, request.path_params.get("id"))
            return await endpoint(request)

        return Route(path, asked, methods=list(methods), name=endpoint.__name__)


def _forbidden(action: str, why: str = "") -> HTTPException:
    return HTTPException(403, why or f"You may not {action} here.")
