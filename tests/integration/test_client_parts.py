"""`pip install readvault` is the client: it must work without any of the server's packages."""

from __future__ import annotations

import subprocess
import sys

SERVER_PACKAGES = [
    "alembic",
    "Bio",
    "boto3",
    "botocore",
    "cryptography",
    "deacon",
    "dnaio",
    "fastapi",
    "isal",
    "jinja2",
    "jwt",
    "numpy",
    "prefect",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "pysam",
    "sqlalchemy",
    "sqlmodel",
    "starlette",
    "uvicorn",
    "yaml",
    "zstandard",
]
WITHOUT_SERVER_PACKAGES = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {SERVER_PACKAGES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_SERVER_PACKAGES + code], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_client_needs_only_httpx() -> None:
    done = run("import readvault.client\nreadvault.client.Client('http://127.0.0.1:9').close()")
    assert done.returncode == 0, done.stderr


def test_the_command_line_needs_only_httpx_typer_and_rich() -> None:
    done = run("import readvault.cli.main")
    assert done.returncode == 0, done.stderr


def test_the_help_shows_without_the_server() -> None:
    done = run("import sys; sys.argv = ['readvault', '--help']\nfrom readvault.cli.main import main\nmain()")
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_a_server_command_says_what_to_install() -> None:
    done = run("import sys; sys.argv = ['readvault', 'api']\nfrom readvault.cli.main import main\nmain()")
    assert done.returncode == 1
    assert "pip install 'readvault[server]'" in done.stderr
    assert "Traceback" not in done.stderr
