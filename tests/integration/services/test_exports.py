"""Exports for SILO: what is in them, what is touched, and that nothing is in them that is not everybody's."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard
from sqlmodel import col, select

from readvault.db.tables import (
    AuditEntry,
    EntryVersion,
    ExternalMetadata,
    SiloExport,
    SiloExportMember,
    SiloPart,
    Withholding,
)
from readvault.domain.errors import BadRequest, Conflict, Gone, NotFound, Unavailable
from readvault.domain.exports import Genome
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.interventions import Step
from readvault.services.exports import exporting, parts, planning, reading, retention
from readvault.services.house import House
from readvault.services.release.interventions import intervene
from readvault.services.screening import withholding
from readvault.services.submission.revocation import revoke
from tests.fakes import MemoryStore
from tests.houses import ALICE, MAINTAINER
from tests.integration.services.scenes import ORGANISM, group
from tests.integration.services.silo_scenes import (
    READS,
    export,
    exported_files,
    processed_reads,
    released_reads,
    rows,
    samples_of,
)


def _counts(done: exporting.Exported) -> dict[str, int]:
    return {kind: done.figures[kind] for kind in ("reused", "new", "replaced", "dropped", "spliced")}


def test_an_export_has_all_public_reads_with_their_metadata(house: House) -> None:
    group_id = group(house, "alice")
    first = released_reads(house, group_id)
    second = released_reads(house, group_id, metadata={"date": None, "country": 'Côte "d’Ivoire"'})
    processed_reads(house, group_id)
    done = export(house)
    assert done.changed
    assert _counts(done) == {"reused": 0, "new": 2, "replaced": 0, "dropped": 0, "spliced": 2}
    found = rows(house)
    assert [row["readId"] for row in found] == [f"{name}|{n}" for name in sorted([first, second]) for n in (1, 2, 3)]
    assert {tuple(row) for row in found} == {
        ("readId", "accessionVersion", "sampleId", "date", "country", "platform", "main")
    }
    by_name = {row["accessionVersion"]: row for row in found}
    assert by_name[str(first)]["date"] == "2026-01-05"
    assert by_name[str(first)]["sampleId"] == f"sample-{first}"
    assert by_name[str(second)]["date"] is None
    assert by_name[str(second)]["country"] == 'Côte "d’Ivoire"'
    assert [(row["main"]["sequence"], row["main"]["offset"]) for row in found[:3]] == list(READS)


def test_every_digest_size_and_count_is_what_the_manifest_says(house: House) -> None:
    group_id = group(house, "alice")
    names = [released_reads(house, group_id), released_reads(house, group_id, reads=READS[:1])]
    done = export(house)
    files = exported_files(house)
    manifest = json.loads(files["manifest.json"])
    told = {file["name"]: (file["size"], file["sha256"]) for file in manifest["files"]}
    assert told == {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in files.items()
        if name != "manifest.json"
    }
    listed = reading.find(house, None, ORGANISM).as_json("https://example.org")
    assert listed["manifestSha256"] == hashlib.sha256(files["manifest.json"]).hexdigest()
    assert manifest["counts"] == listed["counts"] == done.figures
    with pytest.raises(NotFound):
        reading.file_url(house, None, ORGANISM, "latest", "other")
    samples = [json.loads(line) for line in files["samples.ndjson"].splitlines()]
    assert [sample["accessionVersion"] for sample in samples] == sorted(map(str, names))
    assert sum(sample["reads"] for sample in samples) == manifest["counts"]["reads"] == len(rows(house)) == 4
    packed = files["reads.ndjson.zst"]
    assert sum(sample["size"] for sample in samples) == len(packed)
    for sample in samples:
        part = packed[sample["offset"] : sample["offset"] + sample["size"]]
        assert hashlib.sha256(part).hexdigest() == sample["sha256"]


def test_the_configuration_avoids_what_silo_refuses(house: House) -> None:
    released_reads(house, group(house, "alice"))
    export(house)
    files = exported_files(house)
    config = yaml.safe_load(files["database_config.yaml"])["schema"]
    assert config["primaryKey"] == "readId"
    indexed = {column["name"] for column in config["metadata"] if column.get("generateIndex")}
    assert indexed == {"accessionVersion", "sampleId", "country", "platform"}
    assert [c["type"] for c in config["metadata"] if c["name"] == "date"] == ["date"]
    assert json.loads(files["reference_genomes.json"]) == {
        "nucleotideSequences": [{"name": "main", "sequence": "ACGTACGTACGTACGTACGT"}],
        "genes": [],
    }
    assert yaml.safe_load(files["preprocessing_config.yaml"]) == {
        "ndjsonInputFilename": "reads.ndjson.zst",
        "referenceGenomeFilename": "reference_genomes.json",
        "databaseConfig": "database_config.yaml",
        "withoutUnalignedSequences": True,
    }


def test_nothing_new_makes_no_export_and_touches_no_sample(house: House, store: MemoryStore) -> None:
    released_reads(house, group(house, "alice"))
    first = export(house)
    store.calls.clear()
    again = export(house)
    assert (again.changed, again.export_id) == (False, first.export_id)
    assert not {"fetch", "store"} & set(store.calls)


def test_a_new_sample_is_added_and_the_others_stay_as_they_are(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    released_reads(house, group_id)
    export(house)
    before = {key: versions[:] for key, versions in store.versions.items() if "/parts/" in key}
    released_reads(house, group_id)
    assert _counts(export(house)) == {"reused": 1, "new": 1, "replaced": 0, "dropped": 0, "spliced": 1}
    assert all(store.versions[key] == versions for key, versions in before.items())
    assert _counts(export(house, anew=True))["spliced"] == 2


def test_a_revised_date_changes_the_export_and_no_stored_reads(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    old = released_reads(house, group_id)
    other = released_reads(house, group_id)
    export(house)
    vault = {key: versions[:] for key, versions in store.versions.items() if key.startswith("vault/")}
    new = released_reads(house, group_id, accession=old.accession, version=2, metadata={"date": "2026-02-07"})
    assert _counts(export(house)) == {"reused": 1, "new": 0, "replaced": 1, "dropped": 0, "spliced": 1}
    assert samples_of(house) == sorted(map(str, (new, other)))
    assert {row["date"] for row in rows(house) if row["accessionVersion"] == str(new)} == {"2026-02-07"}
    assert {key: store.versions[key] for key in vault} == vault
    silo = {key for key in store.versions if key.startswith("vault/")} - set(vault)
    assert silo == set(), "the revision's reads are the very same file"


def test_what_others_say_of_an_entry_is_spliced_without_the_pipeline(house: House) -> None:
    """Metadata that come from outside after the release: the same result, other lines."""
    from readvault.domain.organism.organism import ExternalMetadataField

    group_id = group(house, "alice")
    name = released_reads(house, group_id)
    rules = house.organism(ORGANISM)
    field = ExternalMetadataField(external_metadata_updater="ena", name="insdc")
    changed = rules.model_copy(update={"external_metadata": (field,)})
    from dataclasses import replace

    house = replace(house, organisms={ORGANISM: changed})
    export(house)
    with house.sessions.begin() as session:
        session.add(
            ExternalMetadata(
                accession=name.accession, version=1, updater="ena", content={"insdc": "ERR1"}, updated_at=1.0
            )
        )
    assert _counts(export(house)) == {"reused": 0, "new": 0, "replaced": 1, "dropped": 0, "spliced": 1}
    assert {row["insdc"] for row in rows(house)} == {"ERR1"}


def _withdraw(house: House, name: AccessionVersion) -> None:
    intervene(house, MAINTAINER, name, Step.WITHDRAW, "wrong sample")


def _suppress(house: House, name: AccessionVersion) -> None:
    intervene(house, MAINTAINER, name, Step.SUPPRESS, "doubtful")


def _withhold(house: House, name: AccessionVersion) -> None:
    withholding.withhold(house, MAINTAINER, name, 1, "human reads")


CLOSINGS = [_withdraw, _suppress, _withhold]
Closing = Callable[[House, AccessionVersion], None]


@pytest.mark.parametrize("close", CLOSINGS)
def test_what_is_closed_drops_out(house: House, close: Closing) -> None:
    group_id = group(house, "alice")
    closed, other = released_reads(house, group_id), released_reads(house, group_id)
    export(house)
    close(house, closed)
    assert _counts(export(house)) == {"reused": 1, "new": 0, "replaced": 0, "dropped": 1, "spliced": 0}
    assert samples_of(house) == [str(other)]


def test_the_last_sample_drops_out_too(house: House) -> None:
    closed = released_reads(house, group(house, "alice"))
    export(house)
    _withdraw(house, closed)
    assert export(house).figures["samples"] == 0
    assert rows(house) == []


@pytest.mark.parametrize("close", [_withdraw, _withhold])
def test_an_export_with_what_nobody_gets_any_more_is_given_to_nobody(house: House, close: Closing) -> None:
    group_id = group(house, "alice")
    released_reads(house, group_id)
    older = export(house)
    closed = released_reads(house, group_id)
    newer = export(house)
    assert newer.export_id is not None
    close(house, closed)
    assert reading.find(house, None, ORGANISM).row.id == older.export_id
    with pytest.raises(Gone):
        reading.file_url(house, None, ORGANISM, newer.export_id, "reads.ndjson.zst")
    export(house)
    assert str(closed) not in samples_of(house)


def test_until_there_is_one_without_it_nobody_gets_any(house: House) -> None:
    closed = released_reads(house, group(house, "alice"))
    export(house)
    _withdraw(house, closed)
    with pytest.raises(Unavailable):
        reading.find(house, None, ORGANISM)
    intervene(house, MAINTAINER, closed, Step.RESTORE, "it was right")
    assert samples_of(house) == [str(closed)]


def test_what_is_suppressed_stays_in_the_export_that_has_it(house: House) -> None:
    name = released_reads(house, group(house, "alice"))
    export(house)
    _suppress(house, name)
    assert samples_of(house) == [str(name)]


def test_only_the_newest_version_is_in_it_and_nothing_that_was_revoked(house: House) -> None:
    from readvault.services.review.approval import Scope, approve

    group_id = group(house, "alice")
    first = released_reads(house, group_id)
    second = released_reads(house, group_id, accession=first.accession, version=2)
    export(house)
    assert samples_of(house) == [str(second)]
    revoke(house, ALICE, ORGANISM, accessions=[first.accession])
    name = AccessionVersion(first.accession, 3)
    approve(house, ALICE, ORGANISM, scope=Scope.ALL, accession_versions=[(name, None)])
    assert export(house).figures["dropped"] == 1
    assert rows(house) == []


def test_what_was_made_with_another_reference_or_lies_on_other_segments_is_left_out(house: House) -> None:
    group_id = group(house, "alice")
    good = released_reads(house, group_id)
    released_reads(house, group_id, reference="0" * 64)
    released_reads(house, group_id, segment="other")
    done = export(house)
    assert (done.figures["samples"], done.figures["otherReference"], done.figures["leftOut"]) == (1, 1, 1)
    assert samples_of(house) == [str(good)]
    again = export(house)
    assert (again.changed, again.export_id) == (False, done.export_id), "it was left out before, too"


def test_equal_reads_of_a_newer_result_stand_for_those_that_are_withheld(house: House) -> None:
    """Nothing of the plan is another, and yet nobody may have the export before."""
    group_id = group(house, "alice")
    name, hidden = released_reads(house, group_id), released_reads(house, group_id)
    _withhold(house, hidden)
    done = export(house)
    with house.sessions.begin() as session:
        (earlier,) = session.execute(select(Withholding)).scalars()
        member = session.execute(select(SiloExportMember)).scalar_one()
        member.manifest_id = earlier.manifest_id  # as if it were its own earlier result
        told = earlier.model_dump(exclude={"id"}) | {"accession": name.accession, "version": name.version}
        session.add(Withholding(**told))
    with pytest.raises(Unavailable):
        reading.find(house, None, ORGANISM)
    assert export(house).export_id != done.export_id
    assert samples_of(house) == [str(name)]


def test_no_value_that_silo_refuses_gets_in(house: House) -> None:
    group_id = group(house, "alice")
    values: dict[Any, str | None] = {
        "2026-02-29": None, "2026-2-1": None, "": None, 20260201: None, "2024-02-29": "2024-02-29", None: None
    }  # fmt: skip
    names = {
        str(released_reads(house, group_id, metadata={"date": value, "country": "Peru"})): kept
        for value, kept in values.items()
    }
    done = export(house)
    assert {row["accessionVersion"]: row["date"] for row in rows(house)} == names
    assert done.figures["valuesLeftOut"] == 4


def test_a_column_with_the_name_of_a_segment_is_refused(house: House) -> None:
    from dataclasses import replace

    from readvault.domain.organism import MetadataField

    rules = house.organism(ORGANISM)
    changed = rules.model_copy(update={"metadata": (*rules.metadata, MetadataField(name="main"))})
    with pytest.raises(BadRequest, match="main"):
        export(replace(house, organisms={ORGANISM: changed}))


def test_two_cannot_export_the_same_organism_at_once(house: House) -> None:
    released_reads(house, group(house, "alice"))

    def meanwhile(_: int) -> None:
        with pytest.raises(Conflict, match="under way"):
            export(house)

    assert export(house, progress=meanwhile).changed


@pytest.mark.parametrize("close", CLOSINGS)
def test_what_is_closed_while_it_is_exported_is_not_in_it(house: House, close: Closing) -> None:
    """The part is made and the files lie ready when it is withdrawn: the commit sees that and goes round again."""
    group_id = group(house, "alice")
    closed, other = released_reads(house, group_id), released_reads(house, group_id)
    once = threading.Event()

    def meanwhile(_: int) -> None:
        if not once.is_set():
            once.set()
            close(house, closed)

    done = export(house, progress=meanwhile)
    assert done.figures["samples"] == 1
    assert samples_of(house) == [str(other)]


def test_a_closing_and_the_commit_come_one_after_the_other(house: House) -> None:
    """Many times at once, on both databases: what was withdrawn before an export's commit is never in it."""
    group_id = group(house, "alice")
    stays = released_reads(house, group_id)
    for _ in range(4):
        name = released_reads(house, group_id)
        ready = threading.Barrier(2)

        def withdraw(name: AccessionVersion = name, ready: threading.Barrier = ready) -> None:
            ready.wait()
            _withdraw(house, name)

        thread = threading.Thread(target=withdraw)
        waited = threading.Event()

        def meanwhile(_: int, ready: threading.Barrier = ready, waited: threading.Event = waited) -> None:
            if not waited.is_set():
                waited.set()
                ready.wait()

        thread.start()
        done = export(house, progress=meanwhile, anew=True)
        thread.join()
        assert done.export_id is not None
        with house.sessions.read() as session:
            made = session.get_one(SiloExport, done.export_id)
            query = select(AuditEntry).where(AuditEntry.action.in_(("withdraw", "export silo")))  # type: ignore[attr-defined]
            order = [row.action for row in session.exec(query.order_by(col(AuditEntry.id).desc()).limit(2))]
        has_it = made.figures["samples"] == 2
        # The newest first: it may only have what was withdrawn after its own commit.
        assert order[0] == "withdraw" if has_it else order[0] == "export silo"
        with house.sessions.read() as session:
            assert reading.has_closed(session, done.export_id) is has_it
    export(house)
    assert samples_of(house) == [str(stays)]


