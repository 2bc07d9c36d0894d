"""Put on a kernel's PYTHONPATH by the runner: Python then starts with every socket but loopback closed, as in a plane.

It stands alone (no import of fmlab) because every Python process that a lesson starts runs it first.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import ipaddress
import socket
import sys
from pathlib import Path


class NetworkBlocked(ConnectionError):
    """Raised in place of a connection: lessons must run with no network."""


def is_local(address: object) -> bool:
    """Whether a socket address stays on this machine: a path, localhost, 127.0.0.0/8 or ::1."""
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = address[0].decode() if isinstance(address[0], bytes) else address[0]
    if host in ("", None, "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(address: object) -> None:
    if not is_local(address):
        raise NetworkBlocked(f"A lesson tried to reach {address[0]}: fmlab runs lessons with no network; use what ships with it.")


def block() -> None:
    """Close the ways out of this process: connecting, sending, and asking for a name's address."""
    look_up = socket.getaddrinfo

    class Guarded(socket.socket):
        def connect(self, address):
            _refuse(address)
            return super().connect(address)

        def connect_ex(self, address):
            _refuse(address)
            return super().connect_ex(address)

        def sendto(self, data, *rest):
            _refuse(rest[-1])
            return super().sendto(data, *rest)

    def guarded_look_up(host, *rest, **named):
        _refuse((host,))
        return look_up(host, *rest, **named)

    socket.socket = Guarded
    socket.getaddrinfo = guarded_look_up


def _run_the_other() -> None:
    """Run the sitecustomize that this one hides, if the environment has one."""
    here = str(Path(__file__).resolve().parent)
    others = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec and spec.loader:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    block()
    _run_the_other()
