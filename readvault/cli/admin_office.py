"""What the commands of `readvault admin` share: the house of the data directory, and who is asking."""

from __future__ import annotations

import json
import os
import pwd
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from readvault.config import S3Credentials, Settings
    from readvault.domain.actor import Actor
    from readvault.domain.identifiers import AccessionVersion
    from readvault.services.house import House


def open_office() -> House:
    """The database and the store of this instance: of the settings, and of a `readvault up` in the data directory."""
    from readvault import bootstrap

    return bootstrap.office(settings_as_it_runs())


def settings_as_it_runs() -> Settings:
    """The settings, and where they are silent those of a `readvault up` in the data directory."""
    from readvault import bootstrap

    return _as_it_runs(bootstrap.settings())


def maintainer() -> Actor:
    """Whoever runs commands on the machine is a maintainer; the audit log gets the name of the machine's account.

    Not as `LOGNAME` has it, which everybody sets: some steps need two accounts.
    """
    from readvault.domain.actor import MAINTAINER_ROLE, Actor

    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account without a name, as containers have them
        account = "unknown"
    return Actor(f"admin ({account})", frozenset({MAINTAINER_ROLE}))


def accession_version(text: str) -> AccessionVersion:
    """Read `accession.version` from the command line."""
    from readvault.domain.identifiers import AccessionVersion

    try:
        return AccessionVersion.parse(text)
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None


def _keys_of(keys: dict[str, Any], identity: str) -> S3Credentials:
    from readvault.config import S3Credentials

    return S3Credentials(
        access_key=keys.get(f"s3_{identity}_access_key", ""), secret_key=keys.get(f"s3_{identity}_secret_key", "")
    )


def _as_it_runs(settings: Settings) -> Settings:
    """Fill in what a running `readvault up` in the data directory chose: addresses, and keys of its own S3."""
    from pydantic import SecretStr

    stack = _json_in(settings, "stack.json")
    keys = _json_in(settings, "secrets.json")
    changes: dict[str, Any] = {}
    if "api" in stack and "public_url" not in settings.model_fields_set:
        changes["public_url"] = stack["api"]
    if "s3" in stack and not settings.s3.worker.access_key:
        own = {name: _keys_of(keys, name) for name in ("read_signer", "worker")}
        changes["s3"] = settings.s3.model_copy(update={"endpoint": stack["s3"], **own})
    if "prefectApi" in stack and settings.prefect.api_url is None:
        auth = stack.get("prefectAuth")
        prefect = {"api_url": stack["prefectApi"], "auth_string": SecretStr(auth) if auth else None}
        changes["prefect"] = settings.prefect.model_copy(update=prefect)
    return settings.model_copy(update=changes)


def _json_in(settings: Settings, name: str) -> dict[str, Any]:
    try:
        found = json.loads((settings.data_dir / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
