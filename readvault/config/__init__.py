"""Settings from the environment, organisms from YAML. `docs/settings.md` explains each one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from readvault import yaml_files
from readvault.config.drops import DropLinkSettings
from readvault.config.pulls import PullSettings
from readvault.domain.errors import NotReady
from readvault.domain.organism import Bytes, Organism, Reference


class S3Credentials(BaseModel):
    """One S3 identity."""

    access_key: str = ""
    secret_key: SecretStr = SecretStr("")


class SecondBucketSettings(BaseModel):
    """Another bucket, best at another provider, that gets a copy of what is released."""

    endpoint: str
    region: str = "us-east-1"
    bucket: str
    worker: S3Credentials = S3Credentials()


class S3Settings(BaseModel):
    """The bucket. `public_endpoint` is what browsers and labs reach, `endpoint` what we reach."""

    endpoint: str = "http://127.0.0.1:8333"
    public_endpoint: str | None = None
    region: str = "us-east-1"
    bucket: str = "readvault"
    upload_signer: S3Credentials = S3Credentials()
    read_signer: S3Credentials = S3Credentials()
    worker: S3Credentials = S3Credentials()
    second: SecondBucketSettings | None = None


class PrefectSettings(BaseModel):
    """Prefect's API."""

    api_url: str | None = None
    auth_string: SecretStr | None = None
    ui_url: str | None = None
    work_pool: str = "reads"
    huge_work_pool: str | None = None
    register_every: float = Field(30, gt=0)
    server_database_url: SecretStr | None = None
    """Where the server of `readvault up` keeps its database; a SQLite file in the data directory by default."""


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures that only the issuer can make. HS256 and `none` are not among them, and can't be configured."""


class IdentitySettings(BaseModel):
    """Who issues tokens. Without `issuer` and `jwks_url` the built-in issuer does: for one machine only.

    `issuer` alone is enough: it tells where its keys are (OpenID Connect discovery).
    """

    jwks_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    algorithms: tuple[Algorithm, ...] = Field(("RS256",), min_length=1)
    leeway: float = Field(30, ge=0, le=60)
    keys_refreshed_every: float = Field(300, ge=10)
    keys_outlive_issuer: float = Field(86_400, ge=0)
    token_minutes: int = Field(600, ge=1)

    @property
    def embedded(self) -> bool:
        """Whether the built-in issuer serves, so that users are accounts of ours."""
        return self.jwks_url is None and self.issuer is None


class WebSettings(BaseModel):
    """The pages. `client_id` is who they are at an outside identity provider."""

    session_minutes: int = Field(120, ge=1, le=1440)
    client_id: str | None = None


class LimitSettings(BaseModel):
    """How much may be uploaded. Sizes are bytes; a window is what was requested in it."""

    bytes_per_group: Bytes = 10 * 10**12
    bytes_per_user: Bytes = 5 * 10**12
    files_per_request: int = Field(1000, ge=1)
    files_per_submission: int = Field(50_000, ge=1)
    bytes_per_submission: Bytes = 5 * 10**12
    open_files_per_group: int = Field(20_000, ge=1)
    open_files_per_user: int = Field(20_000, ge=1)
    open_multiparts_per_group: int = Field(5000, ge=1)
    open_multiparts_per_user: int = Field(2000, ge=1)
    window_hours: float = Field(24, gt=0)
    bytes_per_window: Bytes = 5 * 10**12
    bytes_per_window_of_user: Bytes = 5 * 10**12
    rows_per_submission: int = Field(20_000, ge=1)
    bytes_of_metadata: Bytes = 64 * 10**6
    bytes_of_sequences: Bytes = 512 * 10**6


class DataUseTermsUrls(BaseModel):
    """Where the data use terms can be read."""

    open: str | None = None
    restricted: str | None = None


class UrlSettings(BaseModel):
    """How long pre-signed URLs live, in seconds."""

    download: int = Field(300, ge=10)
    upload: int = Field(3600, ge=60)
    pipeline: int = Field(1800, ge=60)
    multipart_from: Bytes = 5 * 10**9
    multipart_allowed_from: Bytes = 16 * 10**6
    part_size: Bytes = 32 * 10**6
    upload_expires_after_hours: float = Field(168, gt=0)


class WorkerSettings(BaseModel):
    """The worker, its nursery and its jobs. Times are seconds."""

    concurrency: int = Field(2, ge=1)
    large_concurrency: int = Field(1, ge=1)
    large_bytes: Bytes = 2 * 10**9
    huge_bytes: Bytes | None = None
    memory_budget: Bytes | None = None
    drain_seconds: float = Field(5, ge=0)
    scratch: Path | None = None
    lease: float = Field(60, gt=0)
    renew_every: float = Field(15, gt=0)
    dispatch_every: float = Field(2, gt=0)
    pending_limit: float = Field(60, gt=0)
    background_jobs: int = Field(20, ge=1)
    max_attempts: int = Field(3, ge=1)
    max_handbacks: int = Field(10, ge=1)
    retry_after: tuple[float, ...] = (60, 240, 900)
    step_limit: float = Field(3600, gt=0)
    memory_limit: Bytes = 8 * 10**9
    file_size_limit: Bytes = 200 * 10**9
    threads: int = Field(2, ge=1)
    metrics_port: int | None = Field(None, ge=1, le=65535)


