"""`readvault admin`: jobs that wait for a maintainer."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from readvault.cli.admin_office import maintainer, open_office


def jobs() -> None:
    """List the jobs that need attention: ID, kind, organism, entry, since when, and why."""
    from readvault.services.processing import attention

    house, count, last = open_office(), 0, None
    while waiting := attention.needing_attention(house, maintainer(), after=last):
        for job in waiting:
            since = datetime.fromtimestamp(job.created_at, UTC).isoformat(timespec="seconds")
            entry = "-" if job.accession is None else f"{job.accession}.{job.version}"
            cause = " ".join((job.last_error or "").split())
            typer.echo("\t".join((job.id, job.kind, job.organism or "-", entry, since, cause)))
        count, last = count + len(waiting), waiting[-1].id
    typer.echo(f"{count} jobs need attention", err=True)


def retry(job_id: str = typer.Argument(help="The job, as `readvault admin jobs` lists it.")) -> None:
    """Queue a job that needs attention once more."""
    from readvault.services.processing import jobs as queue

    queue.retry(open_office(), maintainer(), job_id)
    typer.echo(f"job {job_id} is queued again")
