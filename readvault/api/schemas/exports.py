"""The wire shape of an export for SILO."""

from __future__ import annotations

from readvault.api.schemas.wire import Wire


class SiloExportFile(Wire):
    """One file: size in bytes, SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str
    url: str


class SiloExport(Wire):
    """The answer of `GET /{organism}/get-silo-reads`. `readyAtTimestamp` counts seconds since 1970."""

    organism: str
    export: str
    ready_at_timestamp: int
    manifest_sha256: str
    counts: dict[str, int]
    files: list[SiloExportFile]
