"""`readvault up`: the whole stack on this machine, from one command, in one data directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from readvault.adapters.supervisor import Supervisor
    from readvault.cli.stack import Stack, Wishes
    from readvault.config import Settings

STACK_FILE = "stack.json"
LOCK_FILE = "up.lock"


def up(
    data_dir: Path = typer.Option(Path(".readvault"), help="Everything lies in here: objects, databases, logs, keys."),
    port: int = typer.Option(8079, help="The API's port; a free one is taken when somebody else has it."),
    s3_port: int = typer.Option(8333, help="The S3 server's port; likewise."),
    prefect_port: int = typer.Option(4200, help="Prefect's port; likewise."),
    organisms: Path = typer.Option(Path("deployments/organisms"), help="The folder with the organism files."),
    prefect: bool = typer.Option(True, "--prefect/--no-prefect", help="Without Prefect jobs run inside the worker."),
    demo_organism: bool = typer.Option(False, "--demo-organism", help="Also load the organism `demo`."),
) -> None:
    """Run everything on this machine: S3, Prefect, the worker and the API. Ctrl-C stops it.

    Addresses, login and process IDs are printed and written to stack.json in the data directory,
    which only its owner can read.
    """
    from readvault.cli.stack import Wishes

    wishes = Wishes(data_dir, organisms, port, s3_port, prefect_port, prefect, demo_organism)
    Up(wishes).run()


class Up:
    """One run of the stack, from its start to its end."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._console = Console(highlight=False, soft_wrap=True)
        self._signals = 0
        self._organisms: dict[str, str] = {}
        self._said_ready = False

    def run(self) -> None:
        """Start, watch, stop; returns after a signal, raises NotReady when the stack can't be brought up."""
        from readvault import bootstrap
        from readvault.domain.errors import NotReady

        if bootstrap.settings().production:
            raise NotReady("`readvault up` is for one machine: production needs PostgreSQL, S3 and an issuer of yours")
        directory = self._wishes.data_dir
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
        _never_through_a_proxy()
        with self._caught_signals(), held(directory / LOCK_FILE) as stack_id:
            from readvault.adapters.supervisor import Supervisor
            from readvault.cli.stack import Stack

            stack = Stack(self._wishes, stack_id)
            supervisor = Supervisor(stack.children(), self._say)
            try:
                self._watch(stack, supervisor)
            finally:
                (directory / STACK_FILE).unlink(missing_ok=True)
                self._say("up", "stopping")
                supervisor.stop(hurry=lambda: self._signals > 1)
                stack.s3.remove_sockets()
                self._say("up", "stopped; all data stay in " + str(directory))

    def _watch(self, stack: Stack, supervisor: Supervisor) -> None:
        from readvault.adapters.supervisor import TICK

        supervisor.tick()  # the servers start while we prepare what our own processes need
        readiness = _prepare(stack)
        self._write(stack, supervisor)
        was_ready = False
        while not self._signals:
            changed = supervisor.tick()
            if readiness.states and readiness.states != self._organisms:
                self._organisms = readiness.states
                changed = True
            ready = supervisor.ready and bool(self._organisms)
            if changed or ready != was_ready:
                self._write(stack, supervisor, ready=ready)
                was_ready = ready
            if ready and not self._said_ready:
                self._announce(stack)
            time.sleep(TICK)

    def _write(self, stack: Stack, supervisor: Supervisor, *, ready: bool = False) -> None:
        """Tell scripts how the stack stands, in a file that is whole at any moment."""
        from readvault.adapters.secrets_file import write_private_json
        from readvault.cli.stack import LOGIN

        outside = not stack.settings.identity.embedded
        content: dict[str, Any] = {
            "status": "ready" if ready else "starting",
            "api": stack.api,
            "identity": stack.settings.identity.issuer if outside else stack.api,
            "s3": stack.s3.endpoint,
            "prefectUi": stack.prefect_ui,
            "prefectApi": stack.prefect_api,
            "prefectAuth": stack.prefect_auth,
            "login": None if outside else {"user": LOGIN, "password": stack.password},
            "organisms": self._organisms,
            "dataDir": str(stack.settings.data_dir),
            "pids": {"up": os.getpid(), **supervisor.pids},
        }
        write_private_json(self._wishes.data_dir / STACK_FILE, content)

    def _announce(self, stack: Stack) -> None:
        from readvault.cli.stack import LOGIN
        from readvault.host_index_readiness import EXTERNAL

        self._said_ready = True
        stack_file = self._wishes.data_dir / STACK_FILE
        lines = [("API", stack.api), ("pages", f"{stack.api}/web"), ("S3", stack.s3.endpoint)]
        if stack.prefect_ui:
            lines.append(("Prefect UI", f"{stack.prefect_ui} (password: prefectAuth in {stack_file})"))
        if stack.settings.identity.embedded:
            lines.append(("login", f"user {LOGIN}, password {stack.password}"))
        lines.append(("data", f"{stack.settings.data_dir} (addresses for scripts: {STACK_FILE}, logs: logs/)"))
        for what, text in lines:
            self._console.print(f"  {what:<12} {text}", markup=False)
        for name, state in sorted(self._organisms.items()):
            well = state in ("ready", EXTERNAL)
            text = state if well else f"NOT READY, nothing of it is processed: {state}"
            self._console.print(f"  {'organism':<12} {name}: {text}", markup=False, style=None if well else "bold red")
        self._say("up", "ready; Ctrl-C stops everything")

    def _say(self, component: str, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {component:<8} {text}", markup=False)

    @contextlib.contextmanager
    def _caught_signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM stops in good order, a second one at once."""

        def count(_number: int, _frame: object) -> None:
            self._signals += 1

        # Set even where we inherited "ignore", as background jobs of shell scripts do.
        before = {n: signal.signal(n, count) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def held(lock_file: Path) -> Iterator[str]:
    """Hold the data directory for this process alone; a new random ID for everything it starts.

    The lock goes with the process, however it ends. What an earlier one left running after a
    kill -9 is ended first. Raises NotReady when the directory is in use.
    """
    from readvault.adapters.processes import end_leftovers
    from readvault.domain.errors import NotReady

    with lock_file.open("a+", encoding="utf-8") as file:
        lock_file.chmod(0o600)
        file.seek(0)
        earlier = _json_or_nothing(file.read())
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = f"process {earlier.get('pid', '?')}, since {earlier.get('since', '?')}"
            raise NotReady(f"another `readvault up` ({who}) runs in {lock_file.parent}") from None
        if "stackId" in earlier:
            end_leftovers(earlier["stackId"])
        stack_id = secrets.token_hex(16)
        file.truncate(0)
        json.dump({"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S"), "stackId": stack_id}, file)
        file.flush()
        yield stack_id


def _prepare(stack: Stack) -> Readiness:
    """Read the organisms, migrate the database, make the login; host indexes are hashed in a thread meanwhile."""
    from readvault import demo_organism
    from readvault.db.engine import migrate

    if stack.settings.load_demo_organism:
        demo_organism.prepare(stack.settings)
    readiness = Readiness(stack.settings)
    migrate(stack.settings.database)
    readiness.start()
    _make_login(stack)
    return readiness


class Readiness:
    """How each organism stands, looked at again and again: files change and host indexes come.

    Changed files count here when they count in the worker and the API: by the same rules.
    """

    EVERY = 5.0

    def __init__(self, settings: Settings) -> None:
        from readvault import bootstrap
        from readvault.adapters.inline_orchestrator import NoOrchestrator

        self._settings = settings
        self._house = bootstrap.house(settings, NoOrchestrator())
        self._watch = bootstrap.watch(self._house)
        self.states: dict[str, str] = {}
        """`ready`, or why nothing of it is processed; empty before the first look."""

    def start(self) -> None:
        """Begin; to hash an index for the first time takes a while."""
        threading.Thread(target=self._forever, name="host-indexes", daemon=True).start()

    def look(self) -> None:
        """Look once."""
        from readvault import bootstrap

        organisms = self._house.steady().organisms
        try:
            self._watch.look()
            organisms = self._house.steady().organisms
            reasons = bootstrap.organism_readiness(self._settings, organisms)
        except Exception as fault:  # whatever it is: say it where people look, and let the rest go on
            reasons = dict.fromkeys(organisms, f"its files can't be checked ({type(fault).__name__})")
        self.states = {name: reason or "ready" for name, reason in reasons.items()}

    def _forever(self) -> None:
        while True:
            self.look()
            time.sleep(self.EVERY)


def _make_login(stack: Stack) -> None:
    from readvault import bootstrap
    from readvault.adapters.inline_orchestrator import NoOrchestrator
    from readvault.cli.stack import LOGIN
    from readvault.domain.actor import MAINTAINER_ROLE
    from readvault.domain.errors import Conflict
    from readvault.services.people import accounts

    if not stack.settings.identity.embedded:
        return
    house = bootstrap.house(stack.settings, NoOrchestrator())
    try:
        accounts.create_account(house, LOGIN, stack.password, [MAINTAINER_ROLE])
    except Conflict:  # an earlier start made it
        pass
    finally:
        house.sessions.close()


def _never_through_a_proxy() -> None:
    known = os.environ.get("NO_PROXY", os.environ.get("no_proxy", ""))
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, [known, "127.0.0.1", "localhost"]))


def _json_or_nothing(text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    return {}
