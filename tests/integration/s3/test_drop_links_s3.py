"""Drop links on a real S3: whoever holds one can write once under keys of ours, in whatever state it is."""

from __future__ import annotations

import base64
import hashlib
import itertools
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from readvault.adapters.identity import EmbeddedIssuer, Identity
from readvault.adapters.s3 import S3Store
from readvault.api.app import create_app
from readvault.config import S3Settings
from readvault.db.engine import Sessions, create_engine
from readvault.services.drops import arrivals, links
from readvault.services.drops.links import DAY
from readvault.services.house import House
from readvault.services.people import groups
from tests.conftest import MigratedDatabases
from tests.fakes import RecordingOrchestrator
from tests.houses import ALICE, MAINTAINER, build_house
from tests.integration.services.drop_scenes import let_pass, link_of, prepared, used

with warnings.catch_warnings():
    # Starlette wants another HTTP library for its test client; the installed one works.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

BODY = b"@r\nACGT\n+\nIIII\n"
EVIL = b"@r\nTTTT\n+\nIIII\n"
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Ground:
    """An instance with drop links on a real S3; `seen` are all bytes that any answer held."""

    house: House
    client: TestClient
    group_id: int
    bucket: str
    folder: Path
    endpoint: str
    outside: httpx.Client
    seen: list[bytes] = field(default_factory=list)

    def api(self, method: str, path: str, token: str | None, **more: Any) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = self.client.request(method, path, headers=headers, **more)
        self.seen.append(answer.content)
        return answer  # type: ignore[return-value]

    def s3(self, method: str, url: str, **more: Any) -> httpx.Response:
        answer = self.outside.request(method, url, **more)
        self.seen.append(answer.content)
        return answer

    def announce(self, token: str, **more: Any) -> dict[str, Any]:
        asked = {"name": "r1.fastq", "size": str(len(BODY)), "sha256": SHA256, **more}
        answer = self.api("POST", "/drop/files", token, data={k: v for k, v in asked.items() if v is not None})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def deliver(self, token: str, **more: Any) -> str:
        ticket = self.announce(token, **more)
        put = self.s3("PUT", ticket["put"]["url"], content=BODY, headers=ticket["put"]["headers"])
        assert put.status_code == 200
        return str(ticket["objectName"])

    def stored(self, prefix: str = "") -> dict[str, list[bytes]]:
        """What lies in the bucket."""
        found: dict[str, list[bytes]] = {}
        for version in self.house.store.list_versions(prefix):
            target = self.folder / "fetched"
            self.house.store.fetch(version, target)
            found.setdefault(version.key, []).append(target.read_bytes())
        return found


@pytest.fixture
def ground(
    s3_settings: S3Settings, migrated_databases: MigratedDatabases, issuer: EmbeddedIssuer, tmp_path: Path
) -> Iterator[Ground]:
    sessions = Sessions(create_engine(migrated_databases.sqlite()))
    house = build_house(sessions, S3Store(s3_settings), RecordingOrchestrator(), tmp_path)
    house, group_id = prepared(house)
    house.settings.urls.multipart_allowed_from, house.settings.urls.part_size = 6 * 10**6, 5 * 2**20
    client = TestClient(create_app(house, Identity(issuer)), raise_server_exceptions=False)
    with client, httpx.Client() as outside:
        yield Ground(house, client, group_id, s3_settings.bucket, tmp_path, s3_settings.endpoint, outside)
    sessions.close()


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedIssuer:
    key = tmp_path_factory.mktemp("issuer") / "key.pem"
    return EmbeddedIssuer(key, url="http://testserver", token_minutes=10)


def _revoke(ground: Ground, link_id: str) -> None:
    links.revoke_link(ground.house, ALICE, link_id, ground.group_id)


def _expire(ground: Ground, _: str) -> None:
    let_pass(ground.house, 91 * DAY)


def _leave(ground: Ground, _: str) -> None:
    groups.remove_member(ground.house, MAINTAINER, ground.group_id, ALICE.name)


def _stay(_ground: Ground, _link_id: str) -> None:
    pass


STATES: dict[str, Callable[[Ground, str], None]] = {
    "open": _stay,
    "revoked": _revoke,
    "expired": _expire,
    "maker gone": _leave,
}
VERBS = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH")
WAYS_IN = ("token as bearer", "token as AWS key", "signed URL's query", "nothing")


