"""The manifests: Kubernetes' schemas take them, and they fit the code and each other."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import uuid
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from typer.main import get_command

from readvault import __version__
from readvault.api.routes import instance
from readvault.cli.main import app
from tests.integration.deployments import DEPLOYMENTS, TO_STOP, known_settings

FOLDER = DEPLOYMENTS / "kubernetes"
VERSIONS = ("1.30", "1.37")
MANIFESTS = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("components/*/*.yaml")])
DOCUMENTS: list[dict[str, Any]] = [
    document
    for path in MANIFESTS
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
TEMPLATE: dict[str, Any] = json.loads((FOLDER / "prefect" / "huge-job-template.json").read_text(encoding="utf-8"))


def named(kind: str, name: str) -> dict[str, Any]:
    return next(each for each in DOCUMENTS if (each["kind"], each["metadata"]["name"]) == (kind, name))


@cache
def rendered_job() -> dict[str, Any]:
    """The job that Prefect's own code makes of the template for a flow run."""
    # Seconds of imports: only the process that runs this file pays for them.
    from prefect.client.schemas.objects import FlowRun
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration  # type: ignore[import-untyped]

    values = {"memory": "64Gi", "env": {"SOMETHING": "more"}}
    template = json.loads(json.dumps(TEMPLATE))
    run = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="careful-otter")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # nobody is asked
        rendering = KubernetesWorkerJobConfiguration.from_template_and_values(base_job_template=template, values=values)
        configuration = asyncio.run(rendering)
        configuration.prepare_for_flow_run(run)
    return dict(configuration.job_manifest)


RUNNING = [each for each in DOCUMENTS if each["kind"] in ("Deployment", "Job")]
HUGE_JOB = "huge job"


