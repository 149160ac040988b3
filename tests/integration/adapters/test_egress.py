"""The way out: wherever a submitter's address leads, nothing inside is ever connected to."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from readvault.adapters import egress, foreign_s3
from readvault.adapters.egress import Egress
from readvault.adapters.egress_addresses import is_public, place_of
from readvault.adapters.foreign_s3 import ForeignS3
from readvault.config.pulls import PullSettings
from readvault.domain.pulls import Refusal, SourceAway, SourceRefused
from readvault.ports import ForeignAddress, ForeignBucket, ForeignKeys, ForeignObject
from tests import foreign
from tests.foreign import HOST, Authority, Shop, Tripwire, tripwire

RESOLVED = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104
    "10.0.0.1",
    "172.16.5.5",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "fd00:ec2::254",
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
    "not an address",
]
"""What a name on the list may resolve to when its owner is hostile."""
WRITTEN = [
    "http://{host}:{port}/b/x",
    "https://127.0.0.1:{port}/b/x",
    "https://[::1]:{port}/b/x",
    "https://[::ffff:127.0.0.1]:{port}/b/x",
    "https://0x7f.1:{port}/b/x",
    "https://2130706433:{port}/b/x",
    "https://0177.0.0.1:{port}/b/x",
    "https://127.1:{port}/b/x",
    "https://localhost:{port}/b/x",
    "https://localhost.:{port}/b/x",
    "https://{host}.:{port}/b/x",
    "https://user@{host}:{port}/b/x",
    "https://{host}:{port}@127.0.0.1:{port}/b/x",
    "https://{host}%2f@127.0.0.1:{port}/b/x",
    "https://127.0.0.1:{port}\\@{host}/b/x",
    "https://127.0.0.1:{port}#@{host}:{port}/b/x",
    "https://xn--lab-tna.example:{port}/b/x",
    "https://ｓ3.lab.example:{port}/b/x",
    "https://s3。lab。example:{port}/b/x",
    "https://{host}:{port}1/b/x",
    "https://{host}:1/b/x",
    "https://{host}/b/x",
    "https://{host}:0{port}/b/../x",
    "https://{host}:{port}/b/%2e%2e/x",
    "https://{host}:{port}/b/x%2F..%2F..%2Fc%2fx",
    "https://{host}:{port}",
    "https://{host}:{port}?x",
    "https://evil{host}:{port}/b/x",
    "https://{host}.evil.example:{port}/b/x",
    "https:/{host}:{port}/b/x",
    "https:{host}:{port}/b/x",
    "//{host}:{port}/b/x",
    "gopher://{host}:{port}/_x",
    "file:///etc/passwd",
    "ftp://{host}:{port}/b/x",
    "https://{host}:{port}/b/x\r\nX-Evil: 1",
    "https://{host}:{port}/b/ x",
    " https://{host}:{port}/b/x",
    "jar:https://{host}:{port}/b/x",
    "",
    "https://" + "a" * 8200 + "/",
]
"""Addresses that are refused before anything is resolved."""
PINNED = ForeignObject(10, '"e"')


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def listed(wire: Tripwire, **changes: Any) -> PullSettings:
    """The strict settings of production, with the tripwire's port on the list in every spelling."""
    names = (HOST, "127.0.0.1", "localhost", "127.1", "0x7f.1")
    return PullSettings(enabled=True, hosts=tuple(f"{name}:{wire.port}" for name in names), **changes)


@pytest.mark.parametrize("address", RESOLVED)
def test_a_name_that_leads_inside_is_not_connected_to(
    address: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Any] = []

    def connect(*given: Any, **_: Any) -> socket.socket:
        tried.append(given)
        raise OSError

    with tripwire() as wire, monkeypatch.context() as patch:
        patch.setattr(socket, "create_connection", connect)
        out = ForeignS3(listed(wire), Egress(listed(wire), resolver=lambda *_: [address], trust=authority.trust()))
        url = f"https://{HOST}:{wire.port}/b/x"
        with pytest.raises(SourceRefused) as refused:
            out.look(ForeignAddress(url))
        assert refused.value.refusal is Refusal.ADDRESS
    assert (wire.connects, tried) == (0, [])


