"""The image: its Dockerfile is sound, built from the lock, runs as nobody; the wheel in it is whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from readvault import __version__
from readvault.cli.main import app
from tests.integration.deployments import DEPLOYMENTS, ROOT, known_settings

DOCKERFILE = DEPLOYMENTS / "docker" / "Dockerfile"
TEXT = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.M))
STAGES = re.split(r"^FROM ", TEXT, flags=re.M)[1:]


def instructions(stage: str, name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", stage, flags=re.M)


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    result = subprocess.run([str(hadolint), str(DOCKERFILE)], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_its_versions_are_the_projects() -> None:
    assert f"ARG PYTHON={(ROOT / '.python-version').read_text().strip()}\n" in TEXT
    assert f"ARG VERSION={__version__}\n" in TEXT
    assert len({stage.partition("\n")[0].removesuffix(" AS build") for stage in STAGES}) == 1


def test_it_installs_what_is_locked_by_hash_and_nothing_else() -> None:
    build, run = STAGES
    installs = [line for line in instructions(build, "RUN") if " pip " in line]
    assert len(installs) == 2
    assert "pip download --only-binary :all: --require-hashes --no-deps --requirement requirements.lock" in installs[0]
    assert re.findall(r"pip (?:--python \S+ )?(?:install|wheel) .*?(?=&&|$)", installs[1])
    offline = build.index("PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels\n")
    assert build.index("pip download") < offline < build.index("pip wheel") < build.index("install 'readvault[server]'")
    assert "pip" not in run
    assert "COPY --from=build /opt/readvault /opt/readvault" in run


def test_it_runs_as_nobody_in_particular_and_hands_signals_on() -> None:
    run = STAGES[-1]
    assert instructions(run, "USER") == ["10001:10001"]
    assert run.index("USER ") > run.rindex("RUN ")
    assert instructions(run, "STOPSIGNAL") == ["SIGTERM"]
    # Exec form: a shell between tini and readvault would keep SIGTERM to itself.
    assert json.loads(instructions(run, "ENTRYPOINT")[0]) == ["/usr/bin/tini", "--"]
    command = json.loads(instructions(run, "CMD")[0])
    assert command[0] == "readvault"
    assert command[1] in get_command(app).commands  # type: ignore[attr-defined]
    assert instructions(run, "EXPOSE") == [command[command.index("--port") + 1]]
    assert instructions(run, "LABEL")


def test_compiled_loops_are_used_as_they_were_built() -> None:
    build, run = STAGES
    for name in ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        values = [re.search(rf"{name}=(\S+)", stage) for stage in (build, run)]
        assert values[0] is not None
        assert values[1] is not None
        assert values[0][1] == values[1][1]
    assert "load_ahead()" in build
    assert "chmod -R a+rX,go-w /opt/readvault" in build


def test_no_secret_and_no_unknown_setting_is_in_it() -> None:
    names = set(re.findall(r"(READVAULT_\w+)=", TEXT))
    assert names <= known_settings()
    assert not re.search(r"(?i)(secret|password|token|auth_string)\w*=", TEXT)


def test_the_build_sees_only_what_it_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    seen = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        name
        for stage in STAGES
        for line in instructions(stage, "COPY")
        if not line.startswith("--from")
        for name in line.split()[:-1]
    }
    assert seen == copied


@pytest.mark.slow
def test_the_wheel_has_all_that_an_installation_runs_from(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    rooms = ("readvault/", "flows/", "tasks/")
    wanted = [name for name in tracked.stdout.split("\0") if name.startswith(rooms) and (ROOT / name).is_file()]
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        inside = set(wheel.namelist())
        described = yaml.safe_load(wheel.read("flows/prefect.yaml"))
        points = next(name for name in inside if name.endswith("entry_points.txt"))
        assert "readvault = readvault.adapters.prefect_worker" in wheel.read(points).decode()
    assert sorted(set(wanted) - inside) == []
    assert described["deployments"]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
