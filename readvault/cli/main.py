"""The commands. Each imports what it needs when it runs, so that the client stays small."""

from __future__ import annotations

import sys

import typer

from readvault import __version__
from readvault.cli.admin import admin_app
from readvault.cli.demo import demo
from readvault.cli.doctor import doctor
from readvault.cli.export_silo import export_silo
from readvault.cli.garbage import collect_garbage
from readvault.cli.host_index import host_index_app
from readvault.cli.organisms import organisms_app
from readvault.cli.process import process
from readvault.cli.query import query
from readvault.cli.serve import api, worker
from readvault.cli.storage import fsck, verify_integrity
from readvault.cli.up import up

EXIT_USAGE = 64
"""As sysexits.h has it (os.EX_USAGE, which Windows lacks). typer's own 2 says here that the reads are at fault."""
_usage_error = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")
_usage_error.exit_code = EXIT_USAGE  # type: ignore[attr-defined]

app = typer.Typer(
    help="Raw sequencing reads for pathogen sequence databases: upload, process, review, release.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(demo)
app.command()(process)
app.command()(doctor)
app.command()(fsck)
app.command("verify-integrity")(verify_integrity)
app.command("collect-garbage")(collect_garbage)
app.command("export-silo")(export_silo)
app.command()(query)
app.command()(worker)
app.command()(api)
app.add_typer(host_index_app, name="host-index")
app.add_typer(organisms_app, name="organisms")
app.add_typer(admin_app, name="admin")


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The entry point: known errors become one clear line and exit 1; a wrong command line exits 64."""
    try:
        app()
    except ModuleNotFoundError as missing:
        if missing.name is not None and missing.name.startswith("readvault"):
            raise
        sys.exit(f"readvault: this command needs the server parts (pip install 'readvault[server]'): {missing}")
    except Exception as fault:
        if wrong := _wrong_settings(fault):
            sys.exit(f"readvault: {wrong}")
        if not _is_known(fault):
            raise
        sys.exit(f"readvault: {fault}")


def _wrong_settings(fault: Exception) -> str:
    """Which settings are wrong, and how, but not what they are: some are secrets. Nothing for another error."""
    if type(fault).__name__ != "ValidationError" or getattr(fault, "title", None) != "Settings":
        return ""
    errors = fault.errors()  # type: ignore[attr-defined]
    named = (
        ("__".join(["READVAULT", *map(str, error["loc"])]).replace("__", "_", 1).upper(), error) for error in errors
    )
    return "; ".join(f"{name}: {error['msg']}" if error["loc"] else error["msg"] for name, error in named)


def _is_known(fault: Exception) -> bool:
    names = {kind.__module__.partition(".")[0] + "." + kind.__name__ for kind in type(fault).__mro__}
    return bool(names & {"readvault.ReadvaultError", "readvault.ClientError"})


if __name__ == "__main__":
    main()
