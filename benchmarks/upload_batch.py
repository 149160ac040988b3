"""A batch of files over a bad network, at real size: how many bytes go twice, and whether anybody has to help.

SeaweedFS and the API run for real; between them and the client stands a proxy that is as fast as the line
should be, cuts all connections every so many seconds and lets nobody through for a dark hour.

    python -m benchmarks.upload_batch --files 192 --size '50 MB' --cut 20 --dark 3600 --rate '20 MB'

The suite has the same with a clock of its own: tests/integration/test_batch.py.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from pydantic import TypeAdapter

from readvault import bootstrap
from readvault.adapters.embedded import SeaweedFS
from readvault.adapters.identity import Identity
from readvault.adapters.inline_orchestrator import NoOrchestrator
from readvault.adapters.issuer import EmbeddedIssuer
from readvault.api.app import create_app
from readvault.client import Client
from readvault.client.batch import Batch
from readvault.config import Settings
from readvault.db.engine import migrate
from readvault.domain.organism import Bytes
from readvault.services.people.accounts import create_account

CHUNK = 64 * 1024
NEVER = float("inf")
LOOPBACK = "127.0.0.1"
ORGANISMS = Path(__file__).parents[1] / "deployments" / "organisms"


@dataclass
class Line:
    """The network between client and servers. Times are seconds since `began`."""

    rate: float
    cut_every: float
    dark: tuple[float, float]
    began: float = field(default_factory=time.monotonic)
    sent: int = 0
    cuts: int = 0
    _free_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        return time.monotonic() - self.began

    def is_dark(self) -> bool:
        return self.dark[0] <= self.now() < self.dark[1]

    def is_cut_since(self, opened: float) -> bool:
        return self.is_dark() or int(self.now() / self.cut_every) != int(opened / self.cut_every)

    def carry(self, length: int, *, counted: bool) -> None:
        """Take the time that these bytes need on the line."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + length / self.rate
            self.sent += length if counted else 0
            wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)

    def listen(self, target: int, *, counted: bool) -> int:
        """A port that leads to `target` over this line."""
        server = socket.create_server((LOOPBACK, 0))

        def accept() -> None:
            while True:
                client, _ = server.accept()
                if self.is_dark():
                    client.close()
                    continue
                remote = socket.create_connection((LOOPBACK, target))
                for source, sink, up in ((client, remote, True), (remote, client, False)):
                    threading.Thread(target=self._pump, args=(source, sink, up and counted), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(server.getsockname()[1])

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        opened = self.now()
        source.settimeout(0.5)
        try:
            while not self.is_cut_since(opened):
                try:
                    data = source.recv(CHUNK)
                except TimeoutError:
                    continue
                if not data:
                    break
                self.carry(len(data), counted=counted)
                sink.sendall(data)
            else:
                self.cuts += counted
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def run(files: int, size: int, rate: float, cut_every: float, dark: float, folder: Path) -> float:
    """Upload and print; the bytes sent in parts of the bytes there are."""
    total = files * size
    half = total / rate / 2
    line = Line(rate, NEVER, (NEVER, NEVER))
    with SeaweedFS(folder / "s3", bucket="readvault") as s3:
        s3_port = line.listen(int(s3.endpoint.rpartition(":")[2]), counted=True)
        at_line = s3.provision().model_copy(update={"public_endpoint": f"http://{LOOPBACK}:{s3_port}"})
        settings = Settings(data_dir=folder, organisms_dir=ORGANISMS, s3=at_line, orchestrator="inline")
        migrate(settings.database)
        house = bootstrap.house(settings, NoOrchestrator())
        create_account(house, "alice", "secret")
        listener = socket.create_server((LOOPBACK, 0))
        issuer = EmbeddedIssuer(folder / "key.pem", url=f"http://{LOOPBACK}", token_minutes=600)
        server = uvicorn.Server(uvicorn.Config(create_app(house, Identity(issuer)), log_level="error"))
        threading.Thread(target=server.run, args=([listener],), daemon=True).start()
        api_port = line.listen(int(listener.getsockname()[1]), counted=False)
        paths = [folder / f"reads_{number}.fastq.gz" for number in range(files)]
        for path in paths:
            path.write_bytes(os.urandom(size))
        with Client(f"http://{LOOPBACK}:{api_port}") as client:
            client.login("alice", "secret")
            address = dict.fromkeys(("line1", "line2", "city", "state", "postalCode", "country"), "-")
            group = client.create_group("Lab", institution="-", contact_email="lab@example.org", address=address)
            line.began, line.cut_every, line.dark = time.monotonic(), cut_every, (half, half + dark)
            tickets = Batch(client, group, paths, folder / "upload.json", category="rawReads").run()
            took, line.cut_every, line.dark = line.now(), NEVER, (NEVER, NEVER)
            states = {client.file_state(ticket.file_id)["state"] for ticket in tickets}
        server.should_exit = True
    times = line.sent / total
    print(f"{files} files of {size:,} bytes at {rate:,.0f} bytes/s, cut every {cut_every:g} s, dark for {dark:g} s:")
    print(f"{times:.3f} x the bytes in {took:.0f} s, {line.cuts} connections cut while open; states {sorted(states)}")
    return times


def main() -> None:
    """Read the arguments, run, fail above 1.2 times the bytes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=192)
    parser.add_argument("--size", default="50 MB")
    parser.add_argument("--rate", default="20 MB", help="bytes a second of the whole line")
    parser.add_argument("--cut", type=float, default=20.0, help="seconds between cuts")
    parser.add_argument("--dark", type=float, default=3600.0, help="seconds without any connection, in the middle")
    chosen = parser.parse_args()
    as_bytes = TypeAdapter(Bytes).validate_python
    with tempfile.TemporaryDirectory(prefix="readvault-upload-") as folder:
        times = run(chosen.files, as_bytes(chosen.size), as_bytes(chosen.rate), chosen.cut, chosen.dark, Path(folder))
    if times > 1.2:
        raise SystemExit("more than 1.2 times the bytes were sent")


if __name__ == "__main__":
    main()