def test_a_part_that_is_lost_is_made_again(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    released_reads(house, group_id)
    export(house)
    for key in [key for key in store.versions if "/parts/" in key]:
        del store.versions[key]
    released_reads(house, group_id)
    assert export(house).figures["spliced"] == 2
    assert len(samples_of(house)) == 2


def test_only_so_many_exports_are_kept_and_nothing_else_lies_around(house: House, store: MemoryStore) -> None:
    group_id = group(house, "alice")
    kept: list[str] = []
    for _ in range(5):
        released_reads(house, group_id)
        done = export(house)
        assert done.export_id is not None
        kept.append(done.export_id)
    with house.sessions.begin() as session:
        for row in session.exec(select(SiloExport).where(SiloExport.state == "dropped")):
            row.dropped_at = 1.0
    retention.tidy(house)
    folders = {key.split("/")[2] for key in store.versions if key.startswith("exports/")}
    assert folders == {"parts", *kept[-3:]}
    for export_id in kept[:2]:
        with pytest.raises(NotFound):
            reading.find(house, None, ORGANISM, export_id)
    assert reading.find(house, None, ORGANISM, kept[2]).row.id == kept[2]


def test_parts_that_nothing_needs_go_after_a_while(house: House, store: MemoryStore) -> None:
    name = released_reads(house, group(house, "alice"))
    export(house)
    _withdraw(house, name)
    export(house)
    with house.sessions.begin() as session:
        session.exec(select(SiloPart)).one().made_at = 1.0
        for row in session.exec(select(SiloExport)):
            row.ready_at = (row.ready_at or 0) if row.figures["samples"] == 0 else 1.0
    house = _keeping_one(house)
    retention.tidy(house)
    with house.sessions.read() as session:
        assert session.exec(select(SiloPart)).all() == []
    assert not [key for key in store.versions if "/parts/" in key]


def _keeping_one(house: House) -> House:
    from dataclasses import replace

    storage = house.settings.storage.model_copy(update={"silo_exports_kept": 1})
    return replace(house, settings=house.settings.model_copy(update={"storage": storage}))


def test_an_organism_without_reads_makes_no_export(house: House) -> None:
    assert export(house).export_id is None
    for asked in ("latest", "0123456789abcdef"):
        with pytest.raises(NotFound):
            reading.find(house, None, ORGANISM, asked)
    with house.sessions.read() as session:
        assert session.exec(select(EntryVersion)).all() == []
        assert session.exec(select(Withholding)).all() == []


def test_frames_stay_small_whatever_stands_beside_each_read(house: House, tmp_path: Path) -> None:
    """A frame is in memory at once: of who makes it, and of everybody who reads it."""
    said = b'{"sequence":"' + b"ACGT" * 75 + b'","insertions":[],"offset":0}'
    lines = b"".join(b'{"readId":"%d","main":%b}\n' % (number, said) for number in range(1, 2000))
    (tmp_path / "source").write_bytes(zstandard.ZstdCompressor().compress(lines))
    maker = parts.Maker(house, ORGANISM, "none", (), Genome((("main", "ACGT"),), (), ""), tmp_path)
    metadata = b'"note":"' + b"x" * 40_000 + b'"'
    sample = planning.Sample(AccessionVersion("LOC_000001Y", 1), 1, metadata, "")
    part = maker.spliced(sample, tmp_path / "source")
    packed, sizes = part.path.read_bytes(), []
    while packed:
        frame = zstandard.ZstdDecompressor().decompressobj()
        sizes.append(len(frame.decompress(packed)))
        packed = frame.unused_data
    assert part.reads == 1999
    assert sum(sizes) == len(lines) + part.reads * (len(metadata) + len("LOC_000001Y.1|") + 1)
    assert max(sizes) < 48 << 20
