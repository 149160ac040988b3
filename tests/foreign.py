"""Somebody else's S3 for tests: an https server with a certificate of a test authority, and what it does wrong."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from readvault.adapters.egress import Egress
from readvault.config.pulls import PullSettings

HOST = "s3.lab.example"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
"""Of 32 bytes."""


class Authority:
    """Signs certificates that only tests trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self._certificate = self._signed(name, self._key.public_key(), name, is_authority=True)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server with these names speaks TLS with."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._signed(subject, key.public_key(), self._certificate.subject, names=names)
        path = self._folder / f"{names[0]}.pem"
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
        path.write_bytes(private + certificate.public_bytes(encoding))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def trust(self) -> ssl.SSLContext:
        """What a client has that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _signed(
        self,
        subject: x509.Name,
        key: Any,
        issuer: x509.Name,
        *,
        names: tuple[str, ...] = (),
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if is_authority:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@dataclass
class Shop:
    """What a foreign server has: objects by path, of which `public` ones need no query. `odd` may answer instead.

    `keys` are access keys with which everything may be read, whatever their signature. `written` changes every ETag.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    written: str = ""
    public: set[str] = field(default_factory=set)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    odd: Callable[[BaseHTTPRequestHandler, bytes | None], bool] = lambda _handler, _body: False
    ranges: int = 0
    """How many ranges of more than one byte were sent."""

    def etag(self, path: str) -> str:
        """The ETag of an object as it is now."""
        body = self.objects[path] + self.written.encode()
        return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'

    def lets_in(self, path: str, query: str, authorization: str) -> bool:
        """Whether an object may be read so."""
        signed = any(f"Credential={key}/" in authorization for key in self.keys)
        return signed or path in self.public or "signature=right" in query


def _handler(shop: Shop) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            path = urllib.parse.unquote(path)
            shop.asked.append((self.path, dict(self.headers)))
            body = shop.objects.get(path)
            if shop.odd(self, body):
                pass
            elif body is None:
                self.say(404, b"<Error><Code>NoSuchKey</Code></Error>")
            elif not shop.lets_in(path, query, self.headers.get("Authorization", "")):
                self.say(403, b"<Error><Code>AccessDenied</Code></Error>")
            else:
                self.ranged(body, shop.etag(path))

        def ranged(self, body: bytes, etag: str, *, ignore_pin: bool = False) -> None:
            if not ignore_pin and self.headers.get("If-Match", etag) != etag:
                return self.say(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            asked = self.headers.get("Range")
            if asked is None:
                return self.say(200, body, {"ETag": etag})
            first, last = (int(each) for each in asked.removeprefix("bytes=").split("-"))
            last = min(last, len(body) - 1)
            if first >= len(body):
                return self.say(416, b"", {"ETag": etag, "Content-Range": f"bytes */{len(body)}"})
            if last > first:
                shop.ranges += 1
            told = {"ETag": etag, "Content-Range": f"bytes {first}-{last}/{len(body)}"}
            return self.say(206, body[first : last + 1], told)

        def say(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | dict(headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news here."""


@contextlib.contextmanager
def https_server(authority: Authority, shop: Shop, *names: str) -> Iterator[int]:
    """Serve a shop under these names; the port."""
    server = _Server(("127.0.0.1", 0), _handler(shop))
    context = authority.server(*(names or (HOST,)))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def tls_front(authority: Authority, port: int, name: str = HOST) -> Iterator[int]:
    """A port that speaks TLS under a name and passes every byte on to a plain port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = authority.server(name)
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(client,), daemon=True).start()

    def carry(client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(client, server_side=True) as outside,
            socket.create_connection(("127.0.0.1", port)) as inside,
        ):
            back = threading.Thread(target=pour, args=(inside, outside), daemon=True)
            back.start()
            pour(outside, inside)
            back.join()

    def pour(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stopped.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@dataclass
class Tripwire:
    """A port of this machine that counts who connects."""

    port: int
    connects: int = 0


@contextlib.contextmanager
def tripwire(address: str = "127.0.0.1") -> Iterator[Tripwire]:
    """Listen, and count."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family)
    wire = Tripwire(int(listener.getsockname()[1]))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            wire.connects += 1
            client.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def settings(*ports: int, **changes: Any) -> PullSettings:
    """Settings under which a server of this machine counts as a lab's."""
    chosen: dict[str, Any] = {
        "enabled": True,
        "secret_keys": (KEY,),
        "hosts": tuple(f"{HOST}:{port}" for port in ports),
        "allow_private_addresses": True,
    }
    return PullSettings(**(chosen | changes))


def egress(chosen: PullSettings, authority: Authority) -> Egress:
    """The guard, for which every name is this machine."""
    return Egress(chosen, resolver=lambda _host, _port: ["127.0.0.1"], trust=authority.trust())
