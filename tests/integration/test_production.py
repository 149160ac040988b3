"""Production mode: a configuration that starts, and each thing that stops it, one change at a time."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner

from readvault import bootstrap
from readvault.adapters import s3_probes
from readvault.adapters.s3_probe import Silent
from readvault.adapters.s3_probes import Seen
from readvault.cli.main import app
from readvault.config import (
    IdentitySettings,
    PrefectSettings,
    S3Credentials,
    S3Settings,
    SecondBucketSettings,
    Settings,
)
from readvault.config.pulls import PullSettings
from readvault.db.engine import migrate
from readvault.doctor import bucket, database, findings, prefect, production
from readvault.doctor.database import DatabaseFacts
from readvault.doctor.identity import left_logins
from readvault.domain.errors import NotReady
from readvault.services.people import accounts

GOOD = DatabaseFacts(
    kind="PostgreSQL",
    version="17",
    schema="0009",
    head="0009",
    missing_triggers=(),
    refuses=True,
    skew=0.0,
    isolation="read committed",
)


def keys(name: str) -> S3Credentials:
    return S3Credentials(access_key=f"key of {name}", secret_key=f"secret of {name}")


def settings(**changes: Any) -> Settings:
    """A configuration that passes, with these changes."""
    fields: dict[str, Any] = {
        "production": True,
        "database_url": "postgresql://readvault@127.0.0.1:9/readvault?sslmode=verify-full",
        "public_url": "https://reads.example.org",
        "s3": S3Settings(
            endpoint="https://s3.example.org",
            upload_signer=keys("upload_signer"),
            read_signer=keys("read_signer"),
            worker=keys("worker"),
        ),
        "prefect": PrefectSettings(api_url="https://prefect.example.org/api", auth_string="user:password"),
        "identity": IdentitySettings(issuer="https://login.example.org/realms/lab", audience="readvault"),
    }
    return Settings(**(fields | changes))


class World:
    """What the outside answers; a test changes one thing."""

    def __init__(self) -> None:
        self.facts = GOOD
        self.failing: set[str] = set()
        self.to_strangers = 401
        self.prefect_is_down = False
        self.second: str | None = None
        """What is said of the second bucket: nothing as long as it is closed."""

    def examine(self, _: S3Settings, *, origin: str, only: Any = None) -> Iterator[Seen]:
        assert origin
        for name in s3_probes.PROBES:
            if only is None or name in only:
                yield Seen(name, name not in self.failing, "seen", "do something")

    def look_at_second(self, _: str, bucket: str) -> None:
        if self.second == "silent":
            raise Silent("S3 doesn't answer")
        if self.second is not None:
            raise NotReady(f"S3 answers 200 to anybody who lists {bucket}")

    def prefect(self, request: httpx.Request) -> httpx.Response:
        if self.prefect_is_down:
            raise httpx.ConnectError("down")
        return httpx.Response(200 if "authorization" in request.headers else self.to_strangers, json="3.8.8")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(database, "look", lambda _: world.facts)
    monkeypatch.setattr(s3_probes, "examine", world.examine)
    monkeypatch.setattr(bucket, "refuse_anonymous", world.look_at_second)
    make, transport = httpx.Client, httpx.MockTransport(world.prefect)
    monkeypatch.setattr(prefect.httpx, "Client", lambda **options: make(**(options | {"transport": transport})))
    return world


def refused(chosen: Settings, process: production.Process = "api") -> list[str]:
    return [finding.message for finding in production.refusals(chosen, process)]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_configuration_that_keeps_every_promise_starts(process: production.Process) -> None:
    assert refused(settings(), process) == []
    production.refuse_production(settings(), process)
    on_this_machine = settings(prefect=PrefectSettings(api_url="http://127.0.0.1:4200/api", auth_string="a:b"))
    assert refused(on_this_machine, process) == []
    assert refused(settings(orchestrator="inline", prefect=PrefectSettings()), process) == []


S3 = settings().s3
SECOND = SecondBucketSettings(endpoint="https://copies.example.org", bucket="copies", worker=keys("copies"))
BY_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"public_url": "http://reads.example.org"}, "PUBLIC_URL is not https"),
    ({"public_url": "http://127.0.0.1:8079"}, "PUBLIC_URL is not https"),
    ({"s3": S3.model_copy(update={"endpoint": "http://s3.example.org"})}, "S3__ENDPOINT leads off"),
    (
        {"s3": S3.model_copy(update={"endpoint": "http://10.0.0.1", "public_endpoint": "https://s3.example.org"})},
        "S3__ENDPOINT leads off",
    ),
    ({"s3": S3.model_copy(update={"public_endpoint": "http://127.0.0.1:8333"})}, "S3__PUBLIC_ENDPOINT is not https"),
    (
        {"prefect": PrefectSettings(api_url="http://prefect.example.org/api", auth_string="a:b")},
        "PREFECT__API_URL leads off",
    ),
    ({"prefect": PrefectSettings(api_url="https://prefect.example.org/api")}, "we have no password for it"),
    ({"identity": IdentitySettings()}, "the built-in issuer"),
    ({"identity": IdentitySettings(issuer="http://login.example.org")}, "IDENTITY__ISSUER is not https"),
    (
        {"identity": IdentitySettings(issuer="https://login.example.org", jwks_url="http://login.example.org/keys")},
        "IDENTITY__JWKS_URL leads off",
    ),
    ({"identity": IdentitySettings(jwks_url="https://login.example.org/keys")}, "no issuer is demanded"),
    ({"lapis_url": "http://lapis.example.org"}, "LAPIS_URL leads off"),
    ({"load_demo_organism": True}, "the organism demo is loaded"),
    ({"pulls": PullSettings(enabled=True)}, "pulls have no key"),
    ({"pulls": PullSettings(allow_private_addresses=True)}, "pulls may connect to private addresses"),
    ({"s3": S3.model_copy(update={"worker": S3Credentials()})}, "the S3 identity worker has no keys"),
    ({"s3": S3.model_copy(update={"read_signer": keys("worker")})}, "read_signer and worker share their keys"),
    (
        {"s3": S3.model_copy(update={"second": SecondBucketSettings(endpoint=S3.endpoint, bucket=S3.bucket)})},
        "it is the first one",
    ),
    (
        {"s3": S3.model_copy(update={"second": SecondBucketSettings(endpoint=f"{S3.endpoint}/", bucket=S3.bucket)})},
        "it is the first one",
    ),
    (
        {"s3": S3.model_copy(update={"second": SECOND.model_copy(update={"endpoint": "http://copies.example.org"})})},
        "S3__SECOND__ENDPOINT",
    ),
    ({"s3": S3.model_copy(update={"second": SECOND.model_copy(update={"worker": S3Credentials()})})}, "no keys for it"),
    (
        {"s3": S3.model_copy(update={"second": SECOND.model_copy(update={"worker": keys("worker")})})},
        "worker and second__worker share their keys",
    ),
]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(("change", "words"), BY_SETTINGS)
def test_a_setting_that_breaks_a_promise_is_refused(change: dict[str, Any], words: str) -> None:
    chosen = settings(**change)
    if isinstance(change.get("s3"), S3Settings):
        chosen.s3 = S3Settings.model_validate(change["s3"].model_dump())
    assert any(words in message for message in refused(chosen)), refused(chosen)


def test_a_second_bucket_that_is_open_to_strangers_is_refused_and_one_that_is_down_is_not(world: World) -> None:
    chosen = settings(s3=S3.model_copy(update={"second": SECOND}))
    assert refused(chosen) == refused(chosen, "worker") == []
    world.second = "open"
    assert refused(chosen) == refused(chosen, "worker") == ["S3 answers 200 to anybody who lists copies"]
    world.second = "silent"
    assert refused(chosen) == refused(chosen, "worker") == []


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_service_that_was_given_a_maintainers_keys_is_refused(
    process: production.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READVAULT_MAINTAINER_S3_SECRET_KEY", "own-secret")
    [message] = refused(settings(), process)
    assert "READVAULT_MAINTAINER_S3_SECRET_KEY" in message
    assert "own-secret" not in message


class _Opened:
    """An open connection as psycopg tells of it."""

    def __init__(self, host: str, *, hostaddr: str = "", ssl: bool = False, **parameters: str) -> None:
        self.host, self.hostaddr, self.ssl_in_use = host, hostaddr, ssl
        self.info = self.pgconn = self
        self.parameters = parameters

    def get_parameters(self) -> dict[str, str]:
        return self.parameters


def test_the_way_to_the_database_is_asked_of_the_connection_not_of_its_address() -> None:
    """An address may leave the host to a parameter or the environment: `postgresql://readvault@/readvault?host=…`."""
    assert database.way_to(_Opened("/var/run/postgresql")) == {"encrypted": True, "verified": True}
    assert database.way_to(_Opened("localhost", hostaddr="127.0.0.1"))["encrypted"]
    assert not database.way_to(_Opened("db.example.org", hostaddr="10.0.0.7"))["encrypted"]
    assert not database.way_to(_Opened("localhost", hostaddr="10.0.0.7"))["encrypted"]
    # It is encrypted now, but whoever stands between may say next time that the server can't.
    assert not database.way_to(_Opened("db.example.org", ssl=True))["encrypted"]
    required = database.way_to(_Opened("db.example.org", ssl=True, sslmode="require"))
    assert required == {"encrypted": True, "verified": False}
    assert database.way_to(_Opened("db.example.org", ssl=True, sslmode="verify-full"))["verified"]


BY_FACTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "SQLite", "pragmas": {"journal_mode": "wal"}}, "SQLite is for one machine"),
    ({"schema": "0001"}, "its schema is 0001"),
    ({"schema": None}, "its schema is missing"),
    ({"missing_triggers": ("readvault_keeps_release_update",)}, "1 triggers are missing"),
    ({"refuses": False}, "was let through"),
    ({"skew": 61.0}, "clock differs"),
    ({"skew": -61.0}, "clock differs"),
    ({"superuser": True}, "superuser"),
    ({"durable": False}, "can be lost"),
    ({"encrypted": False}, "not encrypted"),
    ({"isolation": "serializable"}, "transactions are serializable"),
]


@pytest.mark.parametrize(("change", "words"), BY_FACTS)
@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_database_that_breaks_a_promise_is_refused(
    world: World, process: production.Process, change: dict[str, Any], words: str
) -> None:
    world.facts = dataclasses.replace(GOOD, **change)
    assert any(words in message for message in refused(settings(), process))


def test_nothing_is_said_of_triggers_that_were_not_tried() -> None:
    for version in ("0001", None):
        facts = dataclasses.replace(GOOD, schema=version, refuses=None, missing_triggers=("readvault_keeps_x",))
        said = [finding.message for finding in database.told(facts)]
        assert not any("let through" in message or "are missing" in message for message in said)
        assert any("was not tried" in message for message in said)


def test_a_database_that_can_not_be_asked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_probes, "examine", World().examine)
    chosen = settings(orchestrator="inline", prefect=PrefectSettings())
    assert refused(chosen) == ["it can't be used (OperationalError)"]


@pytest.mark.parametrize("probe", sorted(bucket.MANDATORY))
def test_a_bucket_without_what_is_mandatory_is_refused(world: World, probe: str) -> None:
    world.failing = {probe}
    assert refused(settings()) == [f"{probe}: seen"]
    assert refused(settings(), "worker") == ([f"{probe}: seen"] if probe in bucket.WITHOUT_SIGNERS else [])


def test_every_probe_of_the_bucket_is_mandatory_or_not_and_says_why(world: World) -> None:
    assert set(bucket.MANDATORY) | set(bucket.OPTIONAL) == set(s3_probes.PROBES)
    assert not set(bucket.MANDATORY) & set(bucket.OPTIONAL)
    assert set(bucket.MANDATORY) >= bucket.WITHOUT_SIGNERS
    world.failing = set(bucket.OPTIONAL)
    assert refused(settings()) == []
    documented = (Path(__file__).parents[2] / "docs" / "maintainers.md").read_text(encoding="utf-8")
    for name, why in (bucket.MANDATORY | bucket.OPTIONAL).items():
        assert f"| {name} | {'yes' if name in bucket.MANDATORY else 'no'} | {why} |" in documented


def test_prefect_that_answers_strangers_is_refused_and_one_that_is_down_is_not(world: World) -> None:
    world.to_strangers = 200
    assert any("answers 200 to a stranger" in message for message in refused(settings(), "worker"))
    world.to_strangers, world.prefect_is_down = 401, True
    assert refused(settings(), "worker") == []


def test_a_bucket_that_hangs_is_refused_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(_: Settings) -> Iterator[findings.Finding]:
        time.sleep(5)
        yield findings.Finding("bucket", findings.Level.OK, "late")

    monkeypatch.setattr(production, "probes_of", lambda _: {"bucket": (hang, 0.05), "prefect": (hang, 0.05)})
    began = time.monotonic()
    assert refused(settings()) == ["no answer within 0 s"]
    assert time.monotonic() - began < 3


def test_a_bucket_whose_probe_breaks_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Iterator[Seen]:
        raise RuntimeError("https://secret")

    monkeypatch.setattr(s3_probes, "examine", broken)
    assert refused(settings()) == ["the probe broke: RuntimeError"]


def test_logins_that_the_built_in_issuer_left_are_refused_until_they_are_disabled(tmp_path: Path) -> None:
    chosen = settings(database_url=None, data_dir=tmp_path)
    migrate(chosen.database)
    assert list(left_logins(chosen)) == []
    house = bootstrap.office(chosen)
    accounts.create_account(house, "admin", "a long password")
    [finding] = left_logins(chosen)
    assert finding.refused
    assert "1 logins" in finding.message
    assert list(left_logins(settings(database_url=chosen.database, identity=IdentitySettings()))) == []


@pytest.mark.parametrize("command", ["api", "worker"])
def test_all_reasons_are_told_at_once_a_line_each_and_the_process_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    world.failing = {"versions", "encryption"}
    world.facts = dataclasses.replace(GOOD, refuses=False)
    monkeypatch.setattr(bootstrap, "settings", lambda: settings(load_demo_organism=True))
    ended = CliRunner().invoke(app, [command])
    assert isinstance(ended.exception, NotReady)
    lines = str(ended.exception).splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == ["- demo", "- database", "- bucket", "- bucket"]
    assert all(" -> " in line for line in lines[1:])


def _a_trigger(connection: Connection) -> str:
    return str(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalar())


def test_a_database_is_made_and_mended_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = Settings(data_dir=tmp_path)
    monkeypatch.setattr(bootstrap, "settings", lambda: chosen)
    assert CliRunner().invoke(app, ["admin", "migrate"]).exit_code == 0
    assert [each.message for each in database.database(chosen) if each.level is findings.Level.FAIL] == []
    engine = bootstrap.office(chosen).sessions.engine
    with engine.begin() as connection:
        connection.exec_driver_sql(f'DROP TRIGGER "{_a_trigger(connection)}"')
    assert any("1 triggers are missing" in each.message for each in database.database(chosen) if each.refused)
    assert CliRunner().invoke(app, ["admin", "migrate"]).exit_code == 0
    assert not any("triggers" in each.message for each in database.database(chosen) if each.refused)


def test_up_is_no_production(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bootstrap, "settings", lambda: settings())
    ended = CliRunner().invoke(app, ["up", "--data-dir", str(tmp_path / "data")])
    assert isinstance(ended.exception, NotReady)
    assert not (tmp_path / "data").exists()


def test_without_the_flag_it_starts_and_says_loudly_what_production_would_refuse(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bootstrap, "refuse_open_store", lambda _: None)
    with caplog.at_level(logging.WARNING):
        bootstrap.look_before_start(Settings(load_demo_organism=True), "api")
    [record] = caplog.records
    said = record.getMessage()
    assert said.startswith("THIS IS NOT PRODUCTION")
    for words in ("PUBLIC_URL", "demo is loaded", "built-in issuer", "SQLite", "upload_signer has no keys"):
        assert words in said
    caplog.clear()
    bootstrap.look_before_start(settings(production=False), "api")
    assert caplog.records == []


POSTGRES = {"driver": "postgresql+asyncpg"}


@pytest.mark.parametrize(
    ("said", "words", "refused_"),
    [
        ({"/admin/version": 401}, "it refuses our password", True),
        ({"/admin/version": "3.0.0"}, "its server is 3.0.0", False),
        ({"stranger": 200}, "answers 200 to a stranger", True),
        (
            {"/admin/settings": {"server": {"analytics_enabled": True, "database": POSTGRES}}},
            "it tells its makers",
            False,
        ),
        (
            {"/admin/settings": {"server": {"database": {"driver": "sqlite+aiosqlite"}}}},
            "its database is SQLite",
            False,
        ),
        ({"/work_pools/reads": 404}, "it has no work pool reads", False),
        ({"/work_pools/reads": {"is_paused": True}}, "is paused", False),
        ({"/work_pools/reads/workers/filter": []}, "no worker showed itself", False),
        ({"/deployments/name/recover/regularly": 404}, "lacks the deployments recover/regularly", False),
        ({"/work_pools/reads": "not what was expected"}, "it can't be asked", False),
    ],
)
def test_each_thing_that_is_wrong_with_prefect_is_told(said: dict[str, Any], words: str, refused_: bool) -> None:
    answers: dict[str, Any] = {
        "/admin/version": prefect.version("prefect"),
        "/admin/settings": {"server": {"database": POSTGRES, "analytics_enabled": False}},
        "/work_pools/reads": {"is_paused": False},
        "/work_pools/reads/workers/filter": [{"last_heartbeat_time": "2999-01-01T00:00:00+00:00"}],
        "stranger": 401,
    }

    def answer(changed: dict[str, Any]) -> Callable[[httpx.Request], httpx.Response]:
        def respond(request: httpx.Request) -> httpx.Response:
            path = request.url.path.removeprefix("/api")
            told = changed.get(path, {}) if "authorization" in request.headers else changed["stranger"]
            return httpx.Response(told) if isinstance(told, int) else httpx.Response(200, json=told)

        return respond

    well = list(prefect.prefect(settings(), transport=httpx.MockTransport(answer(answers))))
    assert [finding for finding in well if finding.level is not findings.Level.OK] == []
    assert len(well) == 5
    ill = list(prefect.prefect(settings(), transport=httpx.MockTransport(answer(answers | said))))
    [found] = [finding for finding in ill if finding.level is not findings.Level.OK]
    assert words in found.message
    assert found.refused is refused_
    assert found.advice
