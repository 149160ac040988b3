"""compose.yaml: the Compose specification takes it, nothing has a default password, and all of it fits the code."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from typer.main import get_command

from readvault.adapters import seaweed_rights
from readvault.cli.main import app
from readvault.config import S3Credentials
from tests.integration.deployments import DEPLOYMENTS, TO_STOP, known_settings

FILE = DEPLOYMENTS / "compose.yaml"
TEXT = FILE.read_text(encoding="utf-8")
EXAMPLE = dict(
    line.split("=", 1)
    for line in (DEPLOYMENTS / "example.env").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:[-?])([^{}]*))?\}")
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|AUTH_STRING")


def filled(values: dict[str, str]) -> dict[str, Any]:
    """The file as Compose sees it: variables replaced, `$$` a dollar. Raises KeyError for a missing one."""

    def value(found: re.Match[str]) -> str:
        name, operator, default = found[1], found[2], found[3]
        if values.get(name):
            return values[name]
        if operator == ":-":
            return str(default)
        raise KeyError(name)

    text = TEXT
    while VARIABLE.search(text):
        text = VARIABLE.sub(value, text)
    found: dict[str, Any] = yaml.safe_load(text.replace("$$", "$"))
    return found


VALUES = {name: value or f"/of/{name.lower()}" for name, value in EXAMPLE.items()} | {
    f"{name}_HOST": f"{name.lower()}.example.org" for name in ("READVAULT", "STORAGE", "PREFECT")
}
COMPOSE = filled(VALUES)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_the_specification_takes_it() -> None:
    PyCompose.from_yaml(yaml.safe_dump(COMPOSE)).validate()


@pytest.mark.parametrize("wrong", [{"replcas": 3}, {"deploy": {"replicas": "many"}}, {"networks": 3}])
def test_the_specification_would_refuse_a_slip(wrong: dict[str, Any]) -> None:
    services = SERVICES | {"api": SERVICES["api"] | wrong}
    with pytest.raises(Exception, match=r"services.api"):
        PyCompose.from_yaml(yaml.safe_dump(COMPOSE | {"services": services}))


@pytest.mark.parametrize("name", [name for name, value in EXAMPLE.items() if not value])
def test_without_a_value_of_yours_it_does_not_start(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        filled(VALUES | {name: ""})


def test_no_secret_has_a_default() -> None:
    names = {found[1]: found[2] for found in VARIABLE.finditer(TEXT) if SECRET.search(found[1])}
    assert len(names) > 10
    assert set(names.values()) == {":?"}
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert str(value).startswith("/of/")


def test_every_setting_is_one() -> None:
    for service in SERVICES.values():
        names = {name for name in service.get("environment", {}) if name.startswith("READVAULT_")}
        if service.get("command", ["readvault"])[0] == "readvault" and "build" in service:
            assert names <= known_settings()


def readvaults() -> Iterator[list[str]]:
    for service in SERVICES.values():
        if service.get("command", [""])[0] == "readvault":
            yield service["command"][1:]


def test_every_command_is_one() -> None:
    found = list(readvaults())
    assert ["worker"] in found
    for words in found:
        command: Any = get_command(app)
        for word in words:
            command = command.commands[word]


def test_each_service_may_do_little() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert service["healthcheck"] if name not in ("api",) else "build" in service, name


def test_a_worker_reaches_the_database_and_by_their_names_s3_and_prefect() -> None:
    def reached(name: str) -> set[str]:
        networks = set(SERVICES[name]["networks"])
        return {other for other, each in SERVICES.items() if networks & set(each["networks"])} - {name}

    internal = {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal")}
    assert set(SERVICES["worker"]["networks"]) <= internal
    assert set(SERVICES["database"]["networks"]) | set(SERVICES["redis"]["networks"]) <= internal
    assert {"redis", "storage", "prefect-api"}.isdisjoint(reached("worker") | reached("api"))
    assert reached("storage") == {"gateway"}
    published = [name for name, service in SERVICES.items() if "ports" in service]
    assert published == ["gateway"]
    assert set(SERVICES["gateway"]["networks"]["names"]["aliases"]) == {
        VALUES["READVAULT_HOST"],
        VALUES["STORAGE_HOST"],
        VALUES["PREFECT_HOST"],
    }


def test_a_worker_gets_no_keys_but_its_own_and_time_to_hand_back() -> None:
    worker = SERVICES["worker"]
    assert not [name for name in worker["environment"] if "SIGNER" in name or "MAINTAINER" in name]
    assert worker["stop_grace_period"] == "2m"
    assert TO_STOP < 120
    index = [volume for volume in worker["volumes"] if ":/srv/host-index" in volume]
    assert index
    assert index[0].endswith(":ro")
    assert not [name for name in SERVICES["api"]["environment"] if "MAINTAINER" in name]


def test_the_children_of_a_worker_may_leave_its_network() -> None:
    option = next(each for each in SERVICES["worker"]["security_opt"] if each.startswith("seccomp:"))
    profile = json.loads((DEPLOYMENTS / option.partition(":")[2]).read_text())
    refused = {name for rule in profile["syscalls"] for name in rule["names"] if rule["action"] == "SCMP_ACT_ERRNO"}
    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    assert {"unshare", "clone", "clone3", "prctl"}.isdisjoint(refused)
    assert {"mount", "bpf", "ptrace", "keyctl", "setns", "init_module", "kexec_load", "io_uring_setup"} <= refused


def test_everything_that_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (DEPLOYMENTS / volume.split(":")[0]).exists(), volume


def test_prefects_settings_are_prefects() -> None:
    from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings  # type: ignore[import-untyped]
    from prefect_redis.client import RedisMessagingSettings  # type: ignore[import-untyped]

    from tests.integration.deployments.prefect_settings import server_settings

    environment = SERVICES["prefect-api"]["environment"]
    redis = {
        RedisMessagingSettings: "PREFECT_REDIS_MESSAGING_",
        RedisWorkerCleanupQueueSettings: "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_",
    }
    known = server_settings() | {
        prefix + field.upper() for model, prefix in redis.items() for field in model.model_fields
    }
    assert set(environment) <= known
    for value in environment.values():
        if str(value).startswith("prefect_redis."):
            importlib.import_module(str(value))
    assert SERVICES["prefect-services"]["environment"] == environment


def test_the_gateway_is_told_all_that_its_template_asks_for() -> None:
    template = (DEPLOYMENTS / "docker" / "gateway.conf.template").read_text()
    asked = set(re.findall(r"\$\{(\w+)\}", template)) - {"…"}
    environment = SERVICES["gateway"]["environment"]
    assert asked == set(environment) - {"NGINX_ENVSUBST_FILTER"}
    assert all(re.fullmatch(environment["NGINX_ENVSUBST_FILTER"], name) for name in asked)
    api = SERVICES["gateway"]["environment"]["API"]
    assert api == "api:8079"


@pytest.mark.parametrize("script", ["storage.sh", "databases.sh"])
def test_scripts_are_shell(script: str) -> None:
    path = DEPLOYMENTS / "docker" / script
    assert os.access(path, os.X_OK)
    subprocess.run(["/bin/sh", "-n", str(path)], check=True)


def test_the_storage_has_the_rights_that_readvault_tries_with(tmp_path: Path) -> None:
    keys = {
        name: S3Credentials(access_key=f"{name}-key", secret_key=f"{name}-secret") for name in seaweed_rights.IDENTITIES
    }
    environment = {name: str(value) for name, value in SERVICES["storage"]["environment"].items()}
    environment |= {"STORAGE_BUCKET": "reads", "STORAGE_DATA": str(tmp_path), "PATH": os.environ["PATH"]}
    for name, key in keys.items():
        assert {f"{name.upper()}_ACCESS_KEY", f"{name.upper()}_SECRET_KEY"} <= set(environment)
        environment[f"{name.upper()}_ACCESS_KEY"] = key.access_key
        environment[f"{name.upper()}_SECRET_KEY"] = key.secret_key.get_secret_value()
    script = shlex.join(["/bin/sh", str(DEPLOYMENTS / "docker" / "storage.sh"), "--show"])
    shown = subprocess.run(script, shell=True, env=environment, capture_output=True, check=True)  # noqa: S602
    assert _readable(json.loads(shown.stdout)) == _readable(seaweed_rights.identities(keys, "reads"))
    assert list(tmp_path.iterdir()) == []


def _readable(configuration: dict[str, Any]) -> dict[str, Any]:
    policies = {policy["name"]: json.loads(policy["content"]) for policy in configuration["policies"]}
    return {"identities": configuration["identities"], "policies": policies}