def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    with tripwire() as wire:
        out = Egress(listed(wire), resolver=lambda *_: ["52.219.170.1", "127.0.0.1"])
        with pytest.raises(SourceRefused), out.get(f"https://{HOST}:{wire.port}/b/x", {}, within=2):
            pass
    assert wire.connects == 0


@pytest.mark.parametrize("written", WRITTEN)
def test_an_odd_address_is_refused_before_anything_is_asked(written: str) -> None:
    asked: list[str] = []

    def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with tripwire() as wire:
        chosen = listed(wire, allow_private_addresses=True)  # so that nothing but the address itself is refused
        out = ForeignS3(chosen, Egress(chosen, resolver=resolver))
        with pytest.raises(SourceRefused) as refused:
            out.look(ForeignAddress(written.format(host=HOST, port=wire.port)))
        assert refused.value.refusal is Refusal.ADDRESS
    assert (wire.connects, asked) == (0, [])


def test_there_are_enough_hostile_endpoints() -> None:
    assert len(RESOLVED) + len(WRITTEN) >= 40


def test_a_name_that_changes_its_mind_is_checked_each_time(authority: Authority) -> None:
    answers = iter([["203.0.113.1"], ["127.0.0.1"]])  # a documentation network first: nobody is there
    with tripwire() as wire:
        chosen = listed(wire)
        out = Egress(chosen, resolver=lambda *_: next(answers), trust=authority.trust())
        for _ in range(2):
            with pytest.raises(SourceRefused), out.get(f"https://{HOST}:{wire.port}/b/x", {}, within=1):
                pass
    assert wire.connects == 0


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        connected.append(address)
        raise OSError

    asked = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["52.219.170.1"]

    monkeypatch.setattr(socket, "create_connection", connect)
    out = Egress(PullSettings(), resolver=resolver, trust=authority.trust())
    with pytest.raises(SourceAway), out.get("https://s3.eu-central-1.amazonaws.com/b/x", {}, within=1):
        pass
    assert asked == [("s3.eu-central-1.amazonaws.com", 443)]
    assert connected == [("52.219.170.1", 443)]


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.eu-central-1.amazonaws.com/bucket/x",
        "https://bucket.s3.eu-central-1.amazonaws.com/x?X-Amz-Signature=1",
        "https://bucket.s3.amazonaws.com/x",
        "https://s3-us-west-2.amazonaws.com/bucket/x",
        "https://s3.dualstack.us-gov-west-1.amazonaws.com/bucket/x",
        "https://s3.cn-north-1.amazonaws.com.cn/bucket/x",
    ],
)
def test_s3_at_aws_is_on_the_list(url: str) -> None:
    assert place_of(url, PullSettings()).port == 443
    with pytest.raises(SourceRefused):
        place_of(url, PullSettings(aws_regions=()))


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.eu-central-1.amazonaws.com.evil.example/x",
        "https://ec2.eu-central-1.amazonaws.com/x",
        "https://bucket.s3-website-us-east-1.amazonaws.com/x",
        "https://evil-s3.eu-central-1.amazonaws.com/x",
        "https://s3.eu-central-1.amazonaws.com:8443/x",
        "https://amazonaws.com/x",
    ],
)
def test_what_only_looks_like_it_is_not(url: str) -> None:
    with pytest.raises(SourceRefused):
        place_of(url, PullSettings())


def test_regions_can_be_chosen() -> None:
    chosen = PullSettings(aws_regions=("eu-central-1",))
    assert place_of("https://s3.eu-central-1.amazonaws.com/b/x", chosen)
    with pytest.raises(SourceRefused):
        place_of("https://s3.us-east-1.amazonaws.com/b/x", chosen)
    with pytest.raises(SourceRefused):
        place_of("https://s3.amazonaws.com/b/x", chosen)


