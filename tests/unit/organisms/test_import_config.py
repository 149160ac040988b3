"""A Loculus configuration becomes organism files that pass the check, and nothing is left out silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from readvault.cli.main import app
from readvault.config import Settings, load_organism
from readvault.domain.errors import NotReady
from readvault.domain.organism import MetadataType, Organism
from readvault.organisms.checking import check
from readvault.organisms.loculus import fetching
from readvault.organisms.loculus.genomes import Sequence, genomes_of, segments_of
from readvault.organisms.loculus.importing import REPORT, Imported, import_config
from readvault.organisms.loculus.notes import Outcome
from readvault.organisms.loculus.proteins import place_of
from readvault.reads import references
from readvault.reads.call.gene_annotation import load_genes

VALUES = Path(__file__).parent / "data" / "values.yaml"
SERVED = {
    "https://example.org/reference.fasta": ">accession and more\nATGGCACGTAACGATTGTCAAGAA\nGGTCATATTTAA\n",
    "https://example.org/E.fasta": ">E\nMARNDCQEGHI\n",
}


def notes(done: Imported, organism: str) -> dict[str, dict[str, set[str]]]:
    """The notes of an organism: outcome, key, fields."""
    found: dict[str, dict[str, set[str]]] = {}
    for note in done.notes:
        if note.organism == organism:
            found.setdefault(note.outcome, {}).setdefault(note.key, set()).update(note.fields)
    return found


def loaded(folder: Path, name: str) -> Organism:
    return load_organism(folder / "organisms" / f"{name}.yaml")


def test_what_is_written_passes_the_check(tmp_path: Path) -> None:
    done = import_config(VALUES, tmp_path, fetch=SERVED.__getitem__)
    checked = check([tmp_path / "organisms"], Settings())
    assert checked.errors == []
    assert set(checked.organisms) == set(done.organisms) == {"two-segments", "two-types", "by-segment", "elsewhere"}


def test_fields_are_mapped_with_their_rules(tmp_path: Path) -> None:
    import_config(VALUES, tmp_path)
    fields = {field.name: field for field in loaded(tmp_path, "two-segments").metadata}
    assert fields["sampleCollectionDate"].fault_of("2024-05") is None
    assert fields["sampleCollectionDate"].fault_of("May") is not None
    assert fields["sampleCollectionDate"].required
    received = fields["sampleReceivedDate"]
    assert (received.type, received.fault_of("2020-03-20")) == (MetadataType.DATE, None)
    assert received.fault_of("2999-01-01") is not None
    assert received.guidance == "When the laboratory got the sample. Give the whole date."
    assert fields["country"].options == ("Norway", "NO")
    assert fields["runId"].fault_of("RUNx") is not None
    assert fields["hostAge"].example is None
    assert {"ampliconLength_L", "ampliconLength_S", "labNumber", "lineage"} <= fields.keys()
    assert not {"totalSnps_L", "version", "ncbiUpdate", "sampleCollectionDateRangeLower"} & fields.keys()


def test_genomes_of_segments_and_types_and_both(tmp_path: Path) -> None:
    import_config(VALUES, tmp_path)
    one = loaded(tmp_path, "two-segments").reference
    assert one is not None
    segments = references.load_segments(one.fasta)
    assert [segment.name for segment in segments] == ["L", "S"]
    assert one.genes is not None
    genes = {gene.name: gene for gene in load_genes((one.genes,), segments)}
    assert {name: (gene.segment, gene.reverse, gene.codons) for name, gene in genes.items()} == {
        "RdRp": ("L", False, 15),
        "GP": ("S", True, 13),
    }
    types = loaded(tmp_path, "two-types")
    assert [candidate.name for candidate in types.references] == ["type-A", "type-B"]
    assert types.submission.consensus_sequences == "forbidden"
    both = loaded(tmp_path, "by-segment").references
    assert {each.name: [s.name for s in references.load_segments(each.fasta)] for each in both} == {
        "one": ["L", "S"],
        "two": ["L"],
    }


def test_every_key_is_accounted_for(tmp_path: Path) -> None:
    done = import_config(VALUES, tmp_path)
    found = notes(done, "two-segments")
    assert found["dropped"]["metadata"] == {"version"}
    assert found["dropped"]["metadata.noInput"] >= {"totalSnps_L", "ncbiUpdate"}
    assert found["dropped"]["referenceGenomes.genes"] == {"slipped"}
    assert found["dropped"]["metadata.pattern"] == {"sampleName"}
    assert {"ingest", "enaDeposition", "schema.linkOuts", "schema.website", "preprocessing"} <= found["dropped"].keys()
    assert "enabled" in notes(done, "switched-off")["dropped"]
    assert "referenceGenomes" in notes(done, "without-reference")["dropped"]
    assert notes(done, "two-types")["approximated"].keys() >= {"name"}
    assert {note.key for note in done.notes if not note.organism} == {
        "name", "accessionPrefix", "dataUseTerms", "seqSets"
    }  # fmt: skip
    report = (tmp_path / REPORT).read_text()
    for note in done.notes:
        assert f"`{note.key}`" in report


def test_a_container_that_stays_has_its_fields_declared(tmp_path: Path) -> None:
    done = import_config(VALUES, tmp_path, fetch=SERVED.__getitem__, external="after")
    external = loaded(tmp_path, "two-segments").pipeline.external
    assert external is not None
    assert (external.mode, set(external.files)) == ("after", {"annotations"})
    assert {field.name for field in external.metadata} == {
        "sampleCollectionDateRangeLower", "ncbiUpdate", "totalSnps_L", "totalSnps_S"
    }  # fmt: skip
    assert loaded(tmp_path, "two-segments").pipeline.version == 3
    assert check([tmp_path / "organisms"], Settings()).errors == []
    assert "metadata.noInput" not in notes(done, "two-segments").get("dropped", {})


def test_without_fetching_it_is_told_what_is_to_be_fetched(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["admin", "import-config", str(VALUES), "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "https://example.org/reference.fasta" in result.stdout
    assert "there is no file" in result.stdout
    again = CliRunner().invoke(app, ["admin", "import-config", str(VALUES), "--out", str(tmp_path)])
    assert isinstance(again.exception, NotReady)  # nothing is written over


def test_the_backends_configuration_is_taken_too(tmp_path: Path) -> None:
    """The JSON that the backend reads: `referenceGenome`, external metadata, no anchors."""
    fields: list[dict[str, Any]] = [
        {"name": "date", "type": "date", "required": True},
        {"name": "made", "noInput": True},
    ]
    outside = [{"name": "ncbi", "externalMetadataUpdater": "ena", "type": "string"}, {"name": "nameless"}]
    schema = {"organismName": "A virus", "metadata": fields, "externalMetadata": outside,
              "submissionDataTypes": {"consensusSequences": True, "files": {"enabled": False}}}  # fmt: skip
    genome = {"nucleotideSequences": [{"name": "main", "sequence": "ACGTACGTACGT"}], "genes": []}
    source = tmp_path / "backend_config.json"
    source.write_text(json.dumps({"organisms": {"a": {"schema": schema, "referenceGenome": genome}}}))
    result = CliRunner().invoke(app, ["admin", "import-config", str(source), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stdout
    organism = loaded(tmp_path / "out", "a")
    assert [field.name for field in organism.metadata] == ["date"]
    assert [(field.name, field.external_metadata_updater) for field in organism.external_metadata] == [("ncbi", "ena")]


@pytest.mark.parametrize("text", ["", "a: [", "- a", "a: 1", "organisms: {}", "organisms: {a: 1}\nb: {a: 1", "\x00"])
def test_what_is_no_configuration_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "values.yaml").write_text(text)
    with pytest.raises(NotReady):
        import_config(tmp_path / "values.yaml", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "organism",
    [
        "{}",
        "{schema: 1}",
        "{schema: {metadata: 1, submissionDataTypes: [], files: 3, externalMetadata: x}, referenceGenomes: 5}",
        "{schema: {metadata: [1, {}, {name: 5, type: odd, options: 3, preprocessing: 4}], metadataAdd: {}, "
        "externalMetadata: [1], files: [1]}, referenceGenomes: {nucleotideSequences: [1, {}], genes: 5}, "
        "preprocessing: [1, {version: x}]}",
        "{schema: {metadata: []}, referenceGenomes: [{name: L, references: 5}, "
        "{references: [1, {sequence: '[[X]]'}]}]}",
    ],
)
def test_odd_shapes_are_dropped_or_told_and_never_break(tmp_path: Path, organism: str) -> None:
    (tmp_path / "values.yaml").write_text(f"organisms: {{odd: {organism}}}")
    done = import_config(tmp_path / "values.yaml", tmp_path / "out")
    assert notes(done, "odd")


def test_a_name_that_is_a_route_gets_another(tmp_path: Path) -> None:
    text = "{schema: {metadata: []}, referenceGenomes: {nucleotideSequences: [{name: main, sequence: ACGT}]}}"
    (tmp_path / "values.yaml").write_text(f"organisms: {{admin: {text}, admin-organism: {text}}}")
    done = import_config(tmp_path / "values.yaml", tmp_path / "out")
    assert len(set(done.organisms)) == 2
    assert check([tmp_path / "out" / "organisms"], Settings()).errors == []


def test_two_organisms_never_share_a_reference(tmp_path: Path) -> None:
    one, several = ({"nucleotideSequences": [{"name": "main", "sequence": base * 30}]} for base in ("ACGT", "CCAT"))
    genomes = {"x-y": one, "x": {"y": several, "z": one}}
    organisms = {name: {"schema": {}, "referenceGenomes": each} for name, each in genomes.items()}
    (tmp_path / "c.json").write_text(json.dumps({"organisms": organisms}))
    import_config(tmp_path / "c.json", tmp_path / "out")
    assert (
        loaded(tmp_path / "out", "x-y").candidates[0].fasta.read_text() == f">main\n{'ACGT' * 17}AC\n{'GTAC' * 12}GT\n"
    )
    assert "CCATCCAT" in loaded(tmp_path / "out", "x").candidates[0].fasta.read_text()


@pytest.mark.parametrize("link", ["organisms", "references", "organisms/elsewhere.yaml", REPORT])
def test_nothing_is_written_through_a_link(tmp_path: Path, link: str) -> None:
    place = tmp_path / "out" / link
    place.parent.mkdir(parents=True)
    if not place.suffix:
        (tmp_path / "other").mkdir()
    place.symlink_to(tmp_path / "other")
    with pytest.raises(NotReady, match="is there already"):
        import_config(VALUES, tmp_path / "out", fetch=SERVED.__getitem__)
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").iterdir())


def test_only_so_much_is_fetched_and_only_over_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 100)
    away = {"https://a/1": "https://a/2", "https://a/2": "/fine", "https://a/plain": "http://a/fine",
            "https://a/round": "https://a/round", "https://a/inside": "https://169.254.169.254/fine"}  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        if url in away:
            return httpx.Response(302, headers={"Location": away[url]})
        bodies = {"/fine": b">x\nACGT\n", "/large": b"A" * 101, "/odd": b"\xff"}
        body = bodies.get(request.url.path)
        return httpx.Response(404) if body is None else httpx.Response(200, content=body)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    assert fetching.fetch("https://a/1", client) == ">x\nACGT\n"
    for url, words in {
        "http://a/fine": "only https", "https://a/plain": "only https", "https://a/large": "more than 100 bytes",
        "https://a/odd": "no FASTA", "https://a/gone": "404", "https://a/round": "redirected",
        "file:///etc/hostname": "only https", "https://a/inside": "inside of this network",
        "https://[::1]/fine": "inside of this network", "https://LOCALHOST./fine": "inside of this network",
    }.items():  # fmt: skip
        with pytest.raises(NotReady, match=words):
            fetching.fetch(url, client)


def test_a_protein_that_lies_twice_has_no_place() -> None:
    orf = "ATGGCACGTAACGATTGTCAAGAAGGTCATATTTAA"
    protein = Sequence("E", "MARNDCQEGHI*")
    assert place_of(protein, [Sequence("main", f"CC{orf}C")]) is not None
    assert place_of(protein, [Sequence("main", f"CC{orf}C{orf}")]) is None
    assert place_of(Sequence("short", "MAR"), [Sequence("main", orf)]) is None


def test_segments_with_blanks_are_one_word_everywhere(tmp_path: Path) -> None:
    orf = "ATGGCACGTAACGATTGTCAAGAAGGTCATATTTAA"
    genome = f"nucleotideSequences: [{{name: seg 1, sequence: CC{orf}C}}, {{name: S, sequence: ACGT}}]"
    text = (
        f"{{schema: {{metadata: []}}, referenceGenomes: {{{genome}, genes: [{{name: the E, sequence: MARNDCQEGHI}}]}}}}"
    )
    (tmp_path / "values.yaml").write_text(f"organisms: {{a: {text}}}")
    import_config(tmp_path / "values.yaml", tmp_path / "out")
    assert check([tmp_path / "out" / "organisms"], Settings()).errors == []
    reference = loaded(tmp_path / "out", "a").reference
    assert reference is not None
    assert reference.genes is not None
    (gene,) = load_genes((reference.genes,), references.load_segments(reference.fasta))
    assert (gene.name, gene.segment) == ("the E", "seg_1")


def test_shapes_of_references() -> None:
    old = {"nucleotideSequences": [{"name": "x", "sequence": "ACGT"}], "genes": []}
    assert segments_of(genomes_of(old)) == ["main"]
    assert genomes_of({"singleReference": old})[0].segments == genomes_of(old)[0].segments
    assert genomes_of({"singleReference": {"nucleotideSequences": [], "genes": []}}) == []
    listed = [{"name": "main", "references": [{"reference_name": "only", "sequence": ">x\nac\ngt"}]}]
    assert genomes_of(listed)[0].segments[0].letters == "ACGT"
    assert Outcome.TO_DO == "to do"
