"""What `readvault up` keeps on disk: secrets for the owner alone, one owner at a time, ports of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from readvault.adapters import ports
from readvault.adapters.secrets_file import load_or_make, write_private_json
from readvault.cli.up import held
from readvault.domain.errors import NotReady


def test_secrets_are_random_kept_and_readable_by_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = load_or_make(path, ["a", "b"])
    assert first["a"] != first["b"]
    assert min(len(secret) for secret in first.values()) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_make(path, ["b", "c"]) == first | {"c": load_or_make(path, ["c"])["c"]}


def test_a_damaged_secrets_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text('{"a": ')
    with pytest.raises(NotReady):
        load_or_make(path, ["a"])
    assert path.read_text() == '{"a": '


def test_private_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    for status in ("starting", "ready"):
        write_private_json(path, {"status": status})
    assert json.loads(path.read_text()) == {"status": "ready"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_one_owner_at_a_time_who_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "up.lock"
    code = f"from pathlib import Path; from readvault.cli.up import held\nwith held(Path({str(lock)!r})): pass"
    with held(lock) as stack_id:
        assert len(stack_id) == 32
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"(process {json.loads(lock.read_text())['pid']}, since" in other.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_lock_file_with_rubbish_in_it_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "up.lock").write_text('["not", "what", "we", "wrote"')
    with held(tmp_path / "up.lock") as stack_id:
        assert json.loads((tmp_path / "up.lock").read_text())["stackId"] == stack_id


def test_a_port_that_somebody_has_is_not_taken() -> None:
    with socket.socket() as server:
        server.bind((ports.LOOPBACK, 0))
        server.listen()
        usual = server.getsockname()[1]
        assert ports.socket_answers(usual)
        assert ports.free_port(usual) != usual
    free = ports.free_port()
    assert ports.free_port(free) == free
    assert ports.free_port(free, taken={free}) != free


def test_two_processes_that_start_together_reserve_different_ports() -> None:
    mine = ports.reserve_port()
    code = f"from readvault.adapters.ports import reserve_port; print(reserve_port({mine}), reserve_port({mine}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    theirs = {int(port) for port in answer.split()}
    assert len(theirs) == 2
    assert mine not in theirs
