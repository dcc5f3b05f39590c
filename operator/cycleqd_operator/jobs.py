"""The Jobs of a run, as the API server wants them. Pure: what they are built from decides every byte.

What runs inside a Job's pod is :mod:`cycleqd_operator.pods`'s business; when a Job is needed, the planner's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from cycleqd.api.run import API_VERSION, KIND, RunSpec
from cycleqd.errors import EXIT_BAD_INPUT, EXIT_TERMINATED
from cycleqd.labels import CONTAINER
from cycleqd.plan import Work
from cycleqd_operator import labels
from cycleqd_operator.job_view import JobView
from cycleqd_operator.pods import pod_template
from cycleqd_operator.run_ref import RunRef
from cycleqd_operator.settings import Settings
from cycleqd_operator.work_record import spec_digest, write_work

Body = dict[str, Any]

LONGEST_NAME = 63
"""Characters. Job names may be longer, but they become a label of the pods, which may not."""


def job_name(run_name: str, work: Work, experts: Sequence[str], attempt: int = 0) -> str:
    """Return the name of the Job that does ``work``: a DNS label, the same for the same work and attempt.

    Args:
        run_name: a DNS label.
        work: to do; its expert is one of ``experts``, and breeding and evaluating have at least one id.
        experts: names, in the order of the spec.
        attempt: how often a worker failed at this before.
    """
    number: list[object] = []
    if work.role == "prepare":
        number = [experts.index(work.subject)]
    elif work.role != "finalize":
        number = [work.ids[0]]
    end = "".join(f"-{part}" for part in [work.role, *number, *([attempt] if attempt else [])])
    if len(run_name) + len(end) > LONGEST_NAME:
        digest = hashlib.sha256(run_name.encode()).hexdigest()[:8]
        run_name = f"{run_name[: LONGEST_NAME - len(end) - len(digest) - 1]}-{digest}"
    return run_name + end


def build_job(run: RunRef, spec: RunSpec, work: Work, *, attempt: int, settings: Settings, has_ca_bundle: bool) -> Body:
    """Return the Job that does ``work``.

    Args:
        run: that owns the Job: it is deleted with it.
        spec: of the run.
        work: to do.
        attempt: how often a worker failed at this before.
        settings: of the operator.
        has_ca_bundle: whether the storage's Secret brings certificates.

    Raises:
        BadManifest: the run's pod template asks for what its workers must not have.
    """
    names = _labels(run, work)
    queue = {labels.KUEUE_QUEUE: spec.workers.queue_name} if spec.workers.queue_name else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run.name, work, [expert.name for expert in spec.experts], attempt),
            "namespace": run.namespace,
            "labels": names | queue,
            "annotations": {
                labels.WORK: write_work(work),
                labels.SPEC: spec_digest(spec),
                labels.GENERATION: str(run.generation),
            },
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": run.name,
                    "uid": run.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,  # the operator repeats work, as a new Job that begins at the first missing result
            "podReplacementPolicy": "Failed",  # a pod that is still stopping may hold the GPU, and still writes
            "podFailurePolicy": {"rules": _failure_rules()},
            "ttlSecondsAfterFinished": settings.job_ttl_seconds,
            "template": pod_template(spec, work, names, settings, has_ca_bundle=has_ca_bundle),
        },
    }


def is_ours(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether the Job ``there`` may stand for ``wanted``, the one we built: same run, same spec, and watched.

    Its work may be another than the wanted one that begins at the same place; its annotation says which.
    """
    view = JobView.of(there)
    metadata = wanted["metadata"]
    identity = metadata["labels"][labels.RUN_UID], metadata["annotations"][labels.SPEC]
    is_watched = (there["metadata"].get("labels") or {}).get(labels.MANAGED_BY) == labels.MANAGER
    return view is not None and is_watched and (view.run_uid, view.spec_digest) == identity


def _labels(run: RunRef, work: Work) -> dict[str, str]:
    return {
        labels.NAME: "cycleqd",
        labels.COMPONENT: "worker",
        labels.MANAGED_BY: labels.MANAGER,
        labels.INSTANCE: run.name,
        labels.RUN: run.name,
        labels.RUN_UID: run.uid,
        labels.ROLE: work.role,
    }


def _failure_rules() -> list[Body]:
    """Return what a pod's end means, the first rule that fits; without one, the pod's failure is the Job's."""
    return [
        # Lost nodes, preemption, eviction, deleted pods: Kubernetes makes a new pod.
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_BAD_INPUT]},
        },
        # Some disruptions set no condition, but whoever stopped the worker did not mean the Job.
        {
            "action": "Ignore",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_TERMINATED]},
        },
    ]
