"""Ports on this machine that nobody listens on."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

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


def free_port(*usual: int | None, taken: Collection[int] = ()) -> int:
    """The first of the usual ports that is free and not in `taken`, else any free one."""
    for port in usual:
        if port and port not in taken and is_free(port):
            return port
    for port in random.sample(range(_FIRST, _LAST), 500):
        if port not in taken and is_free(port):
            return port
    raise NotReady(f"no free port between {_FIRST} and {_LAST} on {LOOPBACK}")
