"""`readvault doctor`: is everything here that processing reads needs?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list of findings, for machines.")] = False,
) -> None:
    """Look over this instance: tools, organisms, host indexes, what they share with references, scratch, limits.

    One line for each finding, ok, warn or fail, and what to do. Exit status 1 when anything fails.
    """
    from readvault.bootstrap import settings
    from readvault.doctor.examination import examine
    from readvault.doctor.findings import Level

    console = Console(highlight=False, soft_wrap=True)
    findings = []
    for finding in examine(settings()):
        findings.append(finding)
        if not as_json:
            style = _STYLES[finding.level]
            console.print(f"[{style}]{finding.level:<4}[/{style}]  {finding.probe:<16}", end="  ")
            console.print(finding.message + (f" -> {finding.advice}" if finding.advice else ""), markup=False)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(1)
