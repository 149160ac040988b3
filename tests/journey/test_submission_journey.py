"""The mission, as one test reads it: on a real S3, with Prefect and without."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from readvault import demo_organism
from readvault.client import ClientError
from readvault.reads.simulate import simulation
from tests.faults import canaries
from tests.prefect_database import PrefectDatabase
from tests.stack import Lab, Stack, new_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["prefect", "inline"])
def stack(
    request: pytest.FixtureRequest, prefect_database: PrefectDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    prefect = prefect_database if request.param == "prefect" else None
    running = Stack(tmp_path_factory.mktemp(request.param), prefect=prefect, environment=new_database())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def lab(stack: Stack) -> Lab:
    return stack.lab()


@pytest.fixture(scope="module")
def sample(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> simulation.Simulated:
    return simulation.simulate(
        stack.organism().reference.fasta,
        tmp_path_factory.mktemp("reads"),
        pairs=7000,
        length=150,
        seed=11,
        substitutions=12,
        insertions=2,
        deletions=2,
        host=demo_organism.host_genome(stack.settings),
        host_pairs=300,
    )


def test_reads_travel_from_upload_to_release(
    stack: Stack, lab: Lab, sample: simulation.Simulated, tmp_path: Path
) -> None:
    assert sample.r2 is not None
    cell = lab.upload(sample.r1, sample.r2)
    [(accession, version)] = lab.submit(cell)

    review = lab.processed(accession, version)
    assert review["status"] == "PROCESSED"
    assert review["processingResult"] == "NO_ISSUES", review["warnings"] + review["errors"]
    assert review["processedData"]["metadata"]["totalReads"] == 2 * 7300
    assert review["processedData"]["metadata"]["consensusSource"] == "reads"

    for file in review["submittedData"]["files"]["rawReads"]:
        original = httpx.get(file["url"]).raise_for_status().content
        assert hashlib.sha256(original).hexdigest() == file["sha256"]

    anyone = stack.anyone()
    with pytest.raises(ClientError) as refusal:
        anyone.download(accession, version, "consensus", "consensus.fasta", tmp_path / "early")
    assert refusal.value.status == 401

    approved = lab.client.approve("demo", [(accession, version, review["manifestDigest"])])
    assert approved == [{"accession": accession, "version": version}]

    names = set()
    for category, files in review["processedData"]["files"].items():
        for file in files:
            anyone.download(accession, version, category, file["name"], tmp_path / file["name"], sha256=file["sha256"])
            names.add(file["name"])
    assert names == {
        "dehumanized_R1.fastq.gz",
        "dehumanized_R2.fastq.gz",
        "alignment.bam",
        "alignment.bam.bai",
        "consensus.fasta",
        "variants.vcf.gz",
        "variants.vcf.gz.tbi",
        "allele_counts.tsv.gz",
        "coverage.tsv.gz",
        "report.html",
        "metrics_mqc.json",
        "reads.silo.ndjson.zst",
    }
    consensus = "".join((tmp_path / "consensus.fasta").read_text().split("\n")[1:])
    [truth] = sample.truth.values()
    assert len(consensus) == len(truth)
    assert sum(a != b for a, b in zip(consensus, truth, strict=True) if a != "N") == 0
    assert consensus.count("N") < 600
    public = gzip.decompress((tmp_path / "dehumanized_R1.fastq.gz").read_bytes()).decode()
    assert public.count("\n") // 4 == 7000
    assert not any(name in public for name in sample.host_read_names)


def _is_good(review: dict[str, Any]) -> bool:
    """Nothing is wrong but that another entry of this stack has the same two files."""
    return not review["errors"] and [w["reason"] for w in review["warnings"]] in ([], ["fileInOtherEntry"] * 2)


def test_an_uploaded_file_can_be_used_again_without_sending_it_again(lab: Lab, sample: simulation.Simulated) -> None:
    assert sample.r2 is not None
    tickets = lab.client.request_uploads(lab.group, [sample.r1, sample.r2])
    assert all(ticket.already_yours for ticket in tickets)
    [(_, _), (accession, version)] = lab.submit(*[lab.upload(sample.r1, sample.r2)] * 2)
    review = lab.processed(accession, version)
    assert _is_good(review)
    assert review["processingResult"] == "HAS_WARNINGS"


@pytest.fixture
def broken(tmp_path: Path, sample: simulation.Simulated) -> dict[str, list[Path]]:
    """Inputs that no lab means to send."""
    assert sample.r2 is not None
    mates = gzip.decompress(sample.r2.read_bytes()).split(b"\n")
    contents: dict[str, list[tuple[str, bytes]]] = {
        "a truncated gzip": [("cut.fastq.gz", sample.r1.read_bytes()[:-5000])],
        "FASTA under a FASTQ name": [("reads.fastq", b">one\nACGT\n>two\nACGT\n")],
        "unpaired mates": [
            ("a_R1.fastq.gz", sample.r1.read_bytes()),
            ("a_R2.fastq.gz", gzip.compress(b"\n".join(mates[4 * 5 :]))),
        ],
        "an empty file": [("empty.fastq", b"")],
    }
    paths: dict[str, list[Path]] = {}
    for what, files in contents.items():
        place = tmp_path / what.replace(" ", "-")
        place.mkdir()
        paths[what] = [place / name for name, _ in files]
        for name, content in files:
            (place / name).write_bytes(content)
    return paths


EXPECTED_REASONS = {
    "a truncated gzip": {"truncatedFile"},
    "FASTA under a FASTQ name": {"wrongFormat", "malformedRecord"},
    "unpaired mates": {"unpairedMates"},
    "an empty file": {"emptyFile"},
}


def test_broken_reads_get_a_clear_answer_and_block_nobody(
    lab: Lab, broken: dict[str, list[Path]], sample: simulation.Simulated
) -> None:
    assert sample.r2 is not None
    cells = {what: lab.upload(*paths) for what, paths in broken.items()}
    cells["good reads"] = lab.upload(sample.r1, sample.r2)
    versions = dict(zip(cells, lab.submit(*cells.values()), strict=True))
    reviews = {what: lab.processed(*accession_version) for what, accession_version in versions.items()}
    assert _is_good(reviews.pop("good reads"))
    for what, review in reviews.items():
        assert review["processingResult"] == "HAS_ERRORS", what
        reasons = {error["reason"] for error in review["errors"]}
        assert reasons & EXPECTED_REASONS[what], (what, review["errors"])
        assert all(error["file"] for error in review["errors"]), what
        with pytest.raises(ClientError) as refusal:
            lab.client.approve("demo", [(*versions[what], review["manifestDigest"])])
        assert refusal.value.status == 422


def test_s3_itself_refuses_what_was_not_signed(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "reads.fastq"
    path.write_bytes(b"@a\nACGT\n+\nIIII\n")
    [ticket] = lab.client.request_uploads(lab.group, [path])
    put: Any = ticket.put

    def send(content: bytes) -> int:
        return httpx.put(put["url"], headers=put["headers"], content=content).status_code

    assert send(b"@a\nACGA\n+\nIIII\n") in (400, 403), "another content of the same size"
    headers = {name: value for name, value in put["headers"].items() if name.lower() != "content-length"}
    assert httpx.put(put["url"], headers=headers, content=b"@a\nACG\n+\nIII\n").status_code in (400, 403), (
        "another size"
    )
    assert send(path.read_bytes()) == 200
    assert send(path.read_bytes()) == 412, "a second write"


def test_file_ids_are_secrets(stack: Stack, lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "reads.fastq"
    path.write_bytes(b"@b\nACGT\n+\nIIII\n")
    mine = lab.upload(path)
    stranger = stack.lab()
    answers = []
    for cell in (mine, "reads.fastq:00000000-0000-4000-8000-000000000000"):
        with pytest.raises(ClientError) as refusal:
            stranger.submit(cell)
        file_id = cell.rpartition(":")[2]
        answers.append((refusal.value.status, str(refusal.value).replace(file_id, "ID")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 422


def test_metadata_without_a_required_column_is_refused_at_once(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ClientError) as refusal:
        lab.client.submit("demo", lab.group, "id\tcountry\nsample\tSwitzerland\n")
    assert refusal.value.status == 422
    assert "date" in str(refusal.value)


def test_an_organism_without_its_index_waits_and_others_go_on(
    stack: Stack, lab: Lab, sample: simulation.Simulated
) -> None:
    assert sample.r2 is not None
    assert stack.addresses["organisms"]["demo"] == "ready"
    assert "host index" in stack.addresses["organisms"]["sars-cov-2"]
    cell = lab.upload(sample.r1, sample.r2)
    metadata = f"id\tdate\tcountry\tplatform\tfiles.rawReads\ns\t2026-01-02\tSwitzerland\tILLUMINA\t{cell}\n"
    [waiting] = lab.client.submit("sars-cov-2", lab.group, metadata)
    assert lab.processed(*lab.submit(cell)[0])["status"] == "PROCESSED"
    review = lab.client.review("sars-cov-2", waiting["accession"], waiting["version"])
    assert review["status"] == "RECEIVED"
    assert review["processedData"] is None or not review["processedData"].get("files")


def test_a_submitted_consensus_stays_the_sequence_of_its_entry(
    stack: Stack, lab: Lab, sample: simulation.Simulated
) -> None:
    assert sample.r2 is not None
    [truth] = sample.truth.values()
    cell = lab.upload(sample.r1, sample.r2)
    fasta = f">sample-0\n{truth}\n>sample-1\n{truth}\n"
    with_reads, without_reads = lab.submit(cell, "", consensus=fasta)

    review = lab.processed(*with_reads)
    assert _is_good(review), review["errors"] + review["warnings"]
    assert review["processedData"]["metadata"]["consensusSource"] == "submitted"
    assert review["processedData"]["unalignedNucleotideSequences"]["main"] == truth
    assert "consensus" in review["processedData"]["files"]

    review = lab.processed(*without_reads)
    assert review["processingResult"] == "NO_ISSUES", review["errors"] + review["warnings"]
    assert review["processedData"]["unalignedNucleotideSequences"]["main"] == truth
    assert not review["processedData"]["files"]
    lab.client.approve("demo", [(*without_reads, review["manifestDigest"])])
    assert lab.client.review("demo", *without_reads)["status"] == "APPROVED_FOR_RELEASE"


def test_nothing_that_people_send_is_in_logs_in_prefect_or_in_processes(stack: Stack, lab: Lab, tmp_path: Path) -> None:
    planter = canaries.Planter(stack, lab, tmp_path, seed=5)
    planter.refusals()
    names = planter.submissions(len(canaries.KINDS))
    results = [lab.processed(*name)["processingResult"] for name in names]
    assert results.count("HAS_ERRORS") >= len(names) - 2
    planter.remember_urls(names)
    assert len(planter.planted.of_people) > 60
    assert canaries.found(stack, planter.planted) == []
    assert canaries.what_the_search_missed(stack, names) == []
