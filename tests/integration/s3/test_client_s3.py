"""The client, the API and a real S3: what is signed is enforced, what breaks off goes on."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.client import Client, ClientError, Ticket
from readvault.client.transfer import Transfer
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from tests.houses import ALICE, group_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette wants another HTTP library for its test client
    from fastapi.testclient import TestClient

pytestmark = pytest.mark.slow
MULTIPART = 17_000_000


@dataclass
class ApiAndS3(httpx.BaseTransport):
    """Requests to the API stay in this process; all others go over the network, but for those that are cut."""

    api: httpx.BaseTransport
    s3: httpx.BaseTransport = field(default_factory=httpx.HTTPTransport)
    cut_when_shorter_than: int = 0
    sent: int = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "testserver":
            return self.api.handle_request(request)
        if int(request.headers.get("content-length", 2**40)) < self.cut_when_shorter_than:
            raise httpx.ConnectError("cut")
        self.sent += 1
        return self.s3.handle_request(request)

    def close(self) -> None:
        self.s3.close()


@pytest.fixture
def network(house: House, tmp_path: Path) -> Iterator[ApiAndS3]:
    house.settings.urls.part_size = 5 * 2**20
    issuer = EmbeddedIssuer(tmp_path / "identity-key.pem", url="http://testserver", token_minutes=10)
    server = TestClient(create_app(house, Identity(issuer)), raise_server_exceptions=False)
    opened = ApiAndS3(server._transport)
    yield opened
    opened.close()


@pytest.fixture
def client(network: ApiAndS3, house: House) -> Iterator[Client]:
    create_account(house, ALICE.name, "secret")
    with Client("http://testserver", transport=network, pause=lambda seconds: None) as opened:
        opened.login(ALICE.name, "secret")
        yield opened


def _ticket(client: Client, house: House, path: Path, size: int, *, multipart: bool = False) -> Ticket:
    path.write_bytes(os.urandom(size))
    return client.request_uploads(group_of(house, ALICE), [path], multipart=multipart)[0]


def _bytes_of(house: House, ticket: Ticket, target: Path) -> bytes:
    (stored,) = [each for each in house.store.list_versions("incoming/") if each.key.endswith(ticket.file_id)]
    house.store.fetch(stored, target)
    return target.read_bytes()


def test_a_file_arrives_once_and_as_declared(client: Client, house: House, tmp_path: Path) -> None:
    ticket = _ticket(client, house, tmp_path / "reads.fastq.gz", 2 * 2**20)
    client.upload(ticket)
    assert _bytes_of(house, ticket, tmp_path / "fetched") == ticket.path.read_bytes()
    with pytest.raises(ClientError, match=r"refused the upload of reads\.fastq\.gz .*412"):
        client.upload(ticket)


def test_other_bytes_than_declared_are_refused_by_s3(client: Client, house: House, tmp_path: Path) -> None:
    ticket = _ticket(client, house, tmp_path / "reads.fastq.gz", 1000)
    ticket.path.write_bytes(b"x" * 1000)
    with pytest.raises(ClientError, match=r"refused the upload of reads\.fastq\.gz") as refused:
        client.upload(ticket)
    assert "http://" not in str(refused.value)
    assert list(house.store.list_versions("incoming/")) == []


def test_a_large_file_arrives_in_parts_and_a_broken_one_goes_on(
    client: Client, network: ApiAndS3, house: House, tmp_path: Path
) -> None:
    ticket = _ticket(client, house, tmp_path / "big.bam", MULTIPART, multipart=True)
    assert ticket.part_count == 4
    network.cut_when_shorter_than = 5 * 2**20  # the last part doesn't get through
    with pytest.raises(ClientError, match="broke off"):
        client.upload(ticket)
    network.cut_when_shorter_than, network.sent = 0, 0
    progress: list[int] = []
    client.upload(client.resume(ticket.file_id, ticket.path), progress.append)
    assert (network.sent, sum(progress)) == (1, MULTIPART)
    assert _bytes_of(house, ticket, tmp_path / "fetched") == ticket.path.read_bytes()


def test_a_download_goes_on_where_it_broke_off(house: House, tmp_path: Path) -> None:
    source = tmp_path / "consensus.fasta"
    source.write_bytes(os.urandom(3 * 2**20))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    stored = house.store.store(source, f"vault/1/{digest}", sha256=digest)
    asked: list[str | None] = []

    class Breaking(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.headers.get("range"))
            response = super().handle_request(request)
            return response if len(asked) > 1 else httpx.Response(200, stream=_first_half(response))

    def _first_half(response: httpx.Response) -> httpx.SyncByteStream:
        body = response.read()

        class Half(httpx.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                yield body[: len(body) // 2]
                raise httpx.ReadError("broke off")

        return Half()

    transfer = Transfer(Breaking(), pause=lambda seconds: None)
    url = house.store.sign_get(stored.key, stored.version_id, name="consensus.fasta", expires=60)
    assert transfer.get(lambda: url, tmp_path / "target.fasta", lambda _: None) == digest
    assert asked == [None, f"bytes={3 * 2**19}-"]
    assert (tmp_path / "target.fasta").read_bytes() == source.read_bytes()
    transfer.close()
