"""Jobs through a real Prefect server and our real worker: states, graph, artifacts, cancelling, draining."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from readvault.adapters import prefect_server
from readvault.adapters.ports import reserve_port
from readvault.adapters.prefect_orchestrator import PrefectOrchestrator
from readvault.config import PrefectSettings, Settings
from readvault.domain.lanes import Queue
from readvault.pipeline import STEPS
from readvault.ports import Delivery, RunState
from tests.integration.prefect_house import ACCESSION_VERSION, DONE_VERSION, SECRET
from tests.prefect_database import PrefectDatabase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORD = "admin:only for this test"


@dataclass
class Prefect:
    """A running Prefect server."""

    url: str
    environment: dict[str, str]

    @functools.cached_property
    def _client(self) -> httpx.Client:
        """One for all questions: each client reads all certificates of the machine anew."""
        user, _, password = PASSWORD.partition(":")
        return httpx.Client(base_url=self.url, auth=(user, password), timeout=30)

    @property
    def settings(self) -> Settings:
        return Settings(prefect=PrefectSettings(api_url=self.url, auth_string=PASSWORD))

    def get(self, path: str) -> Any:
        return self._answer("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._answer("POST", path, json=body)

    def delete(self, path: str) -> None:
        self._answer("DELETE", path)

    def _answer(self, method: str, path: str, **options: Any) -> Any:
        """The answer. On SQLite Prefect says 503, or nothing at all, while others write: ask again."""
        for _ in range(20):
            with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
                answer = self._client.request(method, path, **options)
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return answer.raise_for_status().json() if answer.content else None
            time.sleep(0.2)
        raise AssertionError("Prefect answers 503 for seconds on end")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of this name, newest first."""
        found: list[dict[str, Any]] = self.post("/events/filter", {"filter": {"event": {"name": [name]}}})["events"]
        return found

    def ended(self, run_id: str, within: float = 120) -> dict[str, Any]:
        """The run, once it has ended."""
        return until(lambda: (run := self.get(f"/flow_runs/{run_id}"))["state"]["type"] in TERMINAL and run, within)

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The task runs of a run by name. Prefect records them a moment later than they end."""
        return {task["name"]: task for task in self.post("/task_runs/filter", _of(run_id))}


TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def _of(run_id: str) -> dict[str, Any]:
    return {"flow_runs": {"id": {"any_": [run_id]}}}


def until[T](found: Callable[[], T], within: float = 90) -> T:
    """The first true answer; fails when there is none in time (seconds)."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"nothing came within {within} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def prefect(prefect_database: PrefectDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    home = tmp_path_factory.mktemp("prefect")
    prefect_database.copy_to(home)
    port = reserve_port()
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    # Ours: on SQLite Prefect's own gives an event up that meets a locked database four times, and its alarm with it.
    environment |= {"PREFECT_SERVER_API_HOST": "127.0.0.1", "PREFECT_SERVER_API_PORT": str(port)}
    command = [sys.executable, "-m", prefect_server.__name__]
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        started = Prefect(f"http://127.0.0.1:{port}/api", environment)
        until(lambda: _is_healthy(started), 120)
        yield started
    finally:
        stop(server)


def _is_healthy(prefect: Prefect) -> bool:
    try:
        return bool(prefect.get("/health"))
    except httpx.HTTPError:
        return False


@dataclass
class Worker:
    """Our worker in a process of its own."""

    process: subprocess.Popen[bytes]
    journal: Path

    def noted(self, line: str) -> bool:
        return self.journal.exists() and line in self.journal.read_text().splitlines()


@pytest.fixture(scope="module")
def workers(prefect: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    started: list[Worker] = []
    yield started
    for worker in started:
        stop(worker.process)


@pytest.fixture
def worker(prefect: Prefect, workers: list[Worker], tmp_path: Path) -> Worker:
    """A worker that runs: the one of the test before, or a new one if that test stopped it."""
    if not workers or workers[-1].process.poll() is not None:
        environment = {
            **prefect.environment,
            "READVAULT_PREFECT__API_URL": prefect.url,
            "READVAULT_PREFECT__AUTH_STRING": PASSWORD,
            "READVAULT_PREFECT__REGISTER_EVERY": "2",
            "READVAULT_DATA_DIR": str(tmp_path / "data"),
            "READVAULT_READY_FILE": str(tmp_path / "ready"),
            "PYTHONPATH": str(REPOSITORY),
        }
        journal = tmp_path / "journal"
        command = [sys.executable, "-m", "tests.integration.prefect_house", str(journal)]
        process = subprocess.Popen(command, env=environment, cwd=REPOSITORY)
        workers.append(Worker(process, journal))
        until((tmp_path / "ready").exists, 120)
    return workers[-1]


def deliver(
    prefect: Prefect, job_id: str, kind: str = "process-submission", number: int = 1, queue: Queue = Queue.DEFAULT
) -> str:
    orchestrator = PrefectOrchestrator(prefect.settings)
    run_id = until(lambda: orchestrator.deliver(Delivery(job_id, number, kind, ACCESSION_VERSION, queue)))
    orchestrator.close()
    return run_id


def test_the_server_asks_for_its_password(prefect: Prefect) -> None:
    assert httpx.get(f"{prefect.url}/admin/version").status_code == 401
    assert prefect.get("/admin/version")


class Told:
    """A place that notifications are sent to."""

    def __init__(self) -> None:
        self.heard: list[dict[str, str]] = []
        told = self

        class Listener(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def subjects(self) -> set[str]:
        return {heard["subject"] for heard in self.heard}


@pytest.fixture(scope="module")
def maintainers(prefect: Prefect) -> Iterator[Told]:
    """Whom the block `custom-webhook/maintainers` tells, which a maintainer has made in Prefect's UI."""
    told = Told()
    kind = prefect.get("/block_types/slug/custom-webhook")["id"]
    [schema] = prefect.post("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind]}}})
    data = {
        "name": "maintainers",
        "url": f"http://127.0.0.1:{told.server.server_port}/",
        "method": "POST",
        "json_data": {"subject": "{{subject}}", "body": "{{body}}"},
    }
    block = {"name": "maintainers", "block_type_id": kind, "block_schema_id": schema["id"], "data": data}
    prefect.post("/block_documents/", block)
    yield told
    told.server.shutdown()
    told.server.server_close()


SET_UP = """
import asyncio, json
from prefect.client.orchestration import get_client
from readvault.adapters import prefect_setup
from readvault.adapters.prefect_automations import described_automations, install, uninstall
from readvault.config import Settings
told, chosen = "custom-webhook/maintainers", {"stuck_hours": 6, "standstill_minutes": 30}
done = [prefect_setup.set_up(Settings(), notify=None, **chosen)]
async def again():
    alarms = described_automations(["reads"], **chosen)
    async with get_client() as client:
        for notify in (told, None):
            done.append(await install(client, alarms, notify))
        done.append(await uninstall(client))
        done.append(await install(client, alarms, told))
asyncio.run(again())
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def set_up_from_a_clone(
    prefect: Prefect, maintainers: Told, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, str]]:
    """`readvault admin prefect-setup`, then `prefect deploy --all` in a clone, before any worker; what was said."""
    clone = tmp_path_factory.mktemp("clone")
    environment = {
        **prefect.environment,
        "READVAULT_PREFECT__API_URL": prefect.url,
        "READVAULT_PREFECT__AUTH_STRING": PASSWORD,
        "READVAULT_PREFECT__WORK_POOL": "reads",
        "READVAULT_HOME": str(clone),
        "PYTHONPATH": str(clone),
    }
    shutil.copy(REPOSITORY / "prefect.yaml", clone)
    for name in ("flows", "tasks", "readvault"):
        shutil.copytree(REPOSITORY / name, clone / name)

    def run(*command: str) -> str:
        words = [sys.executable, *command]
        done = subprocess.run(words, env=environment, cwd=clone, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said: list[dict[str, str]] = json.loads(run("-c", SET_UP).splitlines()[-1])
    for deployment in prefect.post("/deployments/filter", {}):
        prefect.delete(f"/deployments/{deployment['id']}")
    run("-m", "prefect", "--no-prompt", "deploy", "--all")
    return said


def test_a_clone_deploys_what_a_worker_leaves_alone(
    prefect: Prefect, set_up_from_a_clone: list[dict[str, str]]
) -> None:
    made, told, unchanged, removed, anew = set_up_from_a_clone
    alarms = [name for name in made if name.startswith("readvault: ")]
    assert len(alarms) == 6
    assert {made[name] for name in alarms} == {"made"} == {anew[name] for name in alarms}
    assert {told[name] for name in alarms} == {"changed"}
    assert {unchanged[name] for name in alarms} == {"is there"}, "whom alarms tell is left as it is"
    assert removed == dict.fromkeys(sorted(alarms), "removed")
    deployed = prefect.post("/deployments/filter", {})
    assert {deployment["work_pool_name"] for deployment in deployed} == {"reads"}
    assert len(deployed) == len(STARTED_AT_ONCE)


@pytest.mark.usefixtures("set_up_from_a_clone")
def test_jobs_end_as_they_should_and_show_it(prefect: Prefect, maintainers: Told, worker: Worker) -> None:
    """Each kind of ending has its state, its journal line and nothing of the submitter in it."""
    good, refused, ours, slip, flaky, done = (
        deliver(prefect, f"{name}-1" if name != "done" else name)
        for name in ("good", "refused", "ours", "slip", "flaky", "done")
    )
    endings = {run_id: prefect.ended(run_id)["state"] for run_id in (good, refused, ours, slip, flaky, done)}
    assert (endings[good]["type"], endings[good]["name"]) == ("COMPLETED", "Completed")
    assert (endings[refused]["type"], endings[refused]["name"]) == ("COMPLETED", "HasErrors")
    assert (endings[ours]["type"], endings[ours]["message"]) == ("FAILED", "ProcessingFailure: align: a tool crashed")
    assert (endings[slip]["type"], endings[slip]["message"]) == ("FAILED", "ValueError")
    assert (endings[flaky]["type"], endings[flaky]["name"]) == ("COMPLETED", "Completed")
    assert (endings[done]["type"], endings[done]["name"]) == ("COMPLETED", "NothingToDo")
    deployed = prefect.post("/deployments/filter", {})
    assert all(each["pull_steps"] for each in deployed), "a worker leaves alone what `prefect deploy` has put there"
    assert worker.noted("refused-1 registered HAS_ERRORS")
    assert worker.noted("ours-1 given back: ProcessingFailure")
    assert PrefectOrchestrator(prefect.settings).state_of(good) is RunState.ENDED

    chain = until(lambda: len(tasks := prefect.tasks(good)) == len(STEPS) and tasks)
    assert [task["name"] for task in sorted(chain.values(), key=lambda task: task["start_time"])] == list(STEPS)
    for before, after in itertools.pairwise(STEPS):
        assert chain[before]["id"] in str(chain[after]["task_inputs"]), f"{after} doesn't follow {before} in the graph"
    retried = until(lambda: prefect.tasks(flaky).get("register") and prefect.tasks(flaky))
    assert retried["fetch"]["run_count"] == 2

    [shown] = until(lambda: prefect.post("/artifacts/filter", _of(good)))
    assert shown["key"] == "figures", "one table for all steps: a request for each would cost more than the job"
    assert {row["step"] for row in json.loads(shown["data"])} == set(STEPS)
    refused_tasks = until(lambda: prefect.tasks(refused).get("register") and prefect.tasks(refused))
    assert refused_tasks["validate"]["state"]["name"] == "Refused"
    until(lambda: "readvault: failed" in maintainers.subjects)
    assert any(f"process-submission of {ACCESSION_VERSION} is Failed" in heard["body"] for heard in maintainers.heard)
    everything = str(maintainers.heard) + "".join(
        str(prefect.post(path, {"limit": 200})) for path in ("/logs/filter", "/task_runs/filter", "/artifacts/filter")
    )
    assert SECRET not in everything + str(endings)
    assert "ACGT" not in everything


def test_the_same_delivery_is_one_run_and_the_next_is_another(prefect: Prefect, worker: Worker) -> None:
    first, again, second = (deliver(prefect, "good-2", number=number) for number in (1, 1, 2))
    assert first == again != second


def test_a_maintainer_starts_a_run_by_hand(prefect: Prefect, worker: Worker) -> None:
    deployment = prefect.get("/deployments/name/process-submission/default")["id"]
    path = f"/deployments/{deployment}/create_flow_run"
    asked = {"entry": {"accession_version": ACCESSION_VERSION, "reason": "new primers"}}
    run = prefect.ended(prefect.post(path, {"parameters": asked})["id"])
    assert (run["state"]["type"], run["name"]) == ("COMPLETED", ACCESSION_VERSION)
    assert worker.noted(f"{ACCESSION_VERSION} again: new primers (prefect)")
    empty = prefect.ended(prefect.post(path, {"parameters": {}})["id"])
    assert empty["state"]["type"] == "FAILED"
    assert "Give an accession version" in empty["state"]["message"]


def test_release_and_recover_run_too(prefect: Prefect, worker: Worker) -> None:
    assert prefect.ended(deliver(prefect, "release-1", kind="release"))["state"]["type"] == "COMPLETED"
    assert worker.noted("release-1 published")
    by_hand = prefect.get("/deployments/name/release/default")["id"]
    named = {"entry": {"accession_version": DONE_VERSION}}
    nothing = prefect.ended(prefect.post(f"/deployments/{by_hand}/create_flow_run", {"parameters": named})["id"])
    assert (nothing["state"]["name"], nothing["name"]) == ("NothingToDo", DONE_VERSION)
    deployment = prefect.get("/deployments/name/recover/regularly")
    run = prefect.post(f"/deployments/{deployment['id']}/create_flow_run", {})
    assert prefect.ended(run["id"])["state"]["message"] == "reaped: 0, delivered: 2, expired uploads: 1"
    assert [schedule["slug"] for schedule in deployment["schedules"]] == ["every-five-minutes"]


BY_NAME = {"entry": {"accession_version": ACCESSION_VERSION}}
STARTED_AT_ONCE: dict[str, tuple[dict[str, Any], str, str]] = {
    "register-external/default": (BY_NAME, "COMPLETED", "register-external-by-hand hashed"),
    "import-files/default": ({"job_id": "import-1"}, "COMPLETED", "import-1 pulled"),
    "repair/default": (BY_NAME, "COMPLETED", "repair-by-hand registered NO_ISSUES"),
    "release/default": (BY_NAME, "COMPLETED", "release-by-hand published"),
    "process-submission/default": ({"job_id": "ours-last"}, "FAILED", "ours-last claimed"),
    "recover/regularly": ({"chosen": {"alarm_after_minutes": 30}}, "COMPLETED", ""),
    "summarize/daily": ({"chosen": {"days_ago": 2}}, "COMPLETED", "day 2"),
    "screen/default": ({"job_id": "screen-1"}, "COMPLETED", "screen-1 screened"),
    "screen/regularly": ({}, "COMPLETED", "screened anew"),
    "reprocess/regularly": ({}, "COMPLETED", "reprocess (prefect)"),
    "verify-integrity/regularly": ({"chosen": {"minutes": 1.5, "repair": False}}, "FAILED", "verify None 1.5 False"),
    "collect-garbage/regularly": ({"chosen": {"dry_run": True}}, "COMPLETED", "collect True"),
    "export-silo/regularly": ({"chosen": {"anew": True}}, "COMPLETED", "export '' True"),
}
"""What the form of Prefect's UI sends, how the run ends, what was done."""


def test_every_deployment_can_be_started_in_the_ui(prefect: Prefect, maintainers: Told, worker: Worker) -> None:
    known = {
        f"{prefect.get(f'/flows/{deployment["flow_id"]}')['name']}/{deployment['name']}": deployment
        for deployment in prefect.post("/deployments/filter", {})
    }
    assert known.keys() == STARTED_AT_ONCE.keys()
    for deployment in known.values():  # a scheduled run of this very minute would have the one place of its deployment
        prefect.post(f"/deployments/{deployment['id']}/pause_deployment", {})
    runs = {
        name: prefect.post(f"/deployments/{known[name]['id']}/create_flow_run", {"parameters": parameters})["id"]
        for name, (parameters, _, _) in STARTED_AT_ONCE.items()
    }
    ended = {name: prefect.ended(run_id)["state"] for name, run_id in runs.items()}
    for deployment in known.values():
        prefect.post(f"/deployments/{deployment['id']}/resume_deployment", {})
    for name, (_, state, journal) in STARTED_AT_ONCE.items():
        assert ended[name]["type"] == state, ended[name]
        assert not journal or worker.noted(journal)
    assert ended["process-submission/default"]["name"] == "NeedsAttention"
    assert until(lambda: prefect.events("readvault.queue.old"))[0]["payload"]["oldest_minutes"] == 90
    summary = until(lambda: _artifacts(prefect, runs["summarize/daily"]))
    assert summary.keys() == {"daily-summary"}
    assert "| noReads | 1 |" in summary["daily-summary"]["data"]
    verified = ended["verify-integrity/regularly"]
    assert (verified["name"], verified["message"].partition(";")[0]) == (
        "Damage", "1 damaged objects are not restored yet",
    )  # fmt: skip
    assert ended["collect-garbage/regularly"]["name"] == "Counted"
    shown = until(lambda: len(found := _artifacts(prefect, runs["verify-integrity/regularly"])) == 2 and found)
    assert [row for row in json.loads(shown["verify-integrity"]["data"]) if row["value"]] == [
        {"figure": "checked", "value": 3}, {"figure": "damaged", "value": 2},
        {"figure": "repaired", "value": 1}, {"figure": "finished", "value": 1},
    ]  # fmt: skip
    assert shown["verify-integrity-progress"]["data"] == 100.0
    assert shown["verify-integrity-progress"]["description"].startswith("checked: 3, bytes: 0, damaged: 2")
    assert _artifacts(prefect, runs["collect-garbage/regularly"]).keys() == {"collect-garbage"}
    alarms = {"readvault: needs attention", "readvault: integrity", "readvault: queue age"}
    until(lambda: alarms <= maintainers.subjects)
    assert any("oldest_minutes: 90" in heard["body"] for heard in maintainers.heard)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("verify-integrity/regularly", {"chosen": {"minutes": 100_000}}),
        ("verify-integrity/regularly", {"chosen": {"days": -1}}),
        ("verify-integrity/regularly", {"chosen": {"bucket": "another"}}),
        ("process-submission/default", {"entry": {"accession_version": ACCESSION_VERSION}}),
        ("process-submission/default", {"entry": {"accession_version": ACCESSION_VERSION, "reason": "x" * 501}}),
        ("release/default", {"entry": {"accession_version": "https://s3/secret?X-Amz-Signature=1"}}),
        ("release/default", {"job_id": 7}),
        ("recover/regularly", {"chosen": {"alarm_after_minutes": 0}}),
        ("summarize/daily", {"chosen": {"days_ago": "yesterday"}}),
        ("collect-garbage/regularly", {"chosen": {"dry_run": "perhaps"}}),
    ],
)
def test_bounds_are_kept_in_the_ui_too(prefect: Prefect, worker: Worker, name: str, parameters: dict[str, Any]) -> None:
    deployment = prefect.get(f"/deployments/name/{name}")["id"]
    with pytest.raises(httpx.HTTPStatusError) as refused:
        prefect.post(f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})
    assert refused.value.response.status_code in (409, 422)


def test_a_parameter_that_a_flow_does_not_have_fails_the_run(prefect: Prefect, worker: Worker) -> None:
    """Prefect takes it; what was meant by it is not done otherwise."""
    deployment = prefect.get("/deployments/name/collect-garbage/regularly")["id"]
    run = prefect.post(f"/deployments/{deployment}/create_flow_run", {"parameters": {"dry_run": False}})
    assert prefect.ended(run["id"])["state"]["type"] == "FAILED"
    assert not worker.noted("collect False")


def _artifacts(prefect: Prefect, run_id: str) -> dict[str, dict[str, Any]]:
    return {artifact["key"]: artifact for artifact in prefect.post("/artifacts/filter", _of(run_id))}


def test_a_schedule_makes_runs(prefect: Prefect, worker: Worker) -> None:
    """Newer versions of the server's parts break this silently; the pins in pyproject.toml are there for it."""
    wanted = {
        "deployments": {"name": {"any_": ["regularly"]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    assert until(lambda: prefect.post("/flow_runs/filter", wanted), 60)


def cancel(prefect: Prefect, *run_ids: str) -> None:
    """What the button Cancel of Prefect's UI sends."""
    for run_id in run_ids:
        prefect.post(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})


def retry(prefect: Prefect, run_id: str) -> None:
    """What the button Retry of Prefect's UI sends."""
    prefect.post(f"/flow_runs/{run_id}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}})


def test_lanes_cancelling_and_retrying(prefect: Prefect, worker: Worker) -> None:
    """One story, as each of its slow jobs would cost the same again.

    A large job takes no place of a small one, nor does one that waits; background waits for the default
    queue. Cancel kills the child, and the run says Cancelled; Retry does the job again, if it is open.
    """
    large, next_large = (deliver(prefect, f"slow-large-{n}", queue=Queue.LARGE) for n in (1, 2))
    until(lambda: worker.noted("slow-large-1 claimed"))
    small, other = (deliver(prefect, f"slow-small-{n}") for n in (1, 2))
    until(lambda: worker.noted("slow-small-1 claimed") and worker.noted("slow-small-2 claimed"))
    background = deliver(prefect, "good-background", queue=Queue.BACKGROUND)
    urgent = deliver(prefect, "good-urgent")
    assert not worker.noted("slow-large-2 claimed")
    unbegun = deliver(prefect, "slow-large-3", queue=Queue.LARGE)
    cancel(prefect, unbegun)
    states = PrefectOrchestrator(prefect.settings).state_of
    assert [states(run_id) for run_id in (next_large, unbegun)] == [RunState.WAITING, RunState.CANCELLED]
    begun = time.monotonic()
    cancel(prefect, large, small)
    # One place is free now: the urgent one gets it, and after it the other.
    started = [prefect.ended(run_id)["start_time"] for run_id in (urgent, background)]
    assert started == sorted(started)
    cancel(prefect, other)
    for run_id in (large, small, other):
        state = prefect.ended(run_id, within=30)["state"]
        assert (state["type"], state["name"], state["message"]) == ("CANCELLED", "Cancelled", "cancelled in Prefect")
        assert states(run_id) is RunState.CANCELLED
    assert time.monotonic() - begun < 30
    assert worker.noted("slow-small-1 set aside: sleep: cancelled")
    until(lambda: worker.noted("slow-large-2 claimed"))

    retry(prefect, small)
    until(lambda: worker.journal.read_text().splitlines().count("slow-small-1 claimed") == 2)
    assert worker.noted("slow-small-1 is due (prefect)")
    verify = prefect.get("/deployments/name/verify-integrity/regularly")["id"]
    asked = {"parameters": {"chosen": {"days": 5}}}
    verification = prefect.post(f"/deployments/{verify}/create_flow_run", asked)["id"]
    until(lambda: worker.noted("verify 5.0 None True"))
    cancel(prefect, small, next_large, verification)
    for run_id in (small, next_large, verification):
        assert prefect.ended(run_id, within=30)["state"]["type"] == "CANCELLED"


def test_a_retried_run_whose_job_is_done_has_nothing_to_do(prefect: Prefect, worker: Worker) -> None:
    run_id = deliver(prefect, "ours-2")
    assert prefect.ended(run_id)["state"]["type"] == "FAILED"
    retry(prefect, run_id)
    until(lambda: prefect.get(f"/flow_runs/{run_id}")["run_count"] == 2)
    assert prefect.ended(run_id)["state"]["name"] == "NothingToDo"


def test_a_worker_that_is_asked_to_stop_hands_back_and_leaves_no_process(prefect: Prefect, worker: Worker) -> None:
    run_id, hanging = deliver(prefect, "slow-2"), deliver(prefect, "hanging-1")
    until(lambda: worker.noted("slow-2 claimed") and worker.noted("hanging-1 claimed"))
    group = _children(worker.process.pid)
    assert group
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) == 0, "it does not wait for what hangs"
    assert prefect.ended(hanging)["state"]["name"] == "HandedBack"
    assert worker.noted("slow-2 given back: NurseryDied")
    assert worker.noted("the worker ended")
    state = prefect.ended(run_id)["state"]
    assert (state["type"], state["name"]) == ("CANCELLED", "HandedBack")
    assert PrefectOrchestrator(prefect.settings).state_of(run_id) is RunState.ENDED
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in group))


def test_an_idle_worker_stops_at_once(prefect: Prefect, worker: Worker) -> None:
    """The worker's own end must not depend on a moment: its loops are cancelled wherever they are."""
    prefect.ended(deliver(prefect, "good-3"))
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) == 0