class StorageSettings(BaseModel):
    """How stored bytes are looked after. Garbage waits between condemned and deleted."""

    verify_every_days: float = Field(90, gt=0)
    verify_megabytes_per_second: float | None = Field(None, gt=0)
    verify_minutes: float = Field(60, gt=0)
    garbage_waits_hours: float = Field(48, gt=0)
    garbage_older_than_hours: float = Field(168, gt=0)
    silo_exports_kept: int = Field(3, ge=1, le=100)


class Settings(BaseSettings):
    """All settings; each can be given as `READVAULT_…`, nested ones with `__` between."""

    model_config = SettingsConfigDict(
        env_prefix="READVAULT_",
        env_nested_delimiter="__",
        extra="ignore",
        nested_model_default_partial_update=True,
        hide_input_in_errors=True,  # there are keys among it
    )

    data_dir: Path = Path(".readvault")
    database_url: str | None = None
    organisms_dir: Path = Path("deployments/organisms")
    organisms_reload_every: float = Field(5, ge=0)
    host_index_dir: Path | None = None
    public_url: str = "http://127.0.0.1:8079"
    lapis_url: str | None = None
    log_format: Literal["text", "json"] = "text"
    accession_prefix: str = Field("LOC_", pattern=r"^[A-Z0-9]+_$")
    orchestrator: Literal["prefect", "inline"] = "prefect"
    data_use_terms: bool = True
    data_use_terms_urls: DataUseTermsUrls = DataUseTermsUrls()
    released_file_urls: Literal["get", "stable"] = "get"
    load_demo_organism: bool = False
    production: bool = False
    read_only_mode: bool = False
    s3: S3Settings = S3Settings()
    prefect: PrefectSettings = PrefectSettings()
    identity: IdentitySettings = IdentitySettings()
    web: WebSettings = WebSettings()
    limits: LimitSettings = LimitSettings()
    urls: UrlSettings = UrlSettings()
    worker: WorkerSettings = WorkerSettings()
    storage: StorageSettings = StorageSettings()
    drop_links: DropLinkSettings = DropLinkSettings()
    pulls: PullSettings = PullSettings()

    @property
    def database(self) -> str:
        """The database's URL; SQLite in the data directory unless one is given."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'readvault.sqlite').absolute()}"

    @property
    def host_indexes(self) -> Path:
        """Where host indexes lie."""
        return self.host_index_dir or self.data_dir / "host-index"

    @property
    def scratch(self) -> Path:
        """Where jobs work."""
        return self.worker.scratch or self.data_dir / "scratch"

    def host_index(self, organism: Organism) -> Path | None:
        """Where the organism's host index should lie, or None when it names none."""
        index = organism.pipeline.dehumanize.index
        return None if index is None else self.host_indexes / f"{index}.idx"


def load_organism(path: Path) -> Organism:
    """Read one organism file; paths in it count from the file's own folder.

    Raises NotReady with every fault of the file, in one line.
    """
    try:
        organism = Organism.model_validate(yaml_files.load(path.read_text(encoding="utf-8")))
    except ValidationError as fault:
        raise NotReady(f"organism file {path}: {'; '.join(map(told, fault.errors()))}") from fault
    except OSError as fault:
        raise NotReady(f"organism file {path}: {fault.strerror}") from fault
    except (UnicodeDecodeError, yaml.YAMLError) as fault:
        raise NotReady(f"organism file {path}: {yaml_files.quoted(str(fault))}") from fault
    return _with_absolute_paths(organism, path.absolute().parent)


def told(fault: ErrorDetails) -> str:
    """A fault of a value as `place.in.file: what is wrong`."""
    message = meaning(fault)
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {message}" if place else f"the file {message}"


def meaning(fault: ErrorDetails) -> str:
    """What is wrong with a value, without its place."""
    return {
        "extra_forbidden": "unknown key",
        "missing": "is missing",
        "model_type": "must be a mapping of keys to values",
    }.get(fault["type"], fault["msg"])


def load_organisms(directory: Path) -> dict[str, Organism]:
    """Read all organism files of a directory, by name."""
    organisms: dict[str, Organism] = {}
    for path in sorted(directory.glob("*.yaml")):
        organism = load_organism(path)
        if organism.name in organisms:
            raise NotReady(f"organism file {path}: the name {organism.name!r} is taken by another file")
        organisms[organism.name] = organism
    if not organisms:
        raise NotReady(f"no organism files (*.yaml) in {directory}")
    return organisms


def _with_absolute_paths(organism: Organism, folder: Path) -> Organism:
    def absolute(path: Path | None) -> Path | None:
        if path is None:
            return None
        resolved = (folder / path).resolve()
        if not resolved.is_file():
            raise NotReady(f"organism {organism.name}: there is no file {resolved}")
        return resolved

    def placed[R: Reference](reference: R) -> R:
        return reference.model_copy(update={"fasta": absolute(reference.fasta), "genes": absolute(reference.genes)})

    align = organism.pipeline.align
    schemes = {name: absolute(path) for name, path in align.primer_schemes.items()}
    primers = align.primers if str(align.primers) in schemes else absolute(align.primers)
    align = align.model_copy(update={"primers": primers, "primer_schemes": schemes})
    pipeline = organism.pipeline.model_copy(update={"align": align})
    reference = None if organism.reference is None else placed(organism.reference)
    references = tuple(placed(candidate) for candidate in organism.references)
    return organism.model_copy(update={"reference": reference, "references": references, "pipeline": pipeline})
