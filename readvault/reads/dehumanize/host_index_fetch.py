"""Fetching a host index: a download of gigabytes that goes on where it stopped, and is whole or not there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx

from readvault.domain.errors import ProcessingFailure
from readvault.reads.dehumanize.host_index import STEP, info

_TIMEOUT = httpx.Timeout(30.0, read=120.0)
PANHUMAN = "panhuman-1.k31w15"
"""deacon's human index: HPRC year 1, CHM13v2 and GRCh38.p14, less what bacteria and viruses share with them."""
DOWNLOADS = "https://objectstorage.uk-london-1.oraclecloud.com/n/lrbvkel2wjot/b/human-genome-bucket/o/deacon/3"
"""Where deacon's own `index fetch` finds its prebuilt indexes (3.3 GB for `panhuman-1.k31w15`)."""


def fetch(
    url: str, target: Path, sha256: str | None = None, *, progress: Callable[[int, int | None], None] | None = None
) -> str:
    """Download an index to `target`, going on where an earlier try stopped; its SHA-256 (hexadecimal).

    `progress` is told the bytes so far and in all. The file appears only when it is whole and, where
    `sha256` is given, has that digest. Raises ProcessingFailure otherwise; what came so far stays
    beside the target for the next try, unless the digest is wrong.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _download(url, part, progress)
    except httpx.HTTPError as fault:
        raise ProcessingFailure(STEP, f"the download stopped ({type(fault).__name__}); try again") from fault
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and found != sha256.lower():
        _forget(part)
        raise ProcessingFailure(STEP, f"the download has SHA-256 {found}, but {sha256.lower()} was expected")
    try:
        info(part)
    except ProcessingFailure:
        _forget(part)
        raise
    part.replace(target)
    _forget(part)
    return found


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_of(part).unlink(missing_ok=True)


def _tag_of(part: Path) -> Path:
    """Beside a half download lies the ETag of the version that it belongs to."""
    return part.with_name(part.name + ".etag")


def _download(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    tag = _tag_of(part)
    have = part.stat().st_size if part.exists() and tag.exists() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text()} if have else {}
    headers["Accept-Encoding"] = "identity"
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT) as response:
        if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it came before; the digest decides
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0
        tag.unlink(missing_ok=True)
        if etag := response.headers.get("ETag"):
            tag.write_text(etag)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            for block in response.iter_bytes():
                file.write(block)
                have += len(block)
                if progress:
                    progress(have, total)
    if total is not None and have != total:
        raise httpx.ReadError("fewer bytes came than were promised")
