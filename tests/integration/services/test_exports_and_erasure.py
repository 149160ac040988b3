"""What is erased is in no export: not in the next one, not in those that are stored, not in one that is being built."""

from __future__ import annotations

import pytest
import zstandard
from sqlalchemy import update

from readvault.db.tables import Erasure, SiloExport
from readvault.domain.erasures import State
from readvault.domain.errors import NotFound, ProcessingFailure
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.services.exports import reading, retention
from readvault.services.house import House
from readvault.services.release.interventions import intervene
from readvault.services.storage.erasing import erasure, erasure_proof, shredding
from tests.fakes import MemoryStore
from tests.houses import MAINTAINER
from tests.integration.services.scenes import ORGANISM, group
from tests.integration.services.silo_scenes import export, released_reads, rows, samples_of
from tests.integration.services.test_erasure import OTHER, REASON


def _holding(store: MemoryStore, name: AccessionVersion) -> list[str]:
    """Keys of exports whose bytes have something of an accession version, whatever their rows say."""
    found = []
    for key, versions in store.versions.items():
        if key.startswith("exports/"):
            for _, content in versions:
                if key.endswith(".zst"):
                    unpacked = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True).read()
                else:
                    unpacked = content
                if str(name).encode() in unpacked:
                    found.append(key)
    return found


def _alone(house: House, group_id: int) -> AccessionVersion:
    """An entry that shares no file with another one."""
    return released_reads(house, group_id, reads=(("TTTTT", 3),), files=(b"its own",))


def _confirmed(house: House, name: AccessionVersion) -> int:
    asked, _ = erasure.request(house, MAINTAINER, [name], REASON)
    assert asked.id is not None
    erasure.confirm(house, OTHER, asked.id, objects=asked.objects, code=asked.code)
    return asked.id


def test_stored_exports_and_parts_go_with_an_erasure_and_its_proof_names_them(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    kept = released_reads(house, group_id)
    older = export(house)
    gone = _alone(house, group_id)
    newer = export(house)
    erasure_id = _confirmed(house, gone)
    assert newer.export_id is not None
    with pytest.raises(NotFound):
        reading.find(house, None, ORGANISM, newer.export_id)
    assert reading.find(house, None, ORGANISM).row.id == older.export_id, "what never had it stays"
    done = shredding.carry_on(house, erasure_id)
    assert done.finished_at is not None
    assert _holding(store, gone) == []
    assert shredding.left_of(house, erasure_id) == []
    assert done.proof is not None
    assert erasure_proof.is_as_written(done.proof)
    exported = [each for each in done.proof["objects"] if each["kind"] == "export"]
    assert len(exported) == 7, "six files and a part"
    assert all(each["sha256"] for each in exported)
    assert samples_of(house) == [str(kept)]
    assert export(house).changed is False, "the older one is what is public now"


def test_what_is_erased_while_it_is_exported_is_in_nothing(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    kept, gone = released_reads(house, group_id), _alone(house, group_id)
    ids: list[int] = []

    def meanwhile(_: int) -> None:
        if not ids:
            ids.append(_confirmed(house, gone))
            waiting = shredding.carry_on(house, ids[0])
            assert waiting.finished_at is None
            assert "being built" in (waiting.waits_for or "")

    done = export(house, progress=meanwhile)
    assert done.figures["samples"] == 1
    assert samples_of(house) == [str(kept)]
    assert shredding.carry_on(house, ids[0]).finished_at is not None
    assert _holding(store, gone) == []
    with house.sessions.read() as session:
        row = session.get_one(Erasure, ids[0])
        assert erasure.state_of(row, 0.0) is State.FINISHED
    assert {row["accessionVersion"] for row in rows(house)} == {str(kept)}


def test_bytes_of_an_export_that_could_not_commit_are_found_by_an_erasure(
    house: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored, then withdrawn, and S3 fails (or the builder dies) before the files are taken back."""
    group_id = group(house, "alice")
    released_reads(house, group_id)
    gone = _alone(house, group_id)

    put: list[int] = []

    def meanwhile(_: int) -> None:
        put.append(1)
        if len(put) == 2:  # the lines of both are in the file
            intervene(house, MAINTAINER, gone, Step.WITHDRAW, REASON)

    def failing(*_: object) -> None:
        raise ProcessingFailure("export", "S3 gives no answer")

    with monkeypatch.context() as patched:
        patched.setattr(retention, "remove_files", failing)
        with pytest.raises(ProcessingFailure, match="no answer"):
            export(house, progress=meanwhile)
    assert _holding(store, gone)
    erasure_id = _confirmed(house, gone)
    assert "being built" in (shredding.carry_on(house, erasure_id).waits_for or "")
    with house.sessions.begin() as session:
        session.execute(update(SiloExport).values(alive_until=0.0))
    assert shredding.carry_on(house, erasure_id).finished_at is not None
    assert _holding(store, gone) == []
