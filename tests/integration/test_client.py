"""The client against the real API with a store in memory: retries, resuming, hashes, readable errors."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.api.app import create_app
from readvault.client import Client, ClientError, Ticket, files_cell
from readvault.domain.identifiers import AccessionVersion
from readvault.ports import SignedRequest, StoredVersion
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from tests.fakes import Refused
from tests.integration.services import scenes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette wants another HTTP library for its test client
    from fastapi.testclient import TestClient

ORGANISM = "sars-cov-2"
Fault = Callable[[httpx.Request], httpx.Response | None]


@dataclass
class Network(httpx.BaseTransport):
    """Leads to the API and to the store in memory; `faults` happen to the next requests to the store."""

    api: httpx.BaseTransport
    house: House
    faults: list[Fault] = field(default_factory=list)
    to_store: list[httpx.Request] = field(default_factory=list)
    to_api: list[httpx.Request] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme != "memory":
            self.to_api.append(request)
            return self.api.handle_request(request)
        self.to_store.append(request)
        if self.faults and (broken := self.faults.pop(0)(request)) is not None:
            return broken
        return self._put(request) if request.method == "PUT" else self._get(request)

    def _put(self, request: httpx.Request) -> httpx.Response:
        headers = {name: request.headers[name] for name in ("If-None-Match",) if name in request.headers}
        try:
            etag = self.house.store.put(SignedRequest(str(request.url), headers), request.read())  # type: ignore[attr-defined]
        except Refused as refused:
            return httpx.Response(refused.status, content=b"<Error><Code>AccessDenied</Code></Error>")
        return httpx.Response(200, headers={"ETag": etag})

    def _get(self, request: httpx.Request) -> httpx.Response:
        key = f"{request.url.host}{request.url.path}"
        version = parse_qs(request.url.query.decode())["versionId"][0]
        body = self.house.store.read(StoredVersion(key, version, 0))  # type: ignore[attr-defined]
        if "range" in request.headers:
            start = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
            told = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            return httpx.Response(206, headers=told, stream=httpx.ByteStream(body[start:]))
        return httpx.Response(200, stream=httpx.ByteStream(body))


def cut(request: httpx.Request) -> httpx.Response | None:
    """The connection breaks before anything arrives."""
    raise httpx.ConnectError("cut")


def busy(request: httpx.Request) -> httpx.Response | None:
    """The store is busy."""
    return httpx.Response(503)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedIssuer:
    """Made once: its key takes a while."""
    return EmbeddedIssuer(tmp_path_factory.mktemp("issuer") / "key.pem", url="http://testserver", token_minutes=10)


@pytest.fixture
def network(house: House, issuer: EmbeddedIssuer) -> Network:
    server = TestClient(create_app(house, Identity(issuer)), raise_server_exceptions=False)
    return Network(server._transport, house)


@pytest.fixture
def client(network: Network, house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Alice, logged in; her password is hashed at little cost."""
    monkeypatch.setattr("readvault.services.people.accounts._COST", 2)
    create_account(house, "alice", "secret")
    with Client("http://testserver", transport=network, pause=lambda seconds: None) as opened:
        opened.login("alice", "secret")
        yield opened


@pytest.fixture
def group_id(client: Client) -> int:
    address = {"line1": "1 Way", "line2": "", "city": "Basel", "state": "", "postalCode": "4000", "country": "CH"}
    return client.create_group("Lab", institution="Institute", contact_email="lab@example.org", address=address)


