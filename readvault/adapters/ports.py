"""Ports on this machine that nobody listens on."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path

from readvault.domain.errors import NotReady

LOOPBACK = "127.0.0.1"
# Below the range from which Linux takes the ports of outgoing connections, so that none is lent out meanwhile.
_FIRST, _LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def socket_answers(port: int) -> bool:
    """Whether somebody listens on this port of the loopback address."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0):
            return True
    except OSError:
        return False


def free_port(*usual: int | None, taken: Collection[int] = ()) -> int:
    """The first of the usual ports that is free and not in `taken`, else any free one."""
    for port in usual:
        if port and port not in taken and is_free(port):
            return port
    for port in random.sample(range(_FIRST, _LAST), 500):
        if port not in taken and is_free(port):
            return port
    raise NotReady(f"no free port between {_FIRST} and {_LAST} on {LOOPBACK}")


_reserved: dict[int, int] = {}


def reserve_port(*usual: int | None) -> int:
    """A free port that no other readvault on this machine takes as long as this process lives.

    The server that will listen there starts seconds later; until then only a lock on a file in the
    folder for temporary files tells others that the port is spoken for.
    """
    refused: set[int] = set()
    while True:
        port = free_port(*usual, taken={*refused, *_reserved})
        if _claim(port):
            return port
        refused.add(port)


def _claim(port: int) -> bool:
    path = Path(tempfile.gettempdir()) / f"readvault-port-{port}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:  # another user's: that the port is free must do
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _reserved[port] = descriptor
    return True
