"""`readvault admin`: what a maintainer does beside the API."""

from __future__ import annotations

import typer

from readvault.cli import (
    admin_database,
    admin_entries,
    admin_import,
    admin_jobs,
    admin_people,
    admin_prefect,
    admin_rebuild,
    admin_screening,
    admin_summary,
    admin_trail,
)
from readvault.cli.admin_difference import diff
from readvault.cli.admin_drops import drops_app
from readvault.cli.admin_erasure import shred_app
from readvault.cli.admin_limits import limits_app
from readvault.cli.admin_originals import originals_app
from readvault.cli.admin_pulls import pulls_app
from readvault.cli.admin_reprocess import reprocess_app

admin_app = typer.Typer(help="Accounts, groups, jobs, released entries, and who read what.", no_args_is_help=True)
admin_app.add_typer(limits_app, name="limits")
admin_app.add_typer(drops_app, name="drop-links")
admin_app.add_typer(admin_trail.audit_app, name="audit")
admin_app.add_typer(shred_app, name="shred")
admin_app.add_typer(reprocess_app, name="reprocess")
reprocess_app.command("diff")(diff)
admin_app.add_typer(pulls_app, name="pulls")
admin_app.add_typer(originals_app, name="public-originals")
for command in (
    admin_people.add_user,
    admin_people.disable_user,
    admin_people.set_password,
    admin_people.add_group,
    admin_people.add_member,
    admin_people.remove_member,
    admin_people.token,
    admin_people.revoke_token,
    admin_people.rotate_key,
    admin_entries.suppress,
    admin_entries.withdraw,
    admin_entries.restore,
    admin_entries.open_originals,
    admin_screening.screenings,
    admin_screening.withheld_reads,
    admin_screening.withhold_reads,
    admin_screening.give_reads_again,
    admin_trail.who_read,
    admin_database.migrate,
    admin_import.import_config,
    admin_rebuild.rebuild,
    admin_rebuild.take_over_bucket,
    admin_jobs.jobs,
    admin_jobs.retry,
    admin_summary.summary,
    admin_prefect.prefect_setup,
):
    admin_app.command()(command)