@pytest.mark.parametrize("address", ["8.8.8.8", "52.219.170.1", "2600:1f60::1", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@contextmanager
def raw_server(authority: Authority, answer: Callable[[ssl.SSLSocket], None]) -> Iterator[int]:
    """A server that reads a request's headers and then does as it likes."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = authority.server(HOST)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(client,), daemon=True).start()

    def talk(client: socket.socket) -> None:
        try:
            with context.wrap_socket(client, server_side=True) as speaking:
                speaking.recv(65536)
                answer(speaking)
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def drip(speaking: ssl.SSLSocket, head: bytes, piece: bytes) -> None:
    speaking.sendall(head)
    for _ in range(400):
        speaking.sendall(piece)
        time.sleep(0.02)


HEAD = b'HTTP/1.1 206 x\r\nETag: "e"\r\nContent-Range: bytes 0-9/10\r\n'
NASTY: dict[str, tuple[Callable[[ssl.SSLSocket], None], type[Exception]]] = {
    "headers without end": (lambda s: drip(s, b"HTTP/1.1 206 x\r\n", b"X-A: b\r\n"), SourceAway),
    "huge headers": (lambda s: s.sendall(b"HTTP/1.1 206 x\r\nX: " + b"a" * 300_000), SourceAway),
    "a body that drips": (lambda s: drip(s, HEAD + b"Content-Length: 10\r\n\r\n", b""), SourceAway),
    "a body without end": (
        lambda s: s.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"),
        SourceRefused,
    ),
    "more than was asked": (lambda s: s.sendall(HEAD + b"Content-Length: 11\r\n\r\n" + b"x" * 11), SourceRefused),
    "less than was asked": (lambda s: s.sendall(HEAD + b"Content-Length: 9\r\n\r\n" + b"x" * 9), SourceAway),
    "broken off": (lambda s: s.sendall(HEAD + b"Content-Length: 10\r\n\r\n" + b"x" * 3), SourceAway),
    "another range": (
        lambda s: s.sendall(HEAD.replace(b"0-9", b"1-9") + b"Content-Length: 10\r\n\r\n" + b"x" * 10),
        SourceRefused,
    ),
    "no HTTP": (lambda s: s.sendall(b"SSH-2.0-OpenSSH\r\n"), SourceAway),
    "silence": (lambda s: time.sleep(2), SourceAway),
}


@pytest.mark.parametrize("nasty", NASTY)
def test_a_nasty_server_keeps_nobody(nasty: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, expected = NASTY[nasty]
    monkeypatch.setattr(egress, "SILENCE", 0.5)
    monkeypatch.setattr(foreign_s3, "ANSWER_WITHIN", 0.6)
    with raw_server(authority, answer) as port:
        chosen = foreign.settings(port)
        out = ForeignS3(chosen, foreign.egress(chosen, authority))
        began = time.monotonic()
        with pytest.raises(expected):
            out.read(ForeignAddress(f"https://{HOST}:{port}/b/x"), PINNED, 0, 10, lambda: None)
        assert time.monotonic() - began < 2


def test_nothing_is_unpacked(authority: Authority) -> None:
    packed = HEAD + b"Content-Encoding: gzip\r\nContent-Length: 10\r\n\r\n" + b"x" * 10
    with raw_server(authority, lambda speaking: speaking.sendall(packed)) as port:
        chosen = foreign.settings(port)
        out = ForeignS3(chosen, foreign.egress(chosen, authority))
        address = ForeignAddress(f"https://{HOST}:{port}/b/x")
        assert out.read(address, PINNED, 0, 10, lambda: None) == b"x" * 10


def test_a_redirect_is_not_followed(authority: Authority) -> None:
    with tripwire() as wire:
        shop = Shop({"/b/x": b"x"})
        there = {"Location": f"https://{HOST}:{wire.port}/latest/meta-data/"}
        shop.odd = lambda handler, _: handler.say(302, b"", there) or True  # type: ignore[attr-defined]
        with foreign.https_server(authority, shop) as port:
            chosen = foreign.settings(port, wire.port)
            out = ForeignS3(chosen, foreign.egress(chosen, authority))
            with pytest.raises(SourceRefused) as refused:
                out.look(ForeignAddress(f"https://{HOST}:{port}/b/x"))
    assert refused.value.refusal is Refusal.REDIRECT
    assert wire.connects == 0


def test_a_certificate_must_be_of_the_name_and_of_a_known_authority(authority: Authority, tmp_path: Path) -> None:
    with foreign.https_server(authority, Shop({"/b/x": b"x"}), "other.example") as port:
        chosen = foreign.settings(port)
        url = f"https://{HOST}:{port}/b/x"
        for trust in (authority.trust(), ssl.create_default_context()):
            out = Egress(chosen, resolver=lambda *_: ["127.0.0.1"], trust=trust)
            with pytest.raises(SourceRefused, match="certificate"), out.get(url, {}, within=2):
                pass


def test_a_lab_s_own_authority_can_be_trusted(authority: Authority) -> None:
    with foreign.https_server(authority, Shop({"/b/x": b"x"}, public={"/b/x"})) as port:
        chosen = foreign.settings(port, ca_file=authority.ca_file)
        out = ForeignS3(chosen, Egress(chosen, resolver=lambda *_: ["127.0.0.1"]))
        assert out.look(ForeignAddress(f"https://{HOST}:{port}/b/x")).size == 1


def test_nothing_is_taken_from_the_environment(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with tripwire() as wire:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{wire.port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the environment")
        shop = Shop({"/b/x": b"x"}, public={"/b/x"})
        with foreign.https_server(authority, shop) as port:
            chosen = foreign.settings(port)
            out = ForeignS3(chosen, foreign.egress(chosen, authority))
            bucket = ForeignBucket(f"https://{HOST}:{port}", "us-east-1", "b")
            out.look(out.address_in(bucket, "x"))
            out.look(out.address_in(ForeignBucket(**{**_parts(bucket), "keys": ForeignKeys("AKIALAB", "s")}), "x"))
        (plain, signed) = (headers for _, headers in shop.asked)
        assert "Authorization" not in plain
        assert "Credential=AKIALAB/" in signed["Authorization"]
    assert wire.connects == 0


def _parts(bucket: ForeignBucket) -> dict[str, Any]:
    return {"endpoint": bucket.endpoint, "region": bucket.region, "bucket": bucket.bucket}


LIST = b"<ListBucketResult><Contents><Key>p/a</Key><Size>3</Size></Contents><IsTruncated>false</IsTruncated>%s"


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + LIST % b"</ListBucketResult>",
        LIST % b"",
        LIST.replace(b"p/a", b"q/a") % b"</ListBucketResult>",
        LIST.replace(b"3", b"-3") % b"</ListBucketResult>",
        LIST.replace(b"false", b"true") % b"</ListBucketResult>",
        b"\xff\xfe<\x00",
        b"x" * (9 * 2**20),
    ],
)
def test_a_list_that_is_none_is_refused(body: bytes, authority: Authority) -> None:
    shop = Shop(odd=lambda handler, _: handler.say(200, body) or True)  # type: ignore[attr-defined]
    with foreign.https_server(authority, shop) as port:
        chosen = foreign.settings(port)
        out = ForeignS3(chosen, foreign.egress(chosen, authority))
        with pytest.raises(SourceRefused):
            out.listing(ForeignBucket(f"https://{HOST}:{port}", "us-east-1", "bucket"), "p/", at_most=10)


def test_a_list_is_bounded(authority: Authority) -> None:
    many = b"".join(b"<Contents><Key>p/%d</Key><Size>1</Size></Contents>" % number for number in range(4))
    body = b"<ListBucketResult>" + many + b"<Contents><Key>p/</Key><Size>0</Size></Contents></ListBucketResult>"
    shop = Shop(odd=lambda handler, _: handler.say(200, body) or True)  # type: ignore[attr-defined]
    with foreign.https_server(authority, shop) as port:
        chosen = foreign.settings(port)
        out = ForeignS3(chosen, foreign.egress(chosen, authority))
        bucket = ForeignBucket(f"https://{HOST}:{port}", "us-east-1", "bucket")
        assert len(out.listing(bucket, "p/", at_most=4)) == 4
        with pytest.raises(SourceRefused, match="more than 3 objects"):
            out.listing(bucket, "p/", at_most=3)


def test_secrets_are_in_no_text(authority: Authority) -> None:
    keys = ForeignKeys("AKIACANARY", "canary-secret", "canary-token")
    address = ForeignAddress("https://s3.lab.example/b/x?X-Amz-Signature=canary-signature", "r", keys)
    for each in (keys, address, ForeignBucket("https://s3.lab.example", "r", "bucket", keys)):
        assert "canary" not in repr(each).lower()
    with tripwire() as wire:
        out = ForeignS3(PullSettings(hosts=(f"{HOST}:{wire.port}",)))
        with pytest.raises(SourceRefused) as refused:
            out.look(address)
    assert "canary" not in str(refused.value).lower()
