"""Fixtures for data: where shared files lie, a cache of the test's own, a server on loopback."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helper modules lie beside the tests, and spawned processes need them too


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files (FMLAB_SHARED/data, by default ../shared/data beside the repository), or a skip."""
    repository = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("FMLAB_SHARED", repository.parent / "shared")) / "data"
    if not (folder / "SHA256SUMS").is_file():
        pytest.skip(f"no shared data at {folder}; set FMLAB_SHARED to the folder that holds data/")
    return folder


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty FMLAB_DATA for one test."""
    folder = tmp_path / "fmlab-cache"
    monkeypatch.setenv("FMLAB_DATA", str(folder))
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any HTTP request fails the test."""
    import requests

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f"a request was sent: {args}")

    monkeypatch.setattr(requests.sessions.Session, "request", refuse)


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that each test tells how to behave; it ends with the test."""
    from loopback_server import Server

    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield running
    running.closing.set()
    running.shutdown()
    running.server_close()
    thread.join(5)
