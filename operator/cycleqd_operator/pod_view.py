"""What a worker's pod tells: how the worker ended, or why it does not start. Pods are looked at and not kept.

How a pod's work ended is the worker's container's to say alone; sidecars only say why the worker has not begun.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from cycleqd.errors import EXIT_BAD_INPUT
from cycleqd.labels import CONTAINER
from cycleqd.orders import Outcome
from cycleqd_operator.job_view import JobView

Pod = Mapping[str, Any]

LONGEST_QUOTE = 400
"""Characters of a log line or of Kubernetes' own words that a message repeats: it ends up in the run's status."""

STUCK_SECONDS = 60.0
"""Beyond its time, a pod that is stopping is not just slow."""

NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
"""Kubernetes' reasons for a container that ended before it ran."""

KILLED = (137, 143)
"""Exit codes of SIGKILL and SIGTERM."""

IMAGE_FIELDS = {
    CONTAINER: "spec.workers.image",
    "sandbox": "spec.workers.sidecars.sandbox.image",
    "mariadb": "spec.workers.sidecars.mariadb.image",
}
"""Where the image of a container stands; the others' stands in their evaluators."""

_NO_COMMAND = re.compile("no such file|not found|permission denied|exec format error", re.IGNORECASE)

MEMORY_ADVICE = (
    "give it more with spec.workers.template.resources.limits.memory, or let it hold less with "
    "spec.engine.args.maxBatchTokens"
)


def outcome_of(pod: Pod) -> Outcome:
    """Return how a pod's worker ended, in its own words if it had time to say them.

    A worker that died without a word has no ``kind``. Where no child is to blame, the kind says so: ``PodDeleted``, or
    Kubernetes' reason why the worker never ran.
    """
    status = pod.get("status") or {}
    ended = (_container(pod).get("state") or {}).get("terminated")
    if ended is None:
        return Outcome(ok=False, kind=status.get("reason") or "WorkerLost", message=_pod_end(pod))
    if status.get("reason"):  # evicted, or too old: the node ended the pod, and the container's own end says less
        return Outcome(ok=False, message=_pod_end(pod))
    code, reason = ended.get("exitCode", -1), ended.get("reason") or "Error"
    if reason in NOT_STARTED:
        return _not_started(pod, reason, _quote(ended.get("message") or ""))
    if code in KILLED and "deletionTimestamp" in pod["metadata"]:
        return Outcome(ok=False, kind="PodDeleted", message=f"The pod {pod['metadata']['name']} was deleted.")
    told = _told(ended.get("message") or "")
    if code == 0:
        return Outcome(ok=True, drained=told is not None and told.drained)
    if told and not told.ok:
        return told
    return Outcome(ok=False, permanent=code == EXIT_BAD_INPUT, message=_death(ended, code, told))


def trouble_of_job(job: JobView, pods: Sequence[Pod], now: float) -> str | None:
    """Return in one sentence why a Job that should run by now does not, and what to do; None if nothing is wrong.

    Args:
        job: that has been active for a while, without a worker that runs, and is not held back by a queue.
        pods: its pods.
        now: Unix time in seconds.
    """
    if not pods:
        return (
            f"Kubernetes makes no pod for the Job {job.name}; kubectl describe job {job.name} says why, "
            "for example a quota, or a service account or class that does not exist."
        )
    troubles = [_stuck(pod, now) or trouble_of(pod) for pod in reversed(pods)]
    return next((trouble for trouble in troubles if trouble), None)


def trouble_of(pod: Pod) -> str | None:
    """Return in one sentence why a pod that should run by now does not, and what to do; None if it runs or has ended.

    Kubernetes goes on trying by itself: once the cause is gone, the pod starts.
    """
    phase = (pod.get("status") or {}).get("phase", "Pending")
    if phase not in ("Pending", "Running") or "deletionTimestamp" in pod["metadata"]:
        return None
    for reason, message, name in _obstacles(pod):
        return f"The pod {pod['metadata']['name']} {_explain(reason, _quote(message), pod, name)}"
    return None


def _stuck(pod: Pod, now: float) -> str | None:
    """Return that a pod does not go although its time is over: its node does not answer."""
    metadata = pod["metadata"]
    until = metadata.get("deletionTimestamp")
    if until is None or now < datetime.fromisoformat(until).timestamp() + STUCK_SECONDS:
        return None
    node = pod["spec"].get("nodeName", "")
    return (
        f"The pod {metadata['name']} should have stopped at {until}, but its node {node} does not say that it has: "
        f"if the node is lost, delete it with kubectl delete node {node}, and the work is done elsewhere."
    )