@pytest.mark.parametrize("state", ["open", "revoked"])
def test_verbs_and_prefixes(ground: Ground, state: str) -> None:
    """Every verb on every prefix of the bucket, with all that a holder ever had; of an open link with what S3 knows."""
    link_id, token = link_of(ground.house, ground.group_id, days=90)
    other_id, other = link_of(ground.house, ground.group_id, days=90)
    mine, theirs = ground.deliver(token), ground.deliver(other)
    ticket = ground.announce(token)
    for key in ("vault/1/aa", "manifests/x.json", "records/x.json", "incoming/batch/file", "elsewhere"):
        source = ground.folder / "planted"
        source.write_bytes(b"canary " + key.encode())
        ground.house.store.store(source, key, sha256=hashlib.sha256(source.read_bytes()).hexdigest())
    STATES[state](ground, link_id)
    before = ground.stored()
    ground.seen.clear()
    targets = [
        "", "?list-type=2", "?versions", "?uploads",
        f"/incoming/drop-{link_id}/{mine}", f"/incoming/drop-{link_id}/", f"/incoming/drop-{link_id}/chosen",
        f"/incoming/drop-{other_id}/{theirs}", "/incoming/batch/file", "/vault/1/aa", "/manifests/x.json",
        f"/incoming/drop-{link_id}/../../vault/1/aa",
    ]  # fmt: skip
    signed = urlsplit(ticket["put"]["url"])
    counted = 0
    ways = WAYS_IN if state == "revoked" else ("signed URL's query",)
    for verb, target, way in itertools.product(VERBS, targets, ways):
        url, headers = f"{ground.endpoint}/{ground.bucket}{target}", dict[str, str]()
        if way == "token as bearer":
            headers["Authorization"] = f"Bearer {token}"
        elif way == "token as AWS key":
            headers["Authorization"] = f"AWS {token}:{base64.b64encode(token.encode()).decode()}"
        elif way == "signed URL's query":
            url += ("&" if "?" in url else "?") + signed.query
            headers |= ticket["put"]["headers"]
        headers.pop("Content-Length", None)
        body = EVIL if verb in ("PUT", "POST", "PATCH") else None
        answer = ground.s3(verb, url, headers=headers, content=body)
        assert answer.status_code >= 400, f"{verb} {target} with {way}: {answer.status_code}"
        counted += 1
    assert counted == (288 if state == "revoked" else 72)
    assert ground.stored() == before
    told = b"".join(ground.seen)
    assert b"canary" not in told
    assert BODY not in told


