"""`readvault admin reprocess diff`: a waiting result beside the one that stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from readvault.cli.admin_office import maintainer, open_office

if TYPE_CHECKING:
    from readvault.domain.sequence_difference import Change, SegmentDifference
    from readvault.domain.variant_difference import Called, VariantDifference
    from readvault.services.reprocessing.difference import Compared


def diff(
    compared_id: Annotated[
        int, typer.Argument(help="The compared result, as `readvault admin reprocess waiting` lists it.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print what the API answers.")] = False,
) -> None:
    """Print all that differs between a result of a newer pipeline version and the one that stood before it."""
    from readvault.services.reprocessing.difference import difference

    compared = difference(open_office(), maintainer(), compared_id)
    if as_json:
        from readvault.api.schemas.differences import DifferenceInfo

        typer.echo(DifferenceInfo.of(compared).model_dump_json(by_alias=True, indent=2))
        return
    for line in told(compared):
        typer.echo(line)


def told(compared: Compared) -> Iterator[str]:
    """The difference line by line; columns are separated by tabs."""
    old, new, found = compared.old, compared.new, compared.difference
    versions = f"pipeline version {old.pipeline_version} → {new.pipeline_version}"
    yield f"{compared.name} ({compared.organism}): {versions}, {compared.state}"
    for each in compared.findings:
        yield f"worse\t{_line(each['figure'])}\t{_line(each['old'])}\t{_line(each['new'])}"
    for figure in found.figures:
        if not figure.is_same:
            yield f"figure\t{_line(figure.name)}\t{_line(figure.old)}\t{_line(figure.new)}"
    for kind, messages in (("error", found.errors), ("warning", found.warnings)):
        for which, listed in (("new", messages.added), ("gone", messages.gone)):
            yield from (f"{kind}\t{which}\t{_line(each.get('message'))}" for each in listed)
    if found.segments_problem is not None:
        yield f"consensus\t{_line(found.segments_problem)}"
    for segment in found.segments or ():
        yield from _segment(segment)
    if found.variants_problem is not None:
        yield f"variants\t{_line(found.variants_problem)}"
    if found.variants is not None:
        yield from _variants(found.variants)
    for file in found.files:
        if not file.is_same:
            yield f"file\t{_line(file.category)}\t{_line(file.name)}\t{file.old_size or '-'}\t{file.new_size or '-'}"


def _segment(found: SegmentDifference) -> Iterator[str]:
    whose = "reference" if found.on_reference else "older consensus"
    counts = ", ".join(f"{number} {kind}" for kind, number in (found.counts or {}).items())
    what = "the same" if found.is_same else counts or "only one result has it"
    yield f"consensus\t{_line(found.segment)}\t{found.old_length or '-'}\t{found.new_length or '-'}\t{what} ({whose})"
    for change in found.changes:
        yield f"consensus\t{_line(found.segment)}\t{_place(change)}\t{change.kind}\t{change.old}\t{change.new}"
    if found.left_out:
        yield f"consensus\t{_line(found.segment)}\tand {found.left_out} more changes"


def _place(change: Change) -> str:
    return str(change.start) if change.start == change.end else f"{change.start}-{change.end}"


def _variants(found: VariantDifference) -> Iterator[str]:
    yield f"variants\t{found.old} → {found.new}"
    lists = (
        ("new", found.added, found.added_in_all),
        ("gone", found.lost, found.lost_in_all),
        ("changed", found.changed, found.changed_in_all),
    )
    for which, listed, number in lists:
        for each in listed:
            bases = f"{_line(each.reference)}>{_line(each.alternative)}"
            shares = f"{_share(each.old)}\t{_share(each.new)}"
            yield f"variant\t{which}\t{_line(each.segment)}\t{each.position}\t{bases}\t{shares}"
        if number > len(listed):
            yield f"variant\t{which}\tand {number - len(listed)} more"


def _share(called: Called | None) -> str:
    if called is None:
        return "-"
    return ("?" if called.frequency is None else f"{called.frequency:.3f}") + f" {_line(called.filters)}"


def _line(value: Any) -> str:
    """A value as one printable line: no text of a submitter commands the terminal."""
    text = " ".join(str("-" if value is None else value).split())
    return "".join(letter if letter.isprintable() else "�" for letter in text)