def _container(pod: Pod) -> Mapping[str, Any]:
    """Return the status of the worker's container; empty before it has one."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((status for status in statuses if status.get("name") == CONTAINER), {})


def _told(message: str) -> Outcome | None:
    """Return what a worker wrote down before it ended; None if these are the last lines of its log."""
    try:
        return Outcome.model_validate_json(message)
    except ValidationError:
        return None


def _death(ended: Mapping[str, Any], code: int, told: Outcome | None) -> str:
    reason = ended.get("reason") or "Error"
    how = f"(exit code {code}{'' if reason == 'Error' else f', {reason}'})"
    if reason == "OOMKilled":
        return f"The worker was killed because it needed more memory than it may have {how}: {MEMORY_ADVICE}."
    if told:
        return f"The worker said that it was done, and then died {how}."
    last = _quote((ended.get("message") or "").strip().rpartition("\n")[2])
    return f"{last} {how}" if last else f"The worker died without a word {how}."


def _not_started(pod: Pod, reason: str, message: str) -> Outcome:
    """Return the outcome of a container that could not be started. If its image lacks the command, it never can be."""
    words = f"The image {_image(pod, CONTAINER)} could not be started ({reason}: {message}): check spec.workers.image."
    return Outcome(ok=False, kind=reason, permanent=bool(_NO_COMMAND.search(message)), message=words)


def _pod_end(pod: Pod) -> str:
    status = pod.get("status") or {}
    said = _joined(status.get("reason") or "", _quote(status.get("message") or ""))
    name = pod["metadata"]["name"]
    return f"Kubernetes ended the pod {name} ({said})." if said else f"The pod {name} ended without a word."


def _image(pod: Pod, name: str) -> str:
    containers = (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ()))
    return next((str(each["image"]) for each in containers if each["name"] == name), "")


def _obstacles(pod: Pod) -> Iterator[tuple[str, str, str]]:
    """Yield what keeps a pod from running as (reason, message, container), the first cause first.

    Reasons and messages are Kubernetes' own, but for two that it has no word for: ``NoVolumes`` and ``NoAnswer``.
    """
    conditions = {condition["type"]: condition for condition in (pod.get("status") or {}).get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        yield scheduled.get("reason", "Unschedulable"), scheduled.get("message", ""), CONTAINER
    waiting = (_container(pod).get("state") or {}).get("waiting")
    if not waiting:
        return
    reason = waiting.get("reason", "")
    if reason not in ("ContainerCreating", "PodInitializing"):
        yield reason, waiting.get("message", ""), CONTAINER
    elif conditions.get("PodReadyToStartContainers", {}).get("status") == "False":
        yield "NoVolumes", "", CONTAINER
    else:
        yield from _obstacles_beside(pod)


def _obstacles_beside(pod: Pod) -> Iterator[tuple[str, str, str]]:
    """Yield why sidecars are not up, for which the worker waits."""
    for status in (pod.get("status") or {}).get("initContainerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if waiting and reason not in ("ContainerCreating", "PodInitializing"):
            yield reason, waiting.get("message", ""), status["name"]
        elif "running" in (status.get("state") or {}) and not status.get("started"):
            yield "NoAnswer", "", status["name"]


def _explain(reason: str, message: str, pod: Pod, name: str) -> str:
    """Return the rest of the sentence: what the pod waits for, and what to do. ``name`` is the container's."""
    if reason == "SchedulingGated":
        return "is held back by a scheduling gate: whoever set it has to remove it."
    if reason == "Unschedulable":
        claim = re.search(r'persistentvolumeclaim "([^"]+)" not found', message)
        if claim:
            return f"waits for the PersistentVolumeClaim {claim[1]}, which does not exist: create it."
        return (
            f"finds no node ({message}): add one, or ask for less in spec.workers.gpus and "
            "spec.workers.template (resources, nodeSelector, tolerations, affinity)."
        )
    if "Image" in reason:
        return (
            f"cannot get the image {_image(pod, name)} ({_joined(reason, message)}): check "
            f"{IMAGE_FIELDS.get(name, 'evaluator.image')} and spec.workers.template.imagePullSecrets."
        )
    if reason == "CreateContainerConfigError":
        return _missing_config(message, pod["metadata"].get("namespace", ""))
    if reason == "NoVolumes":
        wanted = ", ".join(_volume_sources(pod)) or "none from outside"
        return (
            f"waits for its volumes ({wanted}) or its network: create what is missing; "
            f"kubectl describe pod {pod['metadata']['name']} names it."
        )
    if name != CONTAINER:
        why = "does not answer" if reason == "NoAnswer" else f"does not run ({_joined(reason, message)})"
        return f"waits for its {name}, which {why}: see kubectl logs {pod['metadata']['name']} --container {name}."
    return f"cannot start its worker ({_joined(reason, message)}): look at it with kubectl describe."


def _missing_config(message: str, namespace: str) -> str:
    missing = re.search(r'(secret|configmap) "([^"]+)" not found', message)
    if missing:
        kind = {"secret": "Secret", "configmap": "ConfigMap"}[missing[1]]
        return f"waits for the {kind} {missing[2]}, which does not exist in the namespace {namespace}: create it."
    key = re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) (?:\S+/)?(\S+)", message)
    if key:
        return f"waits for the key {key[1]} of the {key[2]} {key[3]} in the namespace {namespace}: add it."
    return f"has a configuration that its node refuses ({message}): check spec.workers.template."


def _volume_sources(pod: Pod) -> Iterator[str]:
    """Yield what volumes refer to that may not exist."""
    for volume in pod["spec"].get("volumes") or ():
        if "secret" in volume:
            yield f"Secret {volume['secret'].get('secretName')}"
        elif "configMap" in volume:
            yield f"ConfigMap {volume['configMap'].get('name')}"
        elif "persistentVolumeClaim" in volume:
            yield f"PersistentVolumeClaim {volume['persistentVolumeClaim'].get('claimName')}"


def _joined(reason: str, message: str) -> str:
    return ": ".join(filter(None, [reason, message]))


def _quote(text: str) -> str:
    """Return text on one line, without its last full stop, shortened."""
    line = " ".join(text.split()).removesuffix(".")
    return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}…"
