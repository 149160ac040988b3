"""A way to S3 on which everything can go wrong that goes wrong on networks and in stores.

`with FaultProxy(s3.endpoint, seed=1) as proxy: proxy.rules = [Rule(Fault.STATUS, {"GetObject"}, times=1)]`.
Requests are handed on byte for byte, the Host header included, so their signatures stay valid.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import socketserver
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

BLOCK = 65536
READS = frozenset({"GetObject", "HeadObject", "ListObjectVersions", "ListObjectsV2", "ListParts"})
WRITES = frozenset(
    {
        "PutObject",
        "UploadPart",
        "CreateMultipartUpload",
        "CompleteMultipartUpload",
        "PutObjectRetention",
        "DeleteObject",
        "CopyObject",
    }
)
SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL = "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class Fault(StrEnum):
    """What happens to a request or its answer."""

    STATUS = "status"
    """It is refused with a status of `Rule.status` and never reaches S3."""
    DELAY = "delay"
    """It waits for `Rule.seconds`, before S3 hears of it or before the answer comes."""
    CUT = "cut"
    """The connection breaks in the middle of the answer."""
    CUT_REQUEST = "cut request"
    """The connection breaks in the middle of the request, towards S3 as well."""
    TRUNCATE = "truncate"
    """The answer lacks its end, and no header tells: Content-Length is of what comes."""
    FLIP = "flip"
    """One bit of the answer's body is another one."""
    FLIP_REQUEST = "flip request"
    """One bit of the request's body is another one when S3 gets it."""
    DROP = "dropped response"
    """S3 does what it is asked, and nobody hears that it did."""
    ERROR_IN_200 = "200 with an error in its body"
    """S3 does what it is asked, and the answer is a 200 that says it failed."""


@dataclass
class Rule:
    """A fault that meets the next `times` requests of these operations, each with this chance."""

    fault: Fault
    operations: Collection[str] = READS | WRITES
    times: int = 1
    chance: float = 1.0
    status: int = 503
    seconds: float = 0.05
    skip: int = 0
    """So many requests of these operations pass first."""


