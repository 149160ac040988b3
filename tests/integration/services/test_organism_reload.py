"""Organism files that change while a process runs count as a whole, or not at all."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from readvault.config import Settings
from readvault.domain.organism.loaded import LiveOrganisms, OrganismSet
from readvault.organisms import admission, loading
from readvault.organisms.watch import OrganismWatch
from readvault.services.entries.released_state import released_etag
from readvault.services.house import House
from readvault.services.processing import jobs
from tests.integration.services.scenes import ORGANISM, READY, entry, group, job, processed

Write = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "organisms"
    place.mkdir()
    return place


@pytest.fixture
def write(folder: Path) -> Write:
    def write(keys: str = "", *, name: str = ORGANISM, bases: str = "ACGTACGTACGTACGTACGT", file: str = "") -> None:
        (folder / f"{name}.fasta").write_text(f">main\n{bases}\n")
        text = f"name: {name}\nreference: {{fasta: {name}.fasta}}\nmetadata: [{{name: date, type: date}}]\n{keys}\n"
        (folder / f"{file or name}.yaml").write_text(text)

    write()
    return write


@pytest.fixture
def living(house: House, folder: Path, write: Write, tmp_path: Path) -> House:
    settings = house.settings.model_copy(update={"organisms_dir": folder, "data_dir": tmp_path / "data"})
    return replace(house, settings=settings, organisms=LiveOrganisms(loading.load(settings), 1.0))


@pytest.fixture
def watch(living: House) -> OrganismWatch:
    return watching(living)


def watching(house: House, changes: list[OrganismSet] | None = None) -> OrganismWatch:
    return OrganismWatch(house, live(house), on_change=(changes if changes is not None else []).append)


def live(house: House) -> LiveOrganisms:
    assert isinstance(house.organisms, LiveOrganisms)
    return house.organisms


def test_a_changed_file_counts_once_it_has_settled(living: House, write: Write) -> None:
    changes: list[OrganismSet] = []
    watch = watching(living, changes)
    assert not watch.look()
    write("pipeline: {version: 2}")
    assert not watch.look()
    assert watch.look()
    assert not watch.look()
    assert living.organism(ORGANISM).pipeline.version == 2
    assert changes == [live(living).now]


def test_who_insists_waits_for_nothing(living: House, write: Write, watch: OrganismWatch) -> None:
    write("pipeline: {version: 2}")
    assert watch.look(insist=True)
    assert living.organism(ORGANISM).pipeline.version == 2


def test_a_reference_that_was_saved_over_is_another_one_and_who_has_the_old_one_keeps_it(
    living: House, write: Write, watch: OrganismWatch, folder: Path
) -> None:
    before = living.steady()
    etag = released_etag(living, ORGANISM)
    path = folder / f"{ORGANISM}.fasta"
    times = path.stat()
    path.write_text(">main\nTTTTACGTACGTACGTACGT\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as `cp -p` does
    assert watch.look(insist=True)
    old, new = (each.organism(ORGANISM).reference for each in (before, living))
    assert old is not None
    assert new is not None
    assert "ACGTACGTACGTACGTACGT" in old.fasta.read_text()
    assert "TTTTACGT" in new.fasta.read_text()
    assert released_etag(living, ORGANISM) != etag == released_etag(before, ORGANISM)


def test_folders_that_are_swapped_behind_a_link_are_followed_each_time(house: House, tmp_path: Path) -> None:
    """As Kubernetes swaps a ConfigMap: the same text of the organism file, another reference beside it."""
    for number, bases in enumerate(("ACGTACGT", "ACGTACGA", "ACGTACGC")):
        place = tmp_path / f"..{number}"
        place.mkdir()
        (place / "reference.fasta").write_text(f">main\n{bases}\n")
        (place / "a.yaml").write_text("name: a\nreference: {fasta: reference.fasta}\n")
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "..data").symlink_to(tmp_path / "..0")
    for name in ("a.yaml", "reference.fasta"):
        (folder / name).symlink_to(Path("..data") / name)
    settings = house.settings.model_copy(update={"organisms_dir": folder, "data_dir": tmp_path / "data"})
    living = replace(house, settings=settings, organisms=LiveOrganisms(loading.load(settings), 1.0))
    watch = watching(living)
    for number, bases in ((1, "ACGTACGA"), (2, "ACGTACGC")):
        (folder / "..new").symlink_to(tmp_path / f"..{number}")
        (folder / "..new").rename(folder / "..data")
        for name in ("a.yaml", "reference.fasta"):
            (tmp_path / f"..{number - 1}" / name).unlink()
        assert not watch.look()
        assert watch.look()
        reference = living.organism("a").reference
        assert reference is not None
        assert bases in reference.fasta.read_text()


@pytest.mark.parametrize(
    "keys", ["nonsense: 1", "pipeline: [", "pipeline: {version: 0}", "pipeline: {align: {primers: nowhere.bed}}"]
)
def test_what_is_wrong_is_refused_as_a_whole_and_the_log_says_why(
    living: House, write: Write, watch: OrganismWatch, keys: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = live(living).now
    write(keys)
    write("displayName: Another", name="other")
    with caplog.at_level(logging.ERROR):
        assert not watch.look(insist=True)
    assert live(living).now is before
    refused = live(living).standing.refused
    assert len(refused) == 1
    assert f"{ORGANISM}.yaml:" in refused[0]
    assert refused[0] in caplog.text
    caplog.clear()
    watch.look()
    assert caplog.text == ""  # told once
    write("pipeline: {version: 3}")
    assert watch.look(insist=True)
    assert (live(living).standing.refused, set(living.organisms)) == ((), {ORGANISM, "other"})


def test_a_reference_that_breaks_is_refused_and_taking_it_back_ends_the_refusal(
    living: House, write: Write, watch: OrganismWatch
) -> None:
    write(bases="AC!")
    assert not watch.look(insist=True)
    assert "IUPAC" in live(living).standing.refused[0]
    write()
    assert not watch.look()
    assert live(living).standing.refused == ()


def test_an_organism_with_entries_stays(living: House, write: Write, watch: OrganismWatch, folder: Path) -> None:
    write(name="other")
    assert watch.look(insist=True)
    entry(living, group(living, "alice"), organism="other")
    (folder / "other.yaml").rename(folder / "other.yaml.gone")
    assert not watch.look(insist=True)
    assert "there are entries of it" in live(living).standing.refused[0]
    assert set(living.organisms) == {ORGANISM, "other"}
    (folder / "other.yaml.gone").rename(folder / "other.yaml")
    (folder / f"{ORGANISM}.yaml").unlink()  # nobody has submitted anything of this one
    assert watch.look(insist=True)
    assert set(living.organisms) == {"other"}


def test_segments_of_what_is_released_stay(living: House, write: Write, watch: OrganismWatch) -> None:
    write(bases="ACGT")
    assert watch.look(insist=True)  # nothing is released yet
    write()
    assert watch.look(insist=True)
    name, _ = processed(living, group(living, "alice"))
    release(living, name.accession)
    write(bases="ACGT")
    assert not watch.look(insist=True)
    assert "main (20 bases)" in live(living).standing.refused[0]
    write(bases="TTTTACGTACGTACGTACGT")
    assert watch.look(insist=True)


def release(house: House, accession: str) -> None:
    from readvault.db.tables import EntryVersion

    with house.sessions.begin() as session:
        session.get_one(EntryVersion, (accession, 1)).released = True


def test_results_that_change_under_an_old_version_are_warned_about(
    living: House, write: Write, watch: OrganismWatch
) -> None:
    write("pipeline: {dehumanize: {off: cells without any person}}")
    assert watch.look(insist=True)
    assert live(living).standing.warnings == ()  # nothing could be processed before
    write("pipeline: {dehumanize: {off: cells without any person}, qc: {onError: label}}")
    assert watch.look(insist=True)
    assert "pipeline.version was not raised" in live(living).standing.warnings[0]
    write("pipeline: {version: 2, dehumanize: {off: cells without any person}}")
    assert watch.look(insist=True)
    assert live(living).standing.warnings == ()


def test_at_the_start_what_has_entries_and_no_file_is_told(
    living: House, watch: OrganismWatch, caplog: pytest.LogCaptureFixture
) -> None:
    mine = group(living, "alice")
    for organism in ("lost-1", ORGANISM, "lost-2", "lost-1"):
        entry(living, mine, organism=organism)
    watch.tell_what_has_no_file()
    assert live(living).standing.without_file == ("lost-1", "lost-2")
    assert "no file speaks of it" in caplog.text


def test_half_of_a_change_is_neither_taken_nor_refused(
    living: House, write: Write, watch: OrganismWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody saves a reference while the set is looked at."""
    examined = admission.mistakes

    def saved_meanwhile(settings: Settings) -> list[str]:
        write("pipeline: {version: 2}")
        return examined(settings)

    monkeypatch.setattr(admission, "mistakes", saved_meanwhile)
    write("nonsense: 1")
    assert not watch.look(insist=True)
    assert live(living).standing.refused == ()
    monkeypatch.undo()
    assert not watch.look()
    assert watch.look()
    assert living.organism(ORGANISM).pipeline.version == 2