def _file(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def _stored(house: House, ticket: Ticket) -> bytes:
    (versions,) = [v for key, v in house.store.versions.items() if key.endswith(ticket.file_id)]  # type: ignore[attr-defined]
    ((_, body),) = versions
    return bytes(body)


def _metadata(*tickets: Ticket) -> str:
    return f"id\tdate\tplatform\tfiles.rawReads\ns1\t2020-01-01\tILLUMINA\t{files_cell(tickets)}\n"


def test_files_are_uploaded_once_and_submitted(
    client: Client, network: Network, house: House, group_id: int, tmp_path: Path
) -> None:
    paths = [_file(tmp_path, "r1.fastq", 1000), _file(tmp_path, "r2.fastq", 3 * 2**20)]
    tickets = client.request_uploads(group_id, paths, category="rawReads")
    sent: list[int] = []
    for ticket in tickets:
        client.upload(ticket, sent.append)
        assert _stored(house, ticket) == ticket.path.read_bytes()
    assert sum(sent) == sum(path.stat().st_size for path in paths)
    (entry,) = client.submit(ORGANISM, group_id, _metadata(*tickets))
    assert entry == {"accession": "LOC_000001Y", "version": 1, "submissionId": "s1"}
    assert client.entries(ORGANISM, groupIdsFilter=group_id)["statusCounts"]["RECEIVED"] == 1
    assert [group["groupId"] for group in client.groups()] == [group_id]


class _LosesAnswers(httpx.BaseTransport):
    """Does what is asked, and the first answer never arrives, or says 503."""

    def __init__(self, api: httpx.BaseTransport, *, says: int | None) -> None:
        self._api, self._says, self.asked = api, says, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._api.handle_request(request)
        self.asked += 1
        if self.asked > 1:
            return answer
        if self._says is None:
            raise httpx.ReadError("lost")
        return httpx.Response(self._says)


@pytest.mark.parametrize("says", [None, 503])
def test_a_request_with_a_key_is_sent_again_and_any_other_is_not(
    client: Client, network: Network, group_id: int, tmp_path: Path, says: int | None
) -> None:
    paths, plain = [_file(tmp_path, "r1.fastq", 1000)], network.api
    network.api = lossy = _LosesAnswers(plain, says=says)
    [ticket] = client.request_uploads(group_id, paths, key="a key")
    assert lossy.asked == 2
    assert client.request_uploads(group_id, paths, key="a key")[0].file_id == ticket.file_id
    network.api = lossy = _LosesAnswers(plain, says=says)
    with pytest.raises(ClientError):
        client.request_uploads(group_id, paths)
    assert lossy.asked == 1


def test_the_token_goes_to_the_api_and_never_to_the_store(
    client: Client, network: Network, group_id: int, tmp_path: Path
) -> None:
    (ticket,) = client.request_uploads(group_id, [_file(tmp_path, "r1.fastq", 10)])
    client.upload(ticket)
    assert "authorization" in network.to_api[-1].headers
    assert [request.headers.get("authorization") for request in network.to_store] == [None]
    assert network.to_store[0].headers["content-length"] == "10"
    assert "transfer-encoding" not in network.to_store[0].headers


@pytest.mark.parametrize("faults", [[cut], [busy, cut, busy]])
def test_an_upload_that_breaks_off_is_repeated(
    client: Client, network: Network, house: House, group_id: int, tmp_path: Path, faults: list[Fault]
) -> None:
    (ticket,) = client.request_uploads(group_id, [_file(tmp_path, "r1.fastq", 2**21)])
    network.faults = list(faults)
    sent: list[int] = []
    client.upload(ticket, sent.append)
    assert _stored(house, ticket) == ticket.path.read_bytes()
    assert sum(sent) == 2**21


def test_a_lost_answer_is_no_failure(
    client: Client, network: Network, house: House, group_id: int, tmp_path: Path
) -> None:
    (ticket,) = client.request_uploads(group_id, [_file(tmp_path, "r1.fastq", 100)])

    def lost(request: httpx.Request) -> httpx.Response | None:
        network._put(request)
        raise httpx.ReadError("the answer got lost")

    network.faults = [lost]
    sent: list[int] = []
    client.upload(ticket, sent.append)
    assert (_stored(house, ticket), sum(sent)) == (ticket.path.read_bytes(), 100)


def test_a_second_upload_and_a_changed_file_are_refused_by_the_store(
    client: Client, group_id: int, tmp_path: Path
) -> None:
    tickets = client.request_uploads(group_id, [_file(tmp_path, "r1.fastq", 100), _file(tmp_path, "r2.fastq", 100)])
    client.upload(tickets[0])
    with pytest.raises(ClientError, match=r"upload of r1\.fastq .*412.*uploaded already"):
        client.upload(tickets[0])
    tickets[1].path.write_bytes(b"x" * 100)
    with pytest.raises(ClientError, match=r"upload of r2\.fastq") as refused:
        client.upload(tickets[1])
    assert "memory://" not in str(refused.value)


def test_a_store_that_stays_away_is_a_readable_error(
    client: Client, network: Network, group_id: int, tmp_path: Path
) -> None:
    (ticket,) = client.request_uploads(group_id, [_file(tmp_path, "r1.fastq", 100)])
    network.faults = [cut] * 10
    with pytest.raises(ClientError, match=r"The upload of r1\.fastq broke off \(ConnectError\)"):
        client.upload(ticket)
    assert len(network.to_store) == 4


@pytest.fixture
def big(client: Client, group_id: int, tmp_path: Path) -> Ticket:
    """A file of 17 MB in four parts, the last one short."""
    return client.request_uploads(group_id, [_file(tmp_path, "big.bam", 17_000_000)], multipart=True)[0]


@pytest.fixture
def house(house: House) -> House:
    """Small parts, so that small files have several."""
    house.settings.urls.part_size = 5 * 2**20
    return house


def test_a_large_file_goes_in_parts(client: Client, network: Network, house: House, big: Ticket) -> None:
    assert (big.put, big.part_count) == (None, 4)
    sent: list[int] = []
    client.upload(big, sent.append)
    assert _stored(house, big) == big.path.read_bytes()
    assert sum(sent) == big.size
    client.upload(big)  # it is complete: nothing is sent again
    assert len(network.to_store) == 4


def test_a_broken_multipart_upload_goes_on_in_another_process(
    client: Client, network: Network, house: House, big: Ticket
) -> None:
    def last_part_fails(request: httpx.Request) -> httpx.Response | None:
        return cut(request) if int(request.headers["content-length"]) < 5 * 2**20 else None

    network.faults = [last_part_fails] * 20
    with pytest.raises(ClientError, match="broke off"):
        client.upload(big)
    network.faults, network.to_store = [], []
    sent: list[int] = []
    client.upload(client.resume(big.file_id, big.path), sent.append)
    assert len(network.to_store) == 1
    assert sum(sent) == big.size
    assert _stored(house, big) == big.path.read_bytes()


def test_a_part_whose_signature_has_expired_is_signed_anew(
    client: Client, network: Network, house: House, big: Ticket
) -> None:
    network.faults = [lambda request: httpx.Response(403, content=b"<Code>ExpiredToken</Code>")]
    client.upload(big)
    assert _stored(house, big) == big.path.read_bytes()
    assert [request.url.path for request in network.to_api if request.url.path.endswith("/parts")] == [
        f"/files/{big.file_id}/parts"
    ]


def test_resuming_with_another_file_is_refused(client: Client, big: Ticket, tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="can't be resumed"):
        client.resume(big.file_id, _file(tmp_path, "other.bam", 5))


def test_file_names_that_no_metadata_could_hold_are_refused_before_any_byte_goes(
    client: Client, network: Network, group_id: int, tmp_path: Path
) -> None:
    before = len(network.to_api)
    with pytest.raises(ClientError, match=r"Rename my reads\.fastq"):
        client.request_uploads(group_id, [_file(tmp_path, "my reads.fastq", 5)])
    assert len(network.to_api) == before


@pytest.fixture
def processed(client: Client, house: House, group_id: int) -> tuple[AccessionVersion, str]:
    return scenes.processed(house, group_id, text=b">main\n" + b"ACGT" * 1_000_000)


def _download(client: Client, name: AccessionVersion, target: Path, **options: Any) -> str:
    return client.download(name.accession, name.version, "consensus", "consensus.fasta", target, **options)


def test_review_approve_and_download_as_a_stranger(
    client: Client, network: Network, processed: tuple[AccessionVersion, str], tmp_path: Path
) -> None:
    name, digest = processed
    heard: list[str] = []
    review = client.wait_until_processed(ORGANISM, name.accession, name.version, on_status=heard.append)
    assert (review["manifestDigest"], heard) == (digest, ["PROCESSED"])
    (file,) = review["processedData"]["files"]["consensus"]
    target = tmp_path / "folder" / "c.fasta"
    with Client("http://testserver", transport=network) as stranger:
        with pytest.raises(ClientError, match="the file is not public") as refused:
            _download(stranger, name, target)
        assert refused.value.status == 401
        with pytest.raises(ClientError, match="409"):
            client.approve(ORGANISM, [(name.accession, name.version, "0" * 64)])
        approved = client.approve(ORGANISM, [(name.accession, name.version, digest)])
        assert approved == [{"accession": name.accession, "version": name.version}]
        sizes: list[int] = []
        assert _download(stranger, name, target, sha256=file["sha256"], progress=sizes.append) == file["sha256"]
    assert sum(sizes) == target.stat().st_size == file["size"]
    assert list(target.parent.iterdir()) == [target]


class _BreaksOff(httpx.SyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        raise httpx.ReadError("broke off")


@pytest.mark.parametrize("ranges", [True, False], ids=["goes on", "begins anew"])
def test_a_download_that_breaks_off_ends_whole(
    client: Client, network: Network, processed: tuple[AccessionVersion, str], tmp_path: Path, ranges: bool
) -> None:
    def half(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=_BreaksOff(network._get(request).read()[:1000]))

    def whole(request: httpx.Request) -> httpx.Response:
        del request.headers["range"]
        return network._get(request)

    network.faults = [half] if ranges else [half, whole]
    sizes: list[int] = []
    digest = _download(client, processed[0], tmp_path / "c.fasta", progress=sizes.append)
    body = (tmp_path / "c.fasta").read_bytes()
    assert body == b">main\n" + b"ACGT" * 1_000_000
    assert digest == hashlib.sha256(body).hexdigest()
    assert sum(sizes) == len(body)
    assert network.to_store[-1].headers.get("range") == ("bytes=1000-" if ranges else None)


def test_a_download_with_other_bytes_leaves_nothing_behind(
    client: Client, processed: tuple[AccessionVersion, str], tmp_path: Path
) -> None:
    target = tmp_path / "downloads" / "c.fasta"
    with pytest.raises(ClientError, match="another SHA-256"):
        _download(client, processed[0], target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_errors_are_the_servers_own_sentences(client: Client, network: Network) -> None:
    with pytest.raises(ClientError, match=r"^Group\(s\) 77 do\(es\) not exist\. \(HTTP 404\)$"):
        client.submit(ORGANISM, 77, "id\tdate\n")
    with pytest.raises(ClientError, match=r"^Invalid organism: ebola, possible values are: \[sars-cov-2\]"):
        client.entries("ebola")
    with pytest.raises(ClientError, match=r"^Invalid user credentials \(HTTP 401\)$"):
        client.login("alice", "wrong")
    nowhere = Client("http://127.0.0.1:9", pause=lambda seconds: None)
    with nowhere, pytest.raises(ClientError, match="can't be reached"):
        nowhere.groups()


def test_a_token_is_renewed_before_it_expires(client: Client, network: Network) -> None:
    client._expires = 0.0
    client.groups()
    paths = [request.url.path.rpartition("/")[2] for request in network.to_api]
    assert paths[-2:] == ["token", "groups"]


def test_waiting_ends_when_a_maintainer_has_to_look_or_time_is_up(client: Client, house: House, group_id: int) -> None:
    name, job_id = scenes.entry(house, group_id)
    with pytest.raises(ClientError, match="is still RECEIVED"):
        client.wait_until_processed(ORGANISM, name.accession, name.version, seconds=0)
    scenes.change(house, job_id, state="needs attention")
    with pytest.raises(ClientError, match="a maintainer has to look at it"):
        client.wait_until_processed(ORGANISM, name.accession, name.version, seconds=0)
