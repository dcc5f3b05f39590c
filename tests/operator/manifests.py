"""Runs and pod templates for the tests of Jobs and pods."""

from __future__ import annotations

from typing import Any

from cycleqd.api import RunSpec
from cycleqd.plan import Work
from cycleqd_operator.jobs import build_job
from cycleqd_operator.run_ref import RunRef
from cycleqd_operator.settings import Settings
from tests.core.support import run_spec

RUN = RunRef("demo", "research", "11111111-2222-3333-4444-555555555555", 7)
SETTINGS = Settings(worker_image="localhost/cycleqd-runner:test")
WITH_SIDECARS = SETTINGS.model_copy(
    update={"sandbox_image": "localhost/cycleqd-sandbox:test", "mariadb_image": "localhost/mariadb:test"}
)
STORE = {"uri": "s3://runs/demo", "credentialsSecretName": "s3-credentials"}
BLOCK = Work("breed", ids=(3, 4, 5, 9))
WORK = (Work("prepare", "shell"), Work("evaluate", ids=(2,)), BLOCK, Work("finalize"))

AGENTBENCH_TASKS: list[dict[str, Any]] = [
    {"name": "task-0", "expert": "sql", "evaluator": {"type": "AgentBenchDB", "data": "s3://data/db.jsonl"}},
    {"name": "task-1", "expert": "shell", "evaluator": {"type": "AgentBenchOS", "data": "s3://data/os.json"}},
    {
        "name": "task-2",
        "expert": "python",
        "evaluator": {
            "type": "Container",
            "image": "localhost/judge:1",
            "command": ["judge", "--all"],
            "data": "s3://data/judged.jsonl",
        },
    },
]
"""A task for each kind of sidecar."""

MAXIMAL_TEMPLATE: dict[str, Any] = {
    "labels": {"team": "research", "app.kubernetes.io/part-of": "agents"},
    "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100"]}]}]
            }
        }
    },
    "volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "datasets", "readOnly": True}},
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "20Gi"}},
        {
            "name": "fast",
            "ephemeral": {
                "volumeClaimTemplate": {
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}}
                }
            },
        },
    ],
    "volumeMounts": [
        {"name": "data", "mountPath": "/data", "readOnly": True},
        {"name": "settings", "mountPath": "/etc/settings"},
        {"name": "scratch", "mountPath": "/tmp"},
        {"name": "fast", "mountPath": "/cache/"},
    ],
    "env": [
        {"name": "OMP_NUM_THREADS", "value": "3"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "WHERE", "value": "$(NODE)"},
    ],
    "resources": {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"cpu": "4", "memory": "16Gi"}},
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "system-cluster-critical",
    "runtimeClassName": "gvisor",
    "serviceAccountName": "workers",
    "terminationGracePeriodSeconds": 30,
}
MAXIMAL_WORKERS: dict[str, Any] = {
    "gpus": 2,
    "image": "localhost/other:1",
    "queueName": "research",
    "sharedMemoryMebibytes": 4096,
    "template": MAXIMAL_TEMPLATE,
}


def spec(**fields: Any) -> RunSpec:
    """Return a small spec whose state lies in S3, with ``fields`` (camelCase) on top."""
    return run_spec(**{"storage": STORE, **fields})


def maximal_spec() -> RunSpec:
    """Return a spec that uses every override, with Secrets of single models."""
    base = {"uri": "hf://org/base", "credentialsSecretName": "hub"}
    return spec(baseModel=base, workers=MAXIMAL_WORKERS)


def job(
    work: Work = BLOCK,
    of: RunSpec | None = None,
    *,
    attempt: int = 0,
    settings: Settings = SETTINGS,
    has_ca_bundle: bool = False,
) -> Any:
    return build_job(RUN, of or spec(), work, attempt=attempt, settings=settings, has_ca_bundle=has_ca_bundle)


def pod(template: dict[str, Any] | None = None, **fields: Any) -> Any:
    """Return the pod template of a worker of a run with this pod template."""
    return job(of=spec(workers={**fields, "template": template or {}}))["spec"]["template"]


def container(template: dict[str, Any] | None = None, **fields: Any) -> Any:
    return pod(template, **fields)["spec"]["containers"][0]


def variables(of: RunSpec, *, has_ca_bundle: bool = False) -> dict[str, Any]:
    """Return the environment of a run's workers: each variable's value, or where it comes from."""
    found = job(of=of, has_ca_bundle=has_ca_bundle)["spec"]["template"]["spec"]["containers"][0]["env"]
    return {str(each.get("name")): each.get("value", each.get("valueFrom")) for each in found}