def test_a_set_that_could_not_be_read_at_once_is_read_at_the_next_look(
    living: House, write: Write, watch: OrganismWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(_: Settings) -> OrganismSet:
        raise loading.StillChanging("somebody saves")

    write("pipeline: {version: 2}")
    monkeypatch.setattr(loading, "load", changing)
    assert not watch.look(insist=True)
    monkeypatch.undo()
    assert not watch.look()
    assert watch.look()


def test_where_nothing_can_be_kept_a_temporary_folder_is_taken(living: House, write: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    settings = living.settings.model_copy(update={"data_dir": tmp_path / "file" / "data"})
    reference = loading.load(settings)[ORGANISM].reference
    assert reference is not None
    assert reference.fasta.is_file()
    assert tmp_path not in reference.fasta.parents


def test_a_database_that_is_away_costs_a_look_and_nothing_else(
    living: House, write: Write, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    watch = watching(living)
    write(name="other")
    (folder / f"{ORGANISM}.yaml").unlink()
    monkeypatch.setattr("readvault.organisms.admission.organisms_in_use.has_entries", fails)
    with pytest.raises(OSError, match="away"):
        watch.look(insist=True)
    assert set(living.organisms) == {ORGANISM}
    monkeypatch.undo()
    assert watch.look(insist=True)
    assert set(living.organisms) == {"other"}


def fails(*_: object) -> bool:
    raise OSError("away")


def test_a_job_takes_the_version_of_the_rules_that_it_is_done_with(
    living: House, write: Write, watch: OrganismWatch
) -> None:
    _, job_id = entry(living, group(living, "alice"))
    steady = living.steady()
    write("pipeline: {version: 7}")
    assert watch.look(insist=True)
    claim = jobs.claim(steady, job_id, "worker", READY)
    assert claim is not None
    assert claim.pipeline_version == steady.organism(ORGANISM).pipeline.version == 1
    assert job(living, job_id).pipeline_version == 1


def test_racing_readers_see_whole_sets_only(living: House, write: Write, folder: Path) -> None:
    """Two organisms always change together: nobody ever sees one of the old and one of the new."""
    watch = watching(living)
    stop, seen, torn = threading.Event(), set(), []

    def read() -> None:
        while not stop.wait(0.001):
            house = living.steady()
            titles = {house.organism(name).title for name in house.organisms}
            again = {house.organism(name).title for name in house.organisms}
            seen.update(titles)
            if titles != again or len(titles) != 1:
                torn.append(titles)

    write("displayName: round 0")
    write("displayName: round 0", name="other")
    assert watch.look(insist=True)
    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 6):
        write(f"displayName: round {number}")
        write(f"displayName: round {number}", name="other")
        assert watch.look(insist=True)
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert len(seen) > 1


def test_the_thread_looks_by_itself_and_at_once_when_it_is_asked(living: House, write: Write) -> None:
    came = threading.Event()
    settings = living.settings.model_copy(update={"organisms_reload_every": 0})
    quiet = replace(living, settings=settings)
    watch = OrganismWatch(quiet, live(living), on_change=lambda _: came.set())
    watch.start()
    write("pipeline: {version: 5}")
    assert not came.wait(0.1)
    watch.ask()
    assert came.wait(5)
    watch.stop()
    came.clear()
    settings = living.settings.model_copy(update={"organisms_reload_every": 0.02})
    watch = OrganismWatch(replace(living, settings=settings), live(living), on_change=lambda _: came.set())
    watch.start()
    write("pipeline: {version: 6}")
    assert came.wait(5)
    watch.stop()
    assert living.organism(ORGANISM).pipeline.version == 6
