"""A server on loopback that does what each test tells it: cuts, stalls, lies about lengths, sends wrong bytes."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = random.Random(5).randbytes(200_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
Act = Callable[["Handler", int], None]


class Handler(BaseHTTPRequestHandler):
    """Does what the next act of its path says; the last act of a path is repeated for ever."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.seen.append((self.path, asked))
        acts = self.server.acts.get(self.path, [refuse(404)])
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        act(self, int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Silent."""

    def head(self, status: int, length: int | None, **extra: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in extra.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def begin(self, start: int, content: bytes, length: int | None = None) -> None:
        """Headers of an honest server for the bytes from start on."""
        if start:
            self.head(206, len(content) - start, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.head(200, len(content))


def whole(content: bytes = CONTENT) -> Act:
    def act(handler: Handler, start: int) -> None:
        if start >= len(content):
            return handler.head(416, 0, Content_Range=f"bytes */{len(content)}")
        handler.begin(start, content)
        handler.wfile.write(content[start:])
    return act


def cut(after: int) -> Act:
    """Promises everything, sends `after` bytes of what was asked for, and hangs up."""
    def act(handler: Handler, start: int) -> None:
        handler.begin(start, CONTENT)
        handler.wfile.write(CONTENT[start:start + after])
    return act


def stall(after: int) -> Act:
    """Sends `after` bytes and then nothing, with the connection open."""
    def act(handler: Handler, start: int) -> None:
        cut(after)(handler, start)
        handler.wfile.flush()
        handler.server.closing.wait(5)
    return act


def ignores_range(after: int | None = None) -> Act:
    def act(handler: Handler, start: int) -> None:
        handler.head(200, len(CONTENT))
        handler.wfile.write(CONTENT[:after])
    return act


def refuse(status: int) -> Act:
    return lambda handler, start: handler.head(status, 0)


def without_length(content: bytes) -> Act:
    def act(handler: Handler, start: int) -> None:
        handler.head(200, None)
        try:
            handler.wfile.write(content)
        except ConnectionError:  # the client has had enough, as it should
            pass
    return act


def wrong_place(handler: Handler, start: int) -> None:
    """Says 206 and sends the file's beginning whatever was asked for."""
    if start:
        handler.head(206, len(CONTENT), Content_Range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.wfile.write(CONTENT)
    else:
        whole()(handler, 0)


def slowly(handler: Handler, start: int) -> None:
    """The whole file in about a second."""
    handler.begin(start, CONTENT)
    for at in range(start, len(CONTENT), 20_000):
        handler.wfile.write(CONTENT[at:at + 20_000])
        time.sleep(0.1)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: dict[str, list[Act]] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    def url(self, path: str, *acts: Act) -> str:
        """Serve a path by these acts."""
        self.acts[path] = list(acts)
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.seen]