@pytest.mark.parametrize("state", STATES)
def test_routes_and_tokens(ground: Ground, state: str) -> None:
    """Every route with every token: an open link opens its own six, an ended one none, and no other token any."""
    link_id, token = link_of(ground.house, ground.group_id, days=90)
    _, other = link_of(ground.house, ground.group_id, MAINTAINER, days=90)
    name, waiting = ground.deliver(token), ground.announce(token)["objectName"]
    foreign = ground.announce(other)["objectName"]
    STATES[state](ground, link_id)
    ground.seen.clear()
    file = {"name": "a.fastq", "size": "4"}
    own: list[tuple[str, str, dict[str, str] | None]] = [
        ("GET", "/drop", None),
        ("POST", "/drop/files", file),
        ("POST", "/drop/forms", {"name": "a.fastq"}),
        *(("GET", f"/drop/files/{each}", None) for each in (name, waiting)),
        ("POST", f"/drop/files/{waiting}/url", None),
        ("POST", f"/drop/files/{name}/complete", None),
    ]
    never: list[tuple[str, str, dict[str, str] | None]] = [
        *((verb, f"/drop{path}", None) for verb in ("PUT", "DELETE", "PATCH") for path in ("", "/files", "/forms")),
        *((verb, f"/drop/files/{name}", None) for verb in ("PUT", "DELETE", "PATCH", "POST")),
        ("GET", "/drop/files", None),
        ("GET", "/drop/files/", None),
        ("GET", "/drop/forms", None),
        *(("GET", f"/drop/files/{each}", None) for each in (foreign, "a" * 26, "..%2F..", quote("%00"), "*")),
        ("POST", f"/drop/files/{foreign}/url", None),
        ("POST", f"/drop/files/{foreign}/parts", {"numbers": "1"}),
        ("POST", f"/drop/files/{foreign}/complete", None),
        ("GET", f"/groups/{ground.group_id}/dropped-files", None),
        ("GET", f"/groups/{ground.group_id}/drop-links", None),
        ("POST", f"/groups/{ground.group_id}/drop-links", None),
        ("DELETE", f"/groups/{ground.group_id}/drop-links/{link_id}", None),
        ("DELETE", f"/groups/{ground.group_id}/dropped-files/{name}", None),
        ("GET", f"/groups/{ground.group_id}/limits", None),
        ("POST", "/files/request-uploads", None),
        ("GET", f"/files/{name}", None),
        ("GET", "/user/tokens", None),
        ("POST", "/user/tokens", None),
        ("GET", "/admin/audit", None),
        ("POST", "/sars-cov-2/submit", None),
    ]
    wrong = (None, "rvd_" + "x" * 43, token[:-1], token + "x", token.upper(), "rvt_" + token[4:], "x.y.z", "rvd_")
    unsound = [
        (verb, path, data, each) for verb, path, data in own for each in (wrong if state == "open" else wrong[:2])
    ]
    ended = [] if state == "open" else [(verb, path, data, token) for verb, path, data in own]
    nothing = [(verb, path, data, token) for verb, path, data in never]
    texts = set()
    for verb, path, data, each in [*unsound, *ended, *nothing]:
        answer = ground.api(verb, path, each, data=data)
        assert 400 <= answer.status_code < 500, f"{verb} {path} with {each}: {answer.status_code}"
        if (verb, path, data) in own and each is not None and each.startswith("rvd_"):
            texts.add((answer.status_code, answer.json()["detail"]))
    assert texts == {(404, links.NO_LINK)}
    if state == "open":
        for verb, path, data in own:
            assert ground.api(verb, path, token, data=data).status_code == 200, (verb, path)
    assert not any(foreign.encode() in told.replace(b"/drop/files/" + foreign.encode(), b"") for told in ground.seen)


def test_a_leaked_link_after_its_revocation(ground: Ground) -> None:
    """Nothing new is announced; what was signed before ends by itself, lands where it was meant for, or nowhere."""
    link_id, token = link_of(ground.house, ground.group_id)
    ticket = ground.announce(token)
    _revoke(ground, link_id)
    for path in ("/drop/files", "/drop/forms"):
        assert ground.api("POST", path, token, data={"name": "a.fastq", "size": "4"}).status_code == 404
    url, headers = ticket["put"]["url"], ticket["put"]["headers"]
    elsewhere = (url.replace(ticket["objectName"], "x" * 26), url.replace("incoming/", "vault/"))
    for changed in (*elsewhere, f"{url}&versionId=1"):
        assert ground.s3("PUT", changed, content=BODY, headers=headers).status_code == 403
    assert ground.s3("PUT", url, content=EVIL, headers=headers).status_code == 400
    assert ground.stored() == {}
    assert ground.s3("PUT", url, content=BODY, headers=headers).status_code == 200
    assert ground.s3("PUT", url, content=BODY, headers=headers).status_code == 412
    for verb in ("GET", "HEAD", "DELETE"):
        assert ground.s3(verb, url).status_code == 403
    assert list(ground.stored().values()) == [[BODY]]


def test_a_form_posted_twice_and_posted_wrongly(ground: Ground) -> None:
    link_id, token = link_of(ground.house, ground.group_id, days=90)
    answer = ground.api("POST", "/drop/forms", token, data={"name": "a.fastq", "maxBytes": "100"})
    form = answer.json()
    assert set(form) == {"objectName", "url", "fields", "maxBytes", "expiresAt"}
    other_key = {**form["fields"], "key": f"incoming/drop-{link_id}/{'x' * 26}"}
    elsewhere = {**form["fields"], "key": "vault/1/x"}
    extra = {**form["fields"], "x-amz-tagging": "<Tagging/>"}
    unsigned = {"key": form["fields"]["key"]}
    for fields, body in (
        (other_key, BODY), (elsewhere, BODY), (unsigned, BODY), (extra, BODY),
        (form["fields"], b""), (form["fields"], b"x" * 101),
    ):  # fmt: skip
        refused = ground.s3("POST", form["url"], data=fields, files={"file": ("evil.fastq", body)})
        assert refused.status_code in (400, 403), refused.status_code
    assert ground.stored() == {}
    for body in (BODY, EVIL, EVIL + b"more"):
        posted = ground.s3("POST", form["url"], data=form["fields"], files={"file": ("../../name", body)})
        assert posted.status_code in (200, 204)
    assert ground.s3("GET", f"{form['url']}/{form['fields']['key']}").status_code == 403
    for _ in range(2):
        arrivals.sweep(ground.house)
    key = form["fields"]["key"]
    assert key == f"incoming/drop-{link_id}/{form['objectName']}"
    assert ground.stored() == {key: [BODY]}
    assert used(ground.house, link_id) == (len(BODY) + 2 * len(EVIL) + 4, 1)


