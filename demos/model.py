"""The model that the demos talk to: a real one where the environment names it, else a stand-in."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from demos.standin_server import MODEL, StandInServer

OPENAI = "https://api.openai.com/v1"


class ModelError(Exception):
    """The model could not be asked, or broke off; the message is one line for the person."""


@dataclass(frozen=True)
class Model:
    """A chat model behind an OpenAI-compatible endpoint; `timeout` is in seconds of silence."""

    base_url: str
    api_key: str
    model: str
    is_standin: bool = False
    timeout: float = 60.0

    def stream(self, messages: Sequence[Any]) -> Generator[str]:
        """Yield the reply piece by piece as it comes; raise ModelError where the endpoint fails."""
        with (
            self._named_errors(),
            openai.OpenAI(**self._settings()) as client,
            client.chat.completions.create(
                model=self.model, messages=list(messages), stream=True
            ) as parts,
        ):
            for part in parts:
                if part.choices and part.choices[0].delta.content:
                    yield part.choices[0].delta.content

    async def stream_async(self, messages: Sequence[Any]) -> AsyncGenerator[str]:
        """`stream` for `async` code."""
        with self._named_errors():
            async with (
                openai.AsyncOpenAI(**self._settings()) as client,
                await client.chat.completions.create(
                    model=self.model, messages=list(messages), stream=True
                ) as parts,
            ):
                async for part in parts:
                    if part.choices and part.choices[0].delta.content:
                        yield part.choices[0].delta.content

    def _settings(self) -> dict[str, Any]:
        """The client's settings; it does not retry, because a node does, and says so."""
        return {
            "base_url": self.base_url,
            "api_key": self.api_key,
            "timeout": self.timeout,
            "max_retries": 0,
        }

    @contextmanager
    def _named_errors(self) -> Generator[None]:
        try:
            yield
        except (openai.OpenAIError, httpx.HTTPError) as error:
            name = f"Model {self.model!r} at {self.base_url}"
            raise ModelError(f"{name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, openai.APIStatusError):
        said = error.body.get("message") if isinstance(error.body, dict) else None
        return f"HTTP {error.status_code}: {said or error.response.reason_phrase}"
    return str(error.__cause__ or error) or type(error).__name__


@contextmanager
def open_model() -> Generator[Model]:
    """Open the model that the environment names, or start the stand-in, and print which.

    A real model needs MODEL (its name) and OPENAI_BASE_URL, OPENAI_API_KEY or both. STANDIN_DELAY
    is the stand-in's delay per token, in seconds.
    """
    name, url, key = map(_environ, ("MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"))
    if name and (url or key):
        print(f"Model: {name} at {url or OPENAI}", flush=True)
        yield Model(url or OPENAI, key or "none", name)
        return
    with StandInServer(delay=float(_environ("STANDIN_DELAY") or 0.02)) as server:
        _no_proxy("127.0.0.1")
        missing = (
            "MODEL" if url or key else "OPENAI_API_KEY" if name else "MODEL and OPENAI_API_KEY"
        )
        print(f"Model: a stand-in that only quotes, at {server.base_url}")
        print(f"       (for a real one set {missing})", flush=True)
        yield Model(server.base_url, server.api_key, MODEL, is_standin=True)


def _environ(name: str) -> str:
    return os.environ.get(name, "").strip()


def _no_proxy(host: str) -> None:
    """Keep this process's HTTP clients from asking a proxy for `host`."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), host]))
