"""`readvault admin`, as a maintainer or a newcomer types it."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from readvault import bootstrap
from readvault.adapters.identity import identity_of
from readvault.api.authentication import Callers
from readvault.cli.admin import admin_app
from readvault.cli.admin_office import maintainer
from readvault.db import immutability
from readvault.domain.actor import Actor
from readvault.domain.errors import ReadvaultError
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.status import JobState, Visibility
from readvault.services.authorization import MAINTAINERS_SCOPES, SCOPES
from readvault.services.entries.visibility import state_of
from readvault.services.house import House
from readvault.services.people import accounts, groups
from readvault.services.review.approval import Scope, approve
from tests.houses import ALICE, MAINTAINER
from tests.integration.services import scenes
from tests.integration.services.drop_scenes import link_of, prepared

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name

WHY = "the patient took back consent"
Run = Callable[..., Result]


@pytest.fixture
def run(house: House, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("READVAULT_DATABASE_URL", database_url)
    monkeypatch.setenv("READVAULT_DATA_DIR", str(tmp_path))
    bootstrap.settings.cache_clear()

    def invoke(*words: object, fails: bool = False) -> Result:
        result = CliRunner().invoke(admin_app, [str(word) for word in words])
        assert (result.exit_code != 0) == fails, result.output
        return result

    yield invoke
    bootstrap.settings.cache_clear()


def refused(run: Run, *words: object) -> str:
    """Why the command was refused; main() makes one line of it."""
    result = run(*words, fails=True)
    assert isinstance(result.exception, ReadvaultError), result.exception
    return str(result.exception)


def test_a_newcomer_has_a_user_a_group_and_a_token_in_three_commands(run: Run, house: House) -> None:
    run("add-user", "alice", "--password", "wonderland")
    group_id = int(run("add-group", "My lab", "--member", "alice").stdout)
    token = run("token", "alice").stdout.strip()
    assert groups.get_group(house, ALICE, group_id)[1] == ["alice"]
    identity = identity_of(house.settings)
    found = Callers(house, identity).actor(f"Bearer {token}")
    assert found == Actor("alice", scopes=frozenset(SCOPES) - MAINTAINERS_SCOPES)


def test_tokens_are_as_narrow_as_asked_and_end_when_told(run: Run, house: House) -> None:
    run("add-user", "robot", "--password", "x", "--role", "preprocessing_pipeline")
    group_id = int(run("add-group", "Lab", "--member", "robot").stdout)
    made = run("token", "robot", "--scope", "pipeline", "--days", 1, "--group", group_id)
    from readvault.services.people import tokens

    actor = tokens.actor_of_token(house, made.stdout.strip())
    assert actor is not None
    assert (actor.scopes, actor.only_group, actor.is_pipeline) == (frozenset({"pipeline"}), group_id, True)
    token_id = made.stderr.split()[1]
    run("revoke-token", token_id)
    assert tokens.actor_of_token(house, made.stdout.strip()) is None
    assert refused(run, "token", "nobody") == "User nobody does not exist."
    assert "Unknown scopes: everything" in refused(run, "token", "robot", "--scope", "everything")
    assert "1 to 365 days" in refused(run, "token", "robot", "--days", 366)


def test_accounts_are_disabled_and_let_in_again(run: Run, house: House) -> None:
    run("add-user", "alice", "--password", "one", "--role", "super_user")
    assert accounts.verify_password(house, "alice", "one") is not None
    run("disable-user", "alice")
    assert accounts.verify_password(house, "alice", "one") is None
    run("set-password", "alice", "--password", "two")
    assert accounts.verify_password(house, "alice", "two") is None
    run("set-password", "alice", "--password", "two", "--enable")
    assert accounts.verify_password(house, "alice", "two") == Actor("alice", frozenset({"super_user"}))
    assert "exists already" in refused(run, "add-user", "alice", "--password", "x")
    assert "Unknown roles" in refused(run, "add-user", "bob", "--password", "x", "--role", "root")
    assert "does not exist" in refused(run, "disable-user", "nobody")


def test_members_come_and_go(run: Run, house: House) -> None:
    for name in ("alice", "bob"):
        run("add-user", name, "--password", "x")
    group_id = int(run("add-group", "Lab", "--member", "alice", "--member", "bob").stdout)
    run("remove-member", group_id, "alice")
    assert groups.get_group(house, MAINTAINER, group_id)[1] == ["bob"]
    run("add-member", group_id, "alice")
    assert groups.get_group(house, MAINTAINER, group_id)[1] == ["alice", "bob"]
    assert refused(run, "add-group", "Other", "--member", "carol") == "User carol does not exist."
    assert len(groups.groups_of(house, MAINTAINER)) == 1


@pytest.fixture
def released(house: House) -> AccessionVersion:
    name, digest = scenes.processed(house, scenes.group(house, "alice"))
    approve(house, ALICE, scenes.ORGANISM, scope=Scope.ALL, accession_versions=[(name, digest)])
    return name


def test_released_versions_are_suppressed_withdrawn_and_restored(
    run: Run, house: House, released: AccessionVersion
) -> None:
    def state() -> Visibility:
        with house.sessions.read() as session:
            return state_of(session, [released])[released]

    for command, expected in (
        ("suppress", Visibility.SUPPRESSED),
        ("withdraw", Visibility.WITHDRAWN),
        ("restore", Visibility.PUBLIC),
    ):
        assert str(expected) in run(command, released, "--reason", WHY).stdout
        assert state() is expected
    assert scenes.audit_log(house)[-1].actor == f"admin ({ACCOUNT})"
    assert "It is PUBLIC" in refused(run, "restore", released, "--reason", WHY)
    run("withdraw", released, fails=True)
    run("withdraw", "LOC_000001Y", "--reason", WHY, fails=True)
    assert state() is Visibility.PUBLIC


def test_originals_are_opened_with_the_keys_of_a_running_stack_and_their_reading_is_told(
    run: Run, house: House, released: AccessionVersion, tmp_path: Path
) -> None:
    (tmp_path / "stack.json").write_text(json.dumps({"s3": "http://127.0.0.1:1", "api": "http://127.0.0.1:2"}))
    keys = {"s3_read_signer_access_key": "READER", "s3_read_signer_secret_key": "secret"}
    (tmp_path / "secrets.json").write_text(json.dumps(keys))
    (line,) = run("open-originals", released, "--reason", WHY).stdout.splitlines()
    category, name, size, url = line.split("\t")
    assert (category, name, size) == ("rawReads", "reads_0.fastq", "5")
    assert url.startswith("http://127.0.0.1:1/")
    assert "READER" in url
    (told,) = run("who-read", f"{released}/rawReads/{name}").stdout.splitlines()
    assert told.split("\t")[1:] == [f"admin ({ACCOUNT})", str(released), "rawReads", "break-glass", WHY]
    assert "There is no file" in refused(run, "who-read", f"{released}/rawReads/other")


def test_the_audit_log_is_verified_and_an_altered_row_is_named(run: Run, house: House) -> None:
    for name in ("alice", "bob", "carol"):
        run("add-user", name, "--password", "x")
    # Nobody gave this house keys of a bucket: the rows are looked at, and what is not known is said.
    untouched = run("audit", "verify", fails=True)
    assert untouched.exit_code == 2
    assert "all are as they were written" in untouched.stderr
    assert "NOT COMPARED" in untouched.stderr
    with house.sessions.begin() as session:
        immutability.lift(session.connection())
        session.connection().exec_driver_sql("UPDATE audit_log SET actor = 'mallory' WHERE id = 2")
    result = run("audit", "verify", fails=True)
    assert result.exit_code == 1
    assert "ALTERED: row 2 of the audit log" in result.stderr


def test_the_issuers_key_is_rotated_and_logins_stay_good(run: Run, house: House, tmp_path: Path) -> None:
    running = identity_of(house.settings)
    issuer = running.embedded
    assert issuer is not None
    before = issuer.tokens(ALICE)
    run("rotate-key")
    assert running.actor(f"Bearer {before['access_token']}") == ALICE
    assert issuer.name_in_refresh_token(before["refresh_token"]) == "alice"
    after = issuer.tokens(ALICE)["access_token"]
    assert len(issuer.jwks()["keys"]) == 2
    assert running.actor(f"Bearer {after}") == ALICE
    assert scenes.audit_log(house)[-1].action == "rotate key"
    run("rotate-key", "--now")
    for token in (before["access_token"], after):
        with pytest.raises(ReadvaultError):
            running.actor(f"Bearer {token}")
    assert len(issuer.jwks()["keys"]) == 1
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("identity-key*")} == {0o600}


def test_the_key_of_an_outside_issuer_is_not_ours_to_rotate(
    run: Run, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READVAULT_IDENTITY__ISSUER", "https://id.example.org")
    bootstrap.settings.cache_clear()
    assert "rotate its keys there" in refused(run, "rotate-key")


def test_with_an_outside_issuer_tokens_need_no_account(run: Run, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from readvault.config import IdentitySettings
    from readvault.services.people import tokens

    monkeypatch.setenv("READVAULT_IDENTITY__ISSUER", "https://id.example.org")
    bootstrap.settings.cache_clear()
    outside = house.settings.model_copy(update={"identity": IdentitySettings(issuer="https://id.example.org")})
    token = run("token", "somebody").stdout.strip()
    there = replace(house, settings=outside)
    assert tokens.actor_of_token(there, token) == Actor("somebody", scopes=frozenset(SCOPES) - MAINTAINERS_SCOPES)
    assert "1 tokens ended" in run("disable-user", "somebody").stdout
    assert tokens.actor_of_token(there, token) is None


def test_jobs_that_need_attention_are_listed_and_queued_again(run: Run, house: House) -> None:
    version, job_id = scenes.entry(house, scenes.group(house, "alice"))
    assert run("jobs").stdout == ""
    scenes.change(house, job_id, state=JobState.NEEDS_ATTENTION.value, last_error="the disk\nis full")
    found = run("jobs").stdout.rstrip("\n").split("\t")
    assert (found[0], found[3], found[5]) == (job_id, str(version), "the disk is full")
    run("retry", job_id)
    assert run("jobs").stdout == ""
    assert scenes.audit_log(house)[-1].actor == f"admin ({ACCOUNT})"


def test_the_log_names_the_account_that_set_limits(run: Run, house: House) -> None:
    group_id = scenes.group(house, "alice")
    run("limits", "set", f"group:{group_id}", "--reason", "a study", "--bytes-total", "1 TB")
    assert scenes.audit_log(house)[-1].actor == f"admin ({ACCOUNT})"


def test_nobody_takes_another_name_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert maintainer().name == f"admin ({ACCOUNT})"


def test_drop_links_are_listed_and_revoked(house: House, run: Run) -> None:
    there, group_id = prepared(house)
    link_id, token = link_of(there, group_id, label="centre")
    listed = run("drop-links", "list").output
    assert f"{link_id} group {group_id} by alice until" in listed
    assert "0/2000 files" in listed
    assert token not in listed
    run("drop-links", "revoke", link_id)
    assert run("drop-links", "list").output == ""
    assert "revoked 20" in run("drop-links", "list", "--all").output
    run("drop-links", "revoke", "no-such", fails=True)
