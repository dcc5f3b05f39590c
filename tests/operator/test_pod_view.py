"""What pods tell. The statuses are those that Kubernetes 1.34 gave to such pods, without times and ids."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd.errors import MissingInput
from cycleqd.orders import Outcome
from cycleqd_operator.job_view import JobView
from cycleqd_operator.pod_view import outcome_of, trouble_of, trouble_of_job
from tests.operator.manifests import AGENTBENCH_TASKS, WITH_SIDECARS, job, pod, spec

NOON = 1_795_435_200.0
"""2026-11-23T12:00:00Z."""


def _pod(status: dict[str, Any], template: Any = None, **metadata: str) -> Any:
    spec_ = (template or pod())["spec"] | {"nodeName": "node-7"}
    return {"metadata": {"name": "demo-x", "namespace": "research", **metadata}, "spec": spec_, "status": status}


def _ended(code: int, message: str = "", reason: str = "Error", of_pod: dict[str, str] | None = None) -> Any:
    """Return a pod whose worker ended; ``of_pod``: reason and message of the pod itself."""
    terminated = {"exitCode": code, "reason": reason, **({"message": message} if message else {})}
    beside = [{"name": "sandbox", "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}]
    containers = [
        {"name": "injected-proxy", "state": {"terminated": {"exitCode": 0, "message": "proxy"}}},
        {"name": "worker", "state": {"terminated": terminated}},
    ]
    statuses = {"containerStatuses": containers, "initContainerStatuses": beside}
    return _pod({"phase": "Failed" if code else "Succeeded", **statuses, **(of_pod or {})})


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _waiting(reason: str, message: str = "", *, sandbox: bool = True, template: Any = None) -> Any:
    conditions = [
        _condition("PodReadyToStartContainers", str(sandbox)),
        _condition("Ready", "False", "ContainersNotReady", "containers with unready status: [worker]"),
        _condition("PodScheduled", "True"),
    ]
    containers = [{"name": "worker", "state": {"waiting": {"reason": reason, "message": message}}}]
    return _pod({"phase": "Pending", "conditions": conditions, "containerStatuses": containers}, template)


def _beside(name: str, state: dict[str, Any], **status: Any) -> Any:
    """Return a pod whose worker waits for a sidecar."""
    wanted = spec(tasks=AGENTBENCH_TASKS)
    waiting = _waiting("PodInitializing", template=job(of=wanted, settings=WITH_SIDECARS)["spec"]["template"])
    waiting["status"]["initContainerStatuses"] = [
        {"name": "istio-init", "state": {"terminated": {"exitCode": 0}}, "started": False},
        {"name": name, "state": state, **status},
        {"name": "last", "state": {"waiting": {"reason": "PodInitializing"}}, "started": False},
    ]
    return waiting


def _unplaced(message: str, reason: str = "Unschedulable") -> Any:
    return _pod({"phase": "Pending", "conditions": [_condition("PodScheduled", "False", reason, message)]})


TOLD = Outcome(ok=False, permanent=True, kind="MissingInput", message="There is no model at s3://models/sql.")
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: CUDA error: out of range\n\n'
STARTING = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)
EVICTED = 'Usage of EmptyDir volume "scratch" exceeds the limit "8Mi"'


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        pytest.param(_ended(0, '{"ok":true}', "Completed"), Outcome(ok=True), id="done"),
        pytest.param(_ended(0, "", "Completed"), Outcome(ok=True), id="done without a word"),
        pytest.param(
            _ended(0, '{"ok":true,"drained":true}', "Completed"), Outcome(ok=True, drained=True), id="drained"
        ),
        pytest.param(_ended(2, TOLD.model_dump_json()), TOLD, id="bad input, told"),
        pytest.param(
            _ended(75, '{"ok":false,"kind":"StoreUnreachable","message":"No answer."}'),
            Outcome(ok=False, kind="StoreUnreachable", message="No answer."),
            id="temporary, told",
        ),
        pytest.param(
            _ended(2, "Usage: cycleqd worker\nNo such option: --idz"),
            Outcome(ok=False, permanent=True, message="No such option: --idz (exit code 2)"),
            id="bad input, in the log",
        ),
        pytest.param(
            _ended(1, TRACEBACK),
            Outcome(ok=False, message="RuntimeError: CUDA error: out of range (exit code 1)"),
            id="died with a traceback",
        ),
        pytest.param(
            _ended(139),
            Outcome(ok=False, message="The worker died without a word (exit code 139)."),
            id="died without a word",
        ),
        pytest.param(
            _ended(139, '{"ok":true}'),
            Outcome(ok=False, message="The worker said that it was done, and then died (exit code 139)."),
            id="died at the very end",
        ),
        pytest.param(
            _ended(1, '{"ok":'),
            Outcome(ok=False, message='{"ok": (exit code 1)'),
            id="cut off",
        ),
        pytest.param(
            _ended(137, of_pod={"reason": "Evicted", "message": f"{EVICTED}. "}),
            Outcome(
                ok=False,
                message=f"Kubernetes ended the pod demo-x (Evicted: {EVICTED}).",
            ),
            id="evicted",
        ),
        pytest.param(
            _pod({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no healthy devices present"}),
            Outcome(
                ok=False,
                kind="UnexpectedAdmissionError",
                message="Kubernetes ended the pod demo-x (UnexpectedAdmissionError: no healthy devices present).",
            ),
            id="refused by the node",
        ),
        pytest.param(
            _pod({"phase": "Failed"}),
            Outcome(ok=False, kind="WorkerLost", message="The pod demo-x ended without a word."),
            id="lost",
        ),
    ],
)
def test_how_a_worker_ended(ended: Any, expected: Outcome) -> None:
    assert outcome_of(ended) == expected


@pytest.mark.parametrize(
    ("code", "kind"), [pytest.param(137, "PodDeleted", id="killed"), pytest.param(139, "", id="died while it stopped")]
)
def test_nobody_is_accused_of_a_deleted_pod(code: int, kind: str) -> None:
    pod_ = _ended(code)
    assert outcome_of(pod_).kind == ""
    pod_["metadata"] |= STOPPING
    assert outcome_of(pod_).kind == kind


def test_a_worker_without_memory_is_told_where_to_get_more() -> None:
    outcome = outcome_of(_ended(137, "loading shard 3", "OOMKilled"))
    assert (outcome.ok, outcome.permanent, outcome.kind) == (False, False, "")
    assert "needed more memory than it may have (exit code 137, OOMKilled)" in outcome.message
    assert "spec.workers.template.resources.limits.memory" in outcome.message


@pytest.mark.parametrize(
    ("words", "permanent"),
    [
        pytest.param('exec: "/cycleqd": stat /cycleqd: no such file or directory', True, id="no command"),
        pytest.param('exec: "cycleqd": executable file not found in $PATH', True, id="not on the path"),
        pytest.param("exec /usr/bin/tini: exec format error", True, id="another architecture"),
        pytest.param("context deadline exceeded", False, id="a busy node"),
    ],
)
def test_a_container_that_cannot_start_accuses_its_image_and_no_child(words: str, permanent: bool) -> None:
    outcome = outcome_of(_ended(128, STARTING + words, "StartError"))
    assert (outcome.ok, outcome.permanent, outcome.kind) == (False, permanent, "StartError")
    assert outcome.message.startswith("The image localhost/cycleqd-runner:test could not be started (StartError: ")
    assert outcome.message.endswith(f"{words}): check spec.workers.image.")


def test_a_missing_input_is_known_as_such() -> None:
    assert isinstance(outcome_of(_ended(2, TOLD.model_dump_json())).error(), MissingInput)


def test_long_lines_are_cut() -> None:
    message = outcome_of(_ended(1, "x" * 4096)).message
    assert message.endswith("x… (exit code 1)")
    assert len(message) < 450


NO_GPU = (
    "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes are available: "
    "2 Preemption is not helpful for scheduling."
)
NO_CLAIM = '0/2 nodes are available: persistentvolumeclaim "models" not found. not found'
BACK_OFF = 'Back-off pulling image "localhost/cycleqd-runner:test": ErrImagePull: connection refused'


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        pytest.param(
            _waiting("CreateContainerConfigError", 'secret "s3-credentials" not found'),
            "waits for the Secret s3-credentials, which does not exist in the namespace research: create it.",
            id="no Secret",
        ),
        pytest.param(
            _waiting(
                "CreateContainerConfigError", "couldn't find key AWS_ACCESS_KEY_ID in Secret research/s3-credentials"
            ),
            "waits for the key AWS_ACCESS_KEY_ID of the Secret s3-credentials in the namespace research: add it.",
            id="half a Secret",
        ),
        pytest.param(
            _waiting("CreateContainerConfigError", 'configmap "settings" not found'),
            "waits for the ConfigMap settings, which does not exist in the namespace research: create it.",
            id="no ConfigMap",
        ),
        pytest.param(
            _waiting("CreateContainerConfigError", "missing value for NOPE"),
            "has a configuration that its node refuses (missing value for NOPE): check spec.workers.template.",
            id="another mistake in the template",
        ),
        pytest.param(
            _waiting("ImagePullBackOff", BACK_OFF),
            f"cannot get the image localhost/cycleqd-runner:test (ImagePullBackOff: {BACK_OFF}): check "
            "spec.workers.image and spec.workers.template.imagePullSecrets.",
            id="no image",
        ),
        pytest.param(
            _waiting("InvalidImageName", "invalid reference format"),
            "cannot get the image localhost/cycleqd-runner:test (InvalidImageName: invalid reference format): check "
            "spec.workers.image and spec.workers.template.imagePullSecrets.",
            id="no name of an image",
        ),
        pytest.param(
            _unplaced(NO_GPU),
            f"finds no node ({NO_GPU[:-1]}): add one, or ask for less in spec.workers.gpus and spec.workers.template "
            "(resources, nodeSelector, tolerations, affinity).",
            id="no node",
        ),
        pytest.param(
            _unplaced(NO_CLAIM),
            "waits for the PersistentVolumeClaim models, which does not exist: create it.",
            id="no claim",
        ),
        pytest.param(
            _unplaced("Scheduling is blocked due to non-empty scheduling gates", "SchedulingGated"),
            "is held back by a scheduling gate: whoever set it has to remove it.",
            id="a gate",
        ),
        pytest.param(
            _waiting("CreateContainerError", "failed to reserve container name"),
            "cannot start its worker (CreateContainerError: failed to reserve container name): look at it with "
            "kubectl describe.",
            id="trouble on the node",
        ),
        pytest.param(
            _beside("sandbox", {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}),
            "cannot get the image localhost/cycleqd-sandbox:test (ErrImagePull: no such host): check "
            "spec.workers.sidecars.sandbox.image and spec.workers.template.imagePullSecrets.",
            id="no image of a sidecar",
        ),
        pytest.param(
            _beside("mariadb", {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
            "waits for its mariadb, which does not run (CrashLoopBackOff: back-off 10s): see kubectl logs demo-x "
            "--container mariadb.",
            id="a sidecar that dies",
        ),
        pytest.param(
            _beside("sandbox", {"running": {}}, started=False),
            "waits for its sandbox, which does not answer: see kubectl logs demo-x --container sandbox.",
            id="a sidecar that does not answer",
        ),
    ],
)
def test_why_a_pod_does_not_start(waiting: Any, expected: str) -> None:
    assert trouble_of(waiting) == f"The pod demo-x {expected}"


def test_a_pod_that_waits_for_its_volumes_names_them() -> None:
    wanted = spec(
        baseModel={"uri": "hf://org/base", "credentialsSecretName": "hub"},
        workers={
            "modelCacheClaimName": "models",
            "template": {"volumes": [{"name": "settings", "configMap": {"name": "settings"}}]},
        },
    )
    template = job(of=wanted)["spec"]["template"]
    assert trouble_of(_waiting("ContainerCreating", sandbox=False, template=template)) == (
        "The pod demo-x waits for its volumes (PersistentVolumeClaim models, Secret hub, ConfigMap settings) or its "
        "network: create what is missing; kubectl describe pod demo-x names it."
    )


RUNNING = _pod({"phase": "Running", "containerStatuses": [{"name": "worker", "state": {"running": {}}}]})
STOPPING = {"deletionTimestamp": "2026-11-23T11:59:30Z"}


@pytest.mark.parametrize(
    "well",
    [
        pytest.param(RUNNING, id="running"),
        pytest.param(_waiting("ContainerCreating"), id="pulling its image"),
        pytest.param(_beside("sandbox", {"waiting": {"reason": "PodInitializing"}}), id="pulling a sidecar's image"),
        pytest.param(_beside("sandbox", {"running": {}}, started=True), id="a sidecar that is up"),
        pytest.param(_ended(0), id="done"),
        pytest.param(_ended(137, reason="OOMKilled"), id="failed"),
        pytest.param(_pod({"phase": "Pending"}), id="new"),
        pytest.param(_pod({}), id="very new"),
        pytest.param(_waiting("ErrImagePull") | {"metadata": {"name": "demo-x", **STOPPING}}, id="stopping"),
    ],
)
def test_a_pod_without_trouble(well: Any) -> None:
    assert trouble_of(well) is None


def _slow_job() -> JobView:
    body = job()
    body["metadata"] |= {"uid": "job-1", "creationTimestamp": "2026-11-23T11:00:00Z"}
    view = JobView.of(body)
    assert view is not None
    return view


def test_why_a_job_does_not_start() -> None:
    slow, stopping = _slow_job(), _pod({"phase": "Running"}, **STOPPING)
    waiting = _waiting("ImagePullBackOff", "no such image")
    assert "kubectl describe job demo-breed-3 says why" in (trouble_of_job(slow, [], NOON) or "")
    assert trouble_of_job(slow, [_ended(143), waiting], NOON) == trouble_of(waiting)
    assert trouble_of_job(slow, [waiting, RUNNING], NOON) == trouble_of(waiting)
    assert trouble_of_job(slow, [RUNNING], NOON) is None
    assert trouble_of_job(slow, [stopping], NOON) is None


def test_a_pod_that_never_goes_accuses_its_node() -> None:
    stopping = _pod({"phase": "Running"}, **STOPPING)
    trouble = trouble_of_job(_slow_job(), [stopping], NOON + 300)
    assert trouble is not None
    assert "its node node-7 does not say that it has" in trouble
    assert "kubectl delete node node-7" in trouble