@dataclass
class _Message:
    """A request or an answer: its first line and headers as they came, and its body."""

    head: bytes
    body: bytes

    @property
    def start(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    def header(self, name: str) -> str:
        found = re.search(rb"(?im)^" + name.encode() + rb":[ \t]*([^\r\n]*)", self.head)
        return found[1].decode("latin-1").strip() if found else ""

    def of_length(self, length: int) -> bytes:
        """The head with another Content-Length."""
        return re.sub(rb"(?im)^content-length:[^\r\n]*", b"Content-Length: %d" % length, self.head)


class FaultProxy:
    """Stands between us and an S3 server and obeys its `rules`; `met` counts which faults happened."""

    def __init__(self, endpoint: str, *, seed: int = 0) -> None:
        host, port = endpoint.removeprefix("http://").split(":")
        self._place = (host, int(port))
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self.rules: list[Rule] = []
        self.met: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.down = False
        """Whether every connection is refused as soon as it asks for something."""
        self._server = _Server(("127.0.0.1", 0), _Passage, self)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def connect(self) -> socket.socket:
        """A connection to the S3 server itself."""
        return socket.create_connection(self._place, timeout=120)

    def fault_for(self, operation: str) -> Rule | None:
        """The rule that this request falls under, used up by one."""
        with self._lock:
            self.asked[operation] += 1
            for rule in self.rules:
                if operation not in rule.operations or rule.times <= 0:
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                if self._dice.random() < rule.chance:
                    rule.times -= 1
                    self.met[rule.fault] += 1
                    return rule
        return None

    def place_in(self, length: int) -> int:
        """A random place in a body."""
        with self._lock:
            return self._dice.randrange(max(1, length))

    def flipped(self, body: bytes) -> bytes:
        """The body with one bit turned."""
        if not body:
            return body
        changed = bytearray(body)
        place = self.place_in(8 * len(body))
        changed[place // 8] ^= 1 << place % 8
        return bytes(changed)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: Any, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A side that hung up is no news."""


class _BrokenError(Exception):
    """The connection is to be cut."""


class _Passage(socketserver.BaseRequestHandler):
    """One connection of a client, with one of its own to the server."""

    server: _Server

    def handle(self) -> None:
        self._proxy = self.server.proxy
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Reader(self.request)
        with contextlib.ExitStack() as opened, contextlib.suppress(_BrokenError, OSError):
            server = opened.enter_context(self._proxy.connect())
            answers = _Reader(server)
            while (request := client.request()) is not None:
                self._one(request, server, answers)

    def _one(self, request: _Message, server: socket.socket, answers: _Reader) -> None:
        operation = operation_of(request)
        if self._proxy.down:
            raise _BrokenError
        rule = self._proxy.fault_for(operation)
        fault = None if rule is None else rule.fault
        if rule is not None and fault == Fault.STATUS:
            self.request.sendall(_refusal(rule.status, request.start.startswith("HEAD")))
            return
        if rule is not None and fault == Fault.DELAY:
            time.sleep(rule.seconds)
        body = self._proxy.flipped(request.body) if fault == Fault.FLIP_REQUEST else request.body
        if fault == Fault.CUT_REQUEST:
            server.sendall(request.head + body[: self._proxy.place_in(len(body))])
            raise _BrokenError
        server.sendall(request.head + body)
        answer = answers.answer(request)
        if fault == Fault.DROP:
            raise _BrokenError
        if fault == Fault.ERROR_IN_200:
            self.request.sendall(_error_in_200())
            return
        self.request.sendall(self._damaged(fault, answer))
        if fault == Fault.CUT:
            raise _BrokenError
        if answer.header("connection").lower() == "close":
            raise _BrokenError

    def _damaged(self, fault: Fault | None, answer: _Message) -> bytes:
        whole = answer.status in (200, 206)  # a truncated refusal is still a refusal
        if fault == Fault.CUT:
            return (answer.head + answer.body)[: self._proxy.place_in(len(answer.head) + len(answer.body))]
        if fault == Fault.TRUNCATE and whole and answer.body:
            kept = answer.body[: self._proxy.place_in(len(answer.body))]
            return answer.of_length(len(kept)) + kept
        if fault == Fault.FLIP and whole:
            return answer.head + self._proxy.flipped(answer.body)
        return answer.head + answer.body


class _Reader:
    """Takes HTTP messages from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._kept = b""

    def request(self) -> _Message | None:
        """The next request; None when the client has hung up."""
        head = self._head()
        if head is None:
            return None
        message = _Message(head, b"")
        if message.header("expect").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            message.head = re.sub(rb"(?im)^expect:[^\r\n]*\r\n", b"", head)
        message.body = self._body(message)
        return message

    def answer(self, request: _Message) -> _Message:
        """The answer to this request, in one piece: chunks are put together and told as a length."""
        head = self._head()
        if head is None:
            raise _BrokenError
        message = _Message(head, b"")
        if not request.start.startswith("HEAD") and message.status not in (204, 304):
            message.body = self._body(message)
            if message.header("transfer-encoding").lower() == "chunked":
                message.head = re.sub(
                    rb"(?im)^transfer-encoding:[^\r\n]*", b"Content-Length: %d" % len(message.body), message.head
                )
        return message

    def _head(self) -> bytes | None:
        while b"\r\n\r\n" not in self._kept:
            if not self._more():
                return None
        head, self._kept = self._kept.split(b"\r\n\r\n", 1)
        return head + b"\r\n\r\n"

    def _body(self, message: _Message) -> bytes:
        if message.header("transfer-encoding").lower() != "chunked":
            return self._take(int(message.header("content-length") or 0))
        pieces = []
        while length := int(self._line().split(b";")[0], 16):
            pieces.append(self._take(length))
            self._line()
        self._line()
        return b"".join(pieces)

    def _line(self) -> bytes:
        while b"\r\n" not in self._kept:
            if not self._more():
                raise _BrokenError
        line, self._kept = self._kept.split(b"\r\n", 1)
        return line

    def _take(self, length: int) -> bytes:
        pieces, missing = [self._kept[:length]], length - len(self._kept)
        self._kept = self._kept[length:]
        while missing > 0:
            piece = self._connection.recv(min(missing, 2**20))
            if not piece:
                raise _BrokenError
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _more(self) -> bool:
        piece = self._connection.recv(BLOCK)
        self._kept += piece
        return bool(piece)


_BY_QUERY = {
    ("PUT", "uploadId"): "UploadPart",
    ("PUT", "retention"): "PutObjectRetention",
    ("GET", "retention"): "GetObjectRetention",
    ("GET", "uploadId"): "ListParts",
    ("GET", "versions"): "ListObjectVersions",
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "uploads"): "ListMultipartUploads",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
_PLAIN = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}


def operation_of(request: _Message) -> str:
    """S3's name for what a request asks."""
    method, target, _ = request.start.split(" ", 2)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(target).query, keep_blank_values=True)
    for (verb, name), operation in _BY_QUERY.items():
        if verb == method and name in query:
            return operation
    if method == "PUT" and request.header("x-amz-copy-source"):
        return "CopyObject"
    return _PLAIN.get(method, method)


def _refusal(status: int, without_body: bool) -> bytes:
    body = (SLOW_DOWN if status in (429, 503) else INTERNAL).encode()
    head = f"HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if without_body else body)


def _error_in_200() -> bytes:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{INTERNAL}'.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@contextlib.contextmanager
def breaking_connections(endpoint: str, *, after: int, times: int) -> Iterator[tuple[str, list[int]]]:
    """A way to S3 that breaks the first `times` connections after so many bytes of answer; which it broke."""
    host, port = endpoint.removeprefix("http://").split(":")
    broken: list[int] = []

    class Passage(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((host, int(port))) as server:
                threading.Thread(target=self.pass_on, args=(server,), daemon=True).start()
                passed = 0
                while data := server.recv(BLOCK):
                    passed += len(data)
                    if passed > after and len(broken) < times:
                        broken.append(passed)
                        break
                    self.request.sendall(data)
                with contextlib.suppress(OSError):  # to close it would not wake the thread that reads from it
                    self.request.shutdown(socket.SHUT_RDWR)

        def pass_on(self, server: socket.socket) -> None:
            try:
                while data := self.request.recv(BLOCK):
                    server.sendall(data)
            except OSError:
                return

    class Passages(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hung up is no news."""

    with Passages(("127.0.0.1", 0), Passage) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}", broken
        finally:
            proxy.shutdown()
