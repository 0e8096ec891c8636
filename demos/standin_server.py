"""A small OpenAI-compatible server on loopback: the demos run without a model, key or network.

    with StandInServer() as server:
        client = OpenAI(base_url=server.base_url, api_key=server.api_key)

It serves `POST /v1/chat/completions` (with `stream: true` as server-sent events, token by token)
and `GET /v1/models`, with errors in OpenAI's form (API reference of 2025). What it says comes from
`standin_model.reply`.
"""

from __future__ import annotations

import json
import re
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, cast

from demos.standin_model import reply

MODEL = "stand-in"
MAX_BODY = 2**20  # bytes


class BadRequest(Exception):
    """A request that is refused: HTTP status, message, and OpenAI's `param` and `code`."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


class StandInHandler(BaseHTTPRequestHandler):
    """One connection of one client."""

    server_version = "standin"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30  # seconds of silence in which a connection is kept

    @property
    def standin(self) -> StandInServer:
        """The server that it belongs to."""
        return cast(StandInServer, self.server)

    def do_GET(self) -> None:
        """Serve `/v1/models`."""
        self._serve({"/v1/models": self._models})

    def do_POST(self) -> None:
        """Serve `/v1/chat/completions`."""
        self._serve({"/v1/chat/completions": self._chat})

    def _serve(self, routes: Mapping[str, Callable[[bytes], None]]) -> None:
        try:
            body, route = self._body(), routes.get(self.path.partition("?")[0])
            if self.headers.get("Authorization") != f"Bearer {self.standin.api_key}":
                raise BadRequest(401, "Incorrect API key provided.", code="invalid_api_key")
            if route is None:
                unknown = f"Unknown request URL: {self.command} {self.path}"
                raise BadRequest(404, unknown, code="unknown_url")
            route(body)
        except BadRequest as error:
            self._fail(error)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            self.log_message("the client left")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,18}", length):
            self.close_connection = True
            raise BadRequest(411, "The body needs a Content-Length.")
        if int(length) <= MAX_BODY:
            return self.rfile.read(int(length))
        self.close_connection = True
        unread = min(int(length), 64 * MAX_BODY)  # a client still sending would miss the reply
        while unread and (part := self.rfile.read(min(unread, 2**16))):
            unread -= len(part)
        raise BadRequest(413, f"The body has {length} bytes; {MAX_BODY} are allowed.")

    def _models(self, body: bytes) -> None:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "flowevents"}
        self._send_json(200, {"object": "list", "data": [model]})

    def _chat(self, body: bytes) -> None:
        request = _request(body)
        messages = _messages(request)
        tokens = split_tokens(reply(messages))
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        spoken = tokens[:limit] if isinstance(limit, int) and limit > 0 else tokens
        asked = sum(len(split_tokens(message["content"])) for message in messages)
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": len(spoken),
            "total_tokens": asked + len(spoken),
        }
        finish = "stop" if spoken == tokens else "length"
        base = {
            "id": f"chatcmpl-{secrets.token_hex(8)}",
            "created": int(time.time()),
            "model": request["model"],
        }
        if request.get("stream"):
            with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
            self._stream(base, spoken, finish, usage if with_usage else None)
            return
        message = {"role": "assistant", "content": "".join(spoken)}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        self._send_json(
            200, {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
        )

    def _stream(
        self, base: dict[str, Any], tokens: list[str], finish: str, usage: dict[str, int] | None
    ) -> None:
        base = {**base, "object": "chat.completion.chunk"}
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def send(delta: dict[str, str], reason: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            self._send_event({**base, "choices": [choice]})

        send({"role": "assistant", "content": ""})
        for sent, token in enumerate(tokens):
            if self._client_left(self.standin.delay):
                self.close_connection = True
                self.log_message("the client left after %d of %d tokens", sent, len(tokens))
                return
            send({"content": token})
        send({}, finish)
        if usage is not None:
            self._send_event({**base, "choices": [], "usage": usage})
        self._send_event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _client_left(self, within: float) -> bool:
        """Wait `within` seconds, the delay of a token, and tell whether the client hung up."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            return bool(selector.select(within)) and not self.connection.recv(1, socket.MSG_PEEK)

    def _send_event(self, data: object) -> None:
        event = b"data: %s\n\n" % (data if isinstance(data, str) else json.dumps(data)).encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))

    def _send_json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, error: BadRequest) -> None:
        kind = "invalid_request_error" if error.status < 500 else "server_error"
        shown = {"message": str(error), "type": kind, "param": error.param, "code": error.code}
        self._send_json(error.status, {"error": shown})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send what `http.server` itself refuses, such as an unknown method, in OpenAI's form."""
        self.close_connection = True
        self._fail(BadRequest(code, message or self.responses.get(code, ("Error", ""))[0]))

    def log_message(self, format: str, *args: object) -> None:
        """Hand a line to the server's `log`."""
        self.standin.log(format % args)


class StandInServer(ThreadingHTTPServer):
    """The server, on a free port of 127.0.0.1, from `with` on until its end.

    `delay`: seconds before each token. `log`: is handed one line per request and per client that
    left, in the connection's thread.
    """

    daemon_threads = False  # so that `server_close` waits for them
    request_queue_size = 128
    base_url: str
    api_key: str

    def __init__(
        self,
        *,
        delay: float = 0.0,
        log: Callable[[str], object] = lambda line: None,
        handler: type[StandInHandler] = StandInHandler,
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.delay, self.log = delay, log
        self.base_url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.api_key = f"standin-{secrets.token_hex(8)}"
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="standin")

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which can take seconds without a network."""
        TCPServer.server_bind(self)

    def __enter__(self) -> StandInServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop at once, also in the middle of a stream, and leave no thread or socket behind."""
        self.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that is over."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Drop a connection that broke."""
        self.log(f"a connection broke: {sys.exc_info()[1]!r}")


def split_tokens(text: str) -> list[str]:
    """Return `text` in pieces of up to six letters, each with the white space before it."""
    return re.findall(r"\s*\S{1,6}|\s+$", text)


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(400, "The body is not valid JSON.") from None
    if not isinstance(request, dict):
        raise BadRequest(400, "The body is not a JSON object.")
    if not isinstance(request.get("model"), str):
        raise BadRequest(400, "you must provide a model parameter", "model")
    if not isinstance(request.get("stream_options") or {}, dict):
        raise BadRequest(400, "'stream_options' is not an object.", "stream_options")
    return request


def _messages(request: Mapping[str, Any]) -> list[dict[str, str]]:
    messages = request.get("messages")
    if messages is None:
        missing = "Missing required parameter: 'messages'."
        raise BadRequest(400, missing, "messages", "missing_required_parameter")
    if not isinstance(messages, list) or not messages:
        raise BadRequest(400, "'messages' is not a list with at least one message.", "messages")
    return [_message(message, f"messages[{place}]") for place, message in enumerate(messages)]


def _message(message: object, param: str) -> dict[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest(400, f"'{param}' is not an object with a 'role' and a 'content'.", param)
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise BadRequest(400, f"'{param}.content' is neither text nor a list of parts.", param)
    return {"role": message["role"], "content": content}
