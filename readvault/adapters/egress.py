"""The only way out to addresses that users name: https to hosts on a list, over a connection that was checked.

The name is resolved here, the address that came is checked, and that very address is connected to: a
name that leads elsewhere a moment later changes nothing. Certificates are checked against the name.
Nothing is read from the environment (no proxies), nothing is followed (no redirects), nothing is
unpacked, and every request has an end.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import certifi
import httpcore

from readvault.adapters.egress_addresses import Place, checked, place_of
from readvault.adapters.egress_names import Names, Resolve, TooSlow
from readvault.config.pulls import PullSettings
from readvault.domain.pulls import Refusal, SourceAway, SourceRefused

CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 30.0
"""Seconds for a connection, and for an answer's headers."""
SILENCE = 20.0
"""Seconds without a byte after which a connection counts as dead."""
CONNECTIONS = 32


def resolve(host: str, port: int) -> list[str]:
    """The IP addresses that the machine's resolver gives for a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body has not been read yet. Header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class Egress:
    """Requests to hosts on the instance's list. Safe to share between threads.

    `resolver` and `trust` are for tests; else the machine's resolver, and the usual authorities with
    those of `pulls.ca_file`.
    """

    def __init__(
        self, settings: PullSettings, *, resolver: Resolve = resolve, trust: ssl.SSLContext | None = None
    ) -> None:
        self._settings = settings
        self._deadline = threading.local()
        self._pool = httpcore.ConnectionPool(
            ssl_context=trust or _trust(settings),
            network_backend=_Guarded(settings, resolver, self._left),
            max_connections=CONNECTIONS,
            keepalive_expiry=15.0,
        )

    def place(self, url: str) -> Place:
        """Where a URL leads; raises SourceRefused for one that may not be asked."""
        return place_of(url, self._settings)

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str], *, within: float) -> Iterator[Answer]:
        """Ask for a URL; the answer's body must be read inside the block, all within so many seconds.

        Raises SourceRefused for an address that is not allowed and for a redirect, SourceAway when the host
        can't be reached, breaks off or is too slow.
        """
        place = self.place(url)
        self._deadline.at = time.monotonic() + within
        target = httpcore.URL(scheme=b"https", host=place.host.encode(), port=place.port, target=place.target.encode())
        fixed = {"Host": place.authority, "User-Agent": "readvault", "Accept-Encoding": "identity"}
        sent: list[tuple[bytes | str, bytes | str]] = list((fixed | dict(headers)).items())
        timeouts = {"connect": CONNECT_WITHIN, "read": SILENCE, "write": SILENCE, "pool": within}
        with _failures(), self._pool.stream("GET", target, headers=sent, extensions={"timeout": timeouts}) as answer:
            if 300 <= answer.status < 400:
                raise SourceRefused(
                    Refusal.REDIRECT, "The source redirects us, which is not followed. Is the bucket in this region?"
                )
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
            yield Answer(answer.status, found, answer.iter_stream())

    def _left(self) -> float:
        """Seconds that this thread's request may still take."""
        return float(getattr(self._deadline, "at", time.monotonic() + ANSWER_WITHIN)) - time.monotonic()


class _Guarded(httpcore.NetworkBackend):
    """Connects to the very address that was checked."""

    def __init__(self, settings: PullSettings, resolver: Resolve, left: Callable[[], float]) -> None:
        self._settings = settings
        self._names = Names(resolver)
        self._left = left
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Resolve once, check, connect."""
        try:
            addresses = checked(self._names.addresses(host, port, self._left()), self._settings)
        except TooSlow:
            raise httpcore.ConnectTimeout("the name is not resolved in time") from None
        except OSError:
            raise httpcore.ConnectError("the name can't be resolved") from None
        if not addresses:
            raise httpcore.ConnectError("the name has no address")
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return self._connected(address, port, timeout)
        return self._connected(addresses[-1], port, timeout)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Never."""
        raise httpcore.ConnectError("no sockets of this machine")

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def _connected(self, address: str, port: int, timeout: float | None) -> httpcore.NetworkStream:
        limit = max(0.01, min(timeout or CONNECT_WITHIN, self._left()))
        return _Timed(self._plain.connect_tcp(address, port, limit), self._left)


class _Timed(httpcore.NetworkStream):
    """A connection on which no wait lasts longer than the request may: a server could drip headers for days."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream = stream
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there."""
        return self._stream.read(max_bytes, self._limit(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        self._stream.write(buffer, self._limit(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        """Let the connection go."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Speak TLS from here on; the certificate must be the name's."""
        limit = self._limit(timeout, httpcore.ConnectTimeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, limit), self._left)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks about the connection."""
        return self._stream.get_extra_info(info)

    def _limit(self, timeout: float | None, too_late: type[Exception]) -> float:
        left = self._left()
        if left <= 0:
            raise too_late("the request takes too long")
        return left if timeout is None else min(timeout, left)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn what a connection raises into SourceAway, without address: the original is dropped on purpose."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.PoolTimeout):
        cause = "The source is too slow."
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol):
        cause = "The source broke off, or its answer is no HTTP."
    except httpcore.ConnectError as fault:
        if isinstance(fault.__context__, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY" in str(fault):
            raise SourceRefused(Refusal.ADDRESS, "The host has no valid certificate for its name.") from None
        cause = "The source can't be reached."
    except (httpcore.NetworkError, OSError):
        cause = "The source broke off."
    else:
        return
    raise SourceAway(cause) from None


def _trust(settings: PullSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    return context
