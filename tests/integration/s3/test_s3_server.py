"""The S3 server of our own outlives its process: nothing that it acknowledged is lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from pathlib import Path

import httpx
import pytest

from readvault.adapters.embedded import SOCKETS, SeaweedFS
from readvault.adapters.ports import LOOPBACK, is_free, socket_answers
from readvault.adapters.s3 import S3Store
from readvault.ports import StoredVersion

pytestmark = pytest.mark.slow


def store_files(store: S3Store, folder: Path, count: int) -> dict[str, StoredVersion]:
    stored = {}
    for number in range(count):
        source = folder / f"source-{number}"
        source.write_bytes(os.urandom(2000 * number))
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        stored[digest] = store.store(source, f"vault/1/{digest}", sha256=digest)
    return stored


def test_killed_and_started_on_other_ports_it_has_all_data_keys_and_unfinished_uploads(tmp_path: Path) -> None:
    directory = tmp_path / "s3"
    with SeaweedFS(directory) as first:
        store = S3Store(first.settings)
        stored = store_files(store, tmp_path, 30)
        upload_id = store.start_multipart("incoming/unfinished")
        request = store.sign_part("incoming/unfinished", upload_id, 1, size=4, expires=60)
        assert httpx.put(request.url, content=b"part").status_code == 200
        pid = first.pid
        os.kill(pid, signal.SIGKILL)
    with SeaweedFS(directory, port=first.port) as second:
        assert second.pid != pid
        assert second.settings.worker == first.settings.worker
        store = S3Store(second.settings)
        for digest, version in stored.items():
            assert store.fetch(version, tmp_path / "target") == digest
        assert [part.size for part in store.list_parts("incoming/unfinished", upload_id)] == [4]


def test_its_keys_are_for_the_owner_alone_and_it_listens_on_this_machine_alone(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path / "s3") as server:
        assert (tmp_path / "s3").stat().st_mode & 0o777 == 0o700
        for name in ("secrets.json", "s3.json", "data/security.toml"):
            assert (tmp_path / "s3" / name).stat().st_mode & 0o777 == 0o600
        addresses = listening_addresses(server.pid)
        assert addresses
        assert addresses <= {LOOPBACK}


def test_its_other_ports_give_and_take_nothing_without_a_password(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path / "s3") as server, httpx.Client(timeout=5, follow_redirects=True) as http:
        store = S3Store(server.settings)
        stored = store_files(store, tmp_path, 3)
        contents = [(tmp_path / f"source-{number}").read_bytes() for number in (1, 2)]
        paths = [f"/buckets/readvault/{version.key}" for version in stored.values()]
        for port in server.ports - {server.port}:
            for method, path in [
                (m, p) for m in ("GET", "DELETE") for p in [*paths, "/buckets/?recursive=true", "/1,01"]
            ]:
                try:
                    answer = http.request(method, f"http://{LOOPBACK}:{port}{path}")
                except httpx.HTTPError:  # gRPC
                    continue
                assert answer.status_code in (400, 401, 403, 404, 405), (method, path, answer.status_code)
                assert not any(content in answer.content for content in contents)
        for digest, version in stored.items():
            assert store.fetch(version, tmp_path / "target") == digest


def test_stopped_it_leaves_nothing_behind(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path / "s3") as server:
        pid, ports = server.pid, server.ports
        assert socket_answers(server.port)
    assert not Path(f"/proc/{pid}").exists()
    assert all(is_free(port) for port in ports)
    assert [socket for port in ports for socket in SOCKETS.glob(f"seaweedfs-*-{port}.sock")] == []


def listening_addresses(pid: int) -> set[str]:
    """The IPv4 addresses on which a process listens, from /proc."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address = fields[1].partition(":")[0]
                quads = [str(byte) for byte in reversed(bytes.fromhex(address[-8:]))]
                found.add(".".join(quads) if table == "tcp" else f"tcp6 {address}")
    return found