@cache
def pods() -> dict[str, dict[str, Any]]:
    """The pods that the manifests and the template describe, by name."""
    found = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in RUNNING}
    return found | {HUGE_JOB: rendered_job()["spec"]["template"]["spec"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_schemas_take_every_manifest(version: str) -> None:
    assert len(DOCUMENTS) > 15
    for document in DOCUMENTS:
        kubernetes_validate.validate(document, version, strict=True)


def test_kubernetes_schemas_would_refuse_a_slip() -> None:
    document = json.loads(json.dumps(named("Deployment", "readvault-worker")))
    document["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)


def test_kustomize_lists_every_manifest_and_makes_what_they_ask_for() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(p.name for p in FOLDER.glob("*.yaml") if p.name != "kustomization.yaml")
    made = yaml.safe_load((DEPLOYMENTS / "kustomization.yaml").read_text())
    assert made["resources"] == ["kubernetes"]
    files = {one["name"]: one["files"] for one in made["configMapGenerator"]}
    assert all((DEPLOYMENTS / file).is_file() for each in files.values() for file in each)
    configured = {
        volume["configMap"]["name"] for pod in pods().values() for volume in pod["volumes"] if "configMap" in volume
    }
    assert configured == set(files)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_renders_it() -> None:
    command = ["kubectl", "kustomize", str(DEPLOYMENTS)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    documents = list(yaml.safe_load_all(rendered))
    assert len(documents) > len(DOCUMENTS) - 1  # those of the components are beside it, two maps are made
    for document in documents:
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "readvault"
    images = {
        container["image"]
        for document in documents
        if document["kind"] in ("Deployment", "Job")
        for container in document["spec"]["template"]["spec"]["containers"]
    }
    assert images == {f"registry.example.org/readvault:{__version__}"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_components_change_what_they_say(tmp_path: Path) -> None:
    shutil.copytree(DEPLOYMENTS, tmp_path / "deployments", ignore=shutil.ignore_patterns("docker"))
    kustomization = {
        "resources": ["../deployments"],
        "components": [f"../deployments/kubernetes/components/{name}" for name in ("autoscaling", "cut-off")],
    }
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    command = ["kubectl", "kustomize", str(tmp_path / "site")]
    rendered = list(yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True).stdout))
    worker = next(
        each for each in rendered if each["metadata"]["name"] == "readvault-worker" and "template" in each["spec"]
    )
    profile = worker["spec"]["template"]["spec"]["securityContext"]["seccompProfile"]
    assert profile == {"type": "Localhost", "localhostProfile": "readvault/worker.json"}
    scalers = [each["metadata"]["name"] for each in rendered if each["kind"] == "HorizontalPodAutoscaler"]
    assert sorted(scalers) == ["readvault-api", "readvault-worker"]


def test_every_setting_is_one() -> None:
    settings = known_settings()
    assert set(named("ConfigMap", "readvault-settings")["data"]) <= settings
    for pod in pods().values():
        for container in pod["containers"]:
            names = {each["name"] for each in container.get("env", []) if each["name"].startswith("READVAULT_")}
            assert names <= settings


def test_every_command_is_one() -> None:
    for name, pod in pods().items():
        words = pod["containers"][0]["args"]
        if name == HUGE_JOB:
            assert words == ["prefect", "flow-run", "execute"]
            continue
        assert words[0] == "readvault"
        command: Any = get_command(app)
        for word in words[1:]:
            if hasattr(command, "commands"):
                command = command.commands[word]
        assert not hasattr(command, "commands")


def test_probes_ask_what_the_api_answers_where_it_listens() -> None:
    container = named("Deployment", "readvault-api")["spec"]["template"]["spec"]["containers"][0]
    paths = {route.path for route in instance.router.routes}  # type: ignore[attr-defined]
    port = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert container["args"][-1] == str(port["http"]) == "8079"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in paths
        assert container[probe]["httpGet"]["port"] in port
    service = named("Service", "readvault-api")["spec"]["ports"][0]
    assert service["targetPort"] in port
    backend = named("Ingress", "readvault-api")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert (backend["name"], backend["port"]["name"]) == ("readvault-api", service["name"])
    policy = named("NetworkPolicy", "api")["spec"]["ingress"][0]["ports"]
    assert [each["port"] for each in policy] == [port["http"]]


def test_a_worker_is_alive_while_it_says_so_and_gets_time_to_hand_back() -> None:
    from readvault import scratch

    pod = pods()["readvault-worker"]
    container = pod["containers"][0]
    where = next(each["value"] for each in container["env"] if each["name"] == "READVAULT_WORKER__SCRATCH")
    for probe in ("startupProbe", "livenessProbe"):
        script = container[probe]["exec"]["command"][-1]
        assert scratch._MARK in script
        assert where in script
    for each in (pod, pods()[HUGE_JOB]):
        assert each["terminationGracePeriodSeconds"] >= 2 * TO_STOP


@pytest.mark.parametrize("name", sorted([*(each["metadata"]["name"] for each in RUNNING), HUGE_JOB]))
def test_each_pod_may_do_little(name: str) -> None:
    pod = pods()[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["enableServiceLinks"] is False  # its variables would begin with READVAULT_
    assert named("ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert all("value" not in each or "SECRET" not in each["name"] for each in container.get("env", []))


def test_who_reads_user_files_has_the_index_to_read_only_and_no_signers_keys() -> None:
    for name in ("readvault-worker", HUGE_JOB):
        pod = pods()[name]
        container = pod["containers"][0]
        index = next(mount for mount in container["volumeMounts"] if mount["name"] == "host-index")
        assert index["readOnly"] is True
        volume = next(each for each in pod["volumes"] if each["name"] == "host-index")
        assert volume["persistentVolumeClaim"]["readOnly"] is True
        secrets = {each["secretRef"]["name"] for each in container["envFrom"] if "secretRef" in each}
        assert secrets == {"readvault-database", "readvault-s3-worker", "readvault-prefect"}


def test_one_worker_a_node() -> None:
    rule = pods()["readvault-worker"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        0
    ]
    labels = named("Deployment", "readvault-worker")["spec"]["template"]["metadata"]["labels"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["labelSelector"]["matchLabels"] == labels
    assert named("PodDisruptionBudget", "readvault-worker")["spec"]["selector"]["matchLabels"] == labels


def test_nothing_is_reached_that_no_policy_names() -> None:
    policies = [each for each in DOCUMENTS if each["kind"] == "NetworkPolicy"]
    nothing = next(each["spec"] for each in policies if each["metadata"]["name"] == "nothing")
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert "ingress" not in named("NetworkPolicy", "worker")["spec"]
    for policy in policies:
        for rule in policy["spec"].get("egress", []):
            assert rule["ports"]
            for peer in rule["to"]:
                if "ipBlock" in peer:  # the cloud's metadata service gives keys to whoever asks
                    assert {"169.254.0.0/16", "fd00:ec2::/32"} & set(peer["ipBlock"]["except"])


def test_prefect_renders_the_huge_job_and_kubernetes_takes_it() -> None:
    Draft202012Validator.check_schema(TEMPLATE["variables"])
    job = deepcopy(rendered_job())
    # Prefect demands these two where Kubernetes, which ignores them there, has no such fields.
    assert [job["spec"]["template"]["spec"].pop(name) for name in ("completions", "parallelism")] == [1, 1]
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].endswith(f"/readvault:{__version__}")
    assert container["resources"]["limits"]["memory"] == "64Gi"
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["SOMETHING"] == "more"
    assert environment["READVAULT_WORKER__CONCURRENCY"] == "1"
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    labels = job["spec"]["template"]["metadata"]["labels"]
    worker = named("NetworkPolicy", "worker")["spec"]["podSelector"]
    assert labels["app.kubernetes.io/component"] in worker["matchExpressions"][0]["values"]
    assert labels.items() >= worker["matchLabels"].items()


def test_only_sizes_of_a_huge_job_can_be_chosen_within_bounds() -> None:
    variables = Draft202012Validator(TEMPLATE["variables"])
    assert variables.is_valid({"memory": "64Gi", "cpu": "16", "scratch": "2Ti"})
    for wrong in ({"memory": "lots"}, {"cpu": "-1"}, {"scratch": "5"}, {"image_pull_policy": "Sometimes"}):
        assert not variables.is_valid(wrong)
    used = json.dumps(TEMPLATE["job_configuration"])
    assert all(f"{{{{ {name} }}}}" in used for name in TEMPLATE["variables"]["properties"])


@pytest.mark.parametrize("values", ["server-values.yaml", "huge-worker-values.yaml"])
def test_values_for_prefects_charts_name_real_settings_and_no_secret(values: str) -> None:
    from prefect_kubernetes.settings import KubernetesSettings  # type: ignore[import-untyped]

    from tests.integration.deployments.prefect_settings import server_settings

    content = yaml.safe_load((FOLDER / "prefect" / values).read_text())
    given = [*content.get("global", {}).get("prefect", {}).get("env", [])]
    given += content.get("worker", {}).get("extraEnvVars", [])
    integration = {
        f"PREFECT_INTEGRATIONS_KUBERNETES_{part}_{field}".upper()
        for part in ("worker", "observer")
        for field in KubernetesSettings.model_fields[part].annotation.model_fields
    }
    assert given
    assert {each["name"] for each in given} <= server_settings() | integration
    auth = (content.get("server") or content["worker"])["basicAuth"]
    assert auth["enabled"] is True
    assert "authString" not in auth
    assert auth["existingSecret"]


def test_compose_and_kubernetes_run_prefect_with_the_same_settings() -> None:
    chart = yaml.safe_load((FOLDER / "prefect" / "server-values.yaml").read_text())["global"]["prefect"]["env"]
    compose = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())["x-prefect-settings"]
    for each in chart:
        assert compose[each["name"]] == each["value"]