def test_the_signer_of_uploads_signs_forms_for_incoming_alone(s3_settings: S3Settings) -> None:
    store = S3Store(s3_settings)
    form = store.sign_form("vault/1/x", max_size=10, expires=60)
    assert httpx.post(form.url, data=form.fields, files={"file": ("f", b"x")}).status_code == 403
    expired = store.sign_form("incoming/drop-x/y", max_size=10, expires=-1)
    assert httpx.post(expired.url, data=expired.fields, files={"file": ("f", b"x")}).status_code in (400, 403)
    assert list(store.list_versions("")) == []


def test_in_parts_with_resume(ground: Ground) -> None:
    _, token = link_of(ground.house, ground.group_id)
    body = (b"ACGT" * 10**6) * 2
    ticket = ground.announce(token, size=str(len(body)), sha256=None, multipart="true", name="big.fastq")
    assert ticket["put"] is None
    path, size = f"/drop/files/{ticket['objectName']}", ticket["partSize"]
    assert ground.api("GET", path, token, params={"as": "words"}).text == "1\n2\n"
    parts = ground.api("POST", f"{path}/parts", token, data={"numbers": ["1", "2"]}).json()
    chunks = [body[n : n + size] for n in range(0, len(body), size)]
    assert ground.s3("PUT", parts[0]["url"], content=chunks[1]).status_code == 403
    assert ground.s3("PUT", parts[1]["url"], content=chunks[1]).status_code == 200
    assert ground.api("POST", f"{path}/complete", token).status_code == 422
    assert ground.api("GET", path, token).json()["missing"] == [1]
    assert ground.s3("PUT", parts[0]["url"], content=chunks[0]).status_code == 200
    for _ in range(2):
        assert ground.api("POST", f"{path}/complete", token).json()["state"] == "delivered"
    assert [len(each) for each in next(iter(ground.stored().values()))] == [len(body)]
    assert ground.s3("PUT", parts[0]["url"], content=chunks[0]).status_code in (403, 404)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_answer_is_a_configuration_of_curl(ground: Ground) -> None:
    _, token = link_of(ground.house, ground.group_id)
    file = ground.folder / "reads.fastq"
    file.write_bytes(BODY)
    data = {"name": file.name, "size": str(len(BODY)), "sha256": SHA256}
    answer = ground.api("POST", "/drop/files", token, data=data, params={"as": "curl"})
    command = ["curl", "-K", "-", "-T", str(file)]
    for status in (0, 22):  # a second write: 412
        done = subprocess.run(command, input=answer.content, capture_output=True, check=False, timeout=30)
        assert done.returncode == status, done.stderr
    assert list(ground.stored().values()) == [[BODY]]


def test_credentials_for_nothing(ground: Ground) -> None:
    """A link's token is no S3 key."""
    link_id, token = link_of(ground.house, ground.group_id)
    for pair in ((token, token), (link_id, token), (token[4:24], token[24:])):
        once = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        s3 = boto3.client(
            "s3", endpoint_url=ground.endpoint, region_name="us-east-1", aws_access_key_id=pair[0],
            aws_secret_access_key=pair[1], config=once,
        )  # fmt: skip
        for call, more in (
            (s3.list_objects_v2, {}),
            (s3.put_object, {"Key": f"incoming/drop-{link_id}/x", "Body": b"x"}),
            (s3.get_object, {"Key": "x"}),
        ):
            with pytest.raises(ClientError):
                call(Bucket=ground.bucket, **more)  # type: ignore[operator]