def test_a_prefect_that_has_forgotten_everything_is_told_again(prefect: Prefect, worker: Worker) -> None:
    """As when its database is lost while the worker runs: nobody restarts the worker."""
    # The pool first: a run of a deployment that has just lost its pool would wait for ever.
    prefect.delete("/work_pools/reads")
    for deployment in prefect.post("/deployments/filter", {}):
        prefect.delete(f"/deployments/{deployment['id']}")
    assert prefect.ended(deliver(prefect, "good-4"))["state"]["type"] == "COMPLETED"
    assert worker.noted("good-4 registered NO_ISSUES")
    prefect.delete("/work_pools/reads")
    caught = deliver(prefect, "good-5")  # it may get no queue, and then waits in vain
    orchestrator = PrefectOrchestrator(prefect.settings)
    until(lambda: orchestrator.state_of(caught) in (RunState.MISSING, RunState.ENDED), 60)
    recover = {"flows": {"name": {"any_": ["recover"]}}}
    [again] = until(lambda: prefect.post("/deployments/filter", recover))
    assert [schedule["slug"] for schedule in again["schedules"]] == ["every-five-minutes"]


def _children(pid: int) -> list[int]:
    """All processes below this one."""
    below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for task in Path(f"/proc/{pid}/task").iterdir():
        below += [int(child) for child in (task / "children").read_text().split()]
    found = list(dict.fromkeys(below))
    return found + [grandchild for child in found for grandchild in _children(child)]


def test_without_a_server_a_delivery_is_none_and_soon() -> None:
    settings = Settings(prefect=PrefectSettings(api_url=f"http://127.0.0.1:{reserve_port()}/api"))
    started = time.monotonic()
    orchestrator = PrefectOrchestrator(settings)
    assert orchestrator.deliver(Delivery("job", 1, "process-submission", ACCESSION_VERSION)) is None
    assert orchestrator.state_of("00000000-0000-0000-0000-000000000000") is None
    assert time.monotonic() - started < 6
