"""What the operator keeps of a Job: little, because there may be thousands. Its pods are asked for when they matter."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from cycleqd.api.run import KIND
from cycleqd.errors import BadData
from cycleqd.plan import Work
from cycleqd_operator import labels
from cycleqd_operator.work_record import read_work

JobState = Literal["Active", "Complete", "Failed"]


@dataclass(frozen=True, slots=True)
class JobView:
    """One of our Jobs.

    Attributes:
        name: of the Job.
        namespace: it lives in.
        uid: of the Job.
        run_name: of the run that owns it.
        run_uid: of that run.
        work: that its worker does.
        spec_digest: of the spec that it was made from (:func:`~cycleqd_operator.work_record.spec_digest`).
        generation: of that spec.
        state: Active until the last pod is gone, then Complete or Failed.
        reason: why it failed, in Kubernetes' words.
        message: likewise, a sentence.
        active: pods that exist and have not ended.
        ready: those of them whose worker runs.
        terminating: pods on their way out.
        suspended: whether somebody, usually a queue, holds it back.
        created_at: Unix time in seconds.
        ended_at: likewise; None while it is active.
        deleting: whether it is being deleted.
    """

    name: str
    namespace: str
    uid: str
    run_name: str
    run_uid: str
    work: Work
    spec_digest: str
    generation: int
    state: JobState
    reason: str
    message: str
    active: int
    ready: int
    terminating: int
    suspended: bool
    created_at: float
    ended_at: float | None
    deleting: bool

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self | None:
        """Return the view of a Job as the API server tells it.

        None for a Job that only looks like ours: no run owns it, or its annotations are not what we write.
        """
        metadata = body["metadata"]
        owner = _owner(metadata)
        annotations = metadata.get("annotations") or {}
        try:
            work = read_work(annotations[labels.WORK])
            digest, generation = annotations[labels.SPEC], int(annotations[labels.GENERATION])
        except (BadData, KeyError, ValueError):
            return None
        if owner is None:
            return None
        status = body.get("status") or {}
        state, condition = _ended(status)
        # Texts that many Jobs share are kept once.
        return cls(
            name=metadata["name"],
            namespace=sys.intern(metadata["namespace"]),
            uid=metadata["uid"],
            run_name=sys.intern(owner["name"]),
            run_uid=sys.intern(owner["uid"]),
            work=work,
            spec_digest=sys.intern(digest),
            generation=generation,
            state=state,
            reason=condition.get("reason", "") if state == "Failed" else "",
            message=condition.get("message", "") if state == "Failed" else "",
            active=status.get("active") or 0,
            ready=status.get("ready") or 0,
            terminating=status.get("terminating") or 0,
            suspended=bool(body["spec"].get("suspend")),
            created_at=_unix(metadata["creationTimestamp"]),
            ended_at=_unix(condition["lastTransitionTime"]) if state != "Active" else None,
            deleting="deletionTimestamp" in metadata,
        )


def _owner(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the reference to the run that controls a Job."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner["kind"] == KIND:
            found: Mapping[str, Any] = owner
            return found
    return None


def _ended(status: Mapping[str, Any]) -> tuple[JobState, Mapping[str, Any]]:
    """Return a Job's state and the condition that says so.

    ``FailureTarget`` and ``SuccessCriteriaMet`` only announce an end: pods may still run, and write results.
    """
    for condition in status.get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return condition["type"], condition
    return "Active", {}


def _unix(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
