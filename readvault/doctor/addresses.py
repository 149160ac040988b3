"""Where a connection leads: to this machine, or out where others can listen."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("10.0.0.1")
    (True, True, True, False)
    """
    if host == "localhost" or host.startswith("/"):  # PostgreSQL's sockets are named by their folder
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_open(address: str, *, loopback_counts: bool = True) -> bool:
    """Whether others may read along on the way to a web address; on this machine nobody can.

    >>> is_open("https://s3.example.org"), is_open("http://s3.example.org"), is_open("http://127.0.0.1:8333")
    (False, True, False)
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return True
    if parts.scheme == "https" and parts.hostname:
        return False
    return not (loopback_counts and is_loopback(parts.hostname or ""))
