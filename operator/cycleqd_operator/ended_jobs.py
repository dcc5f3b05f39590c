"""What an ended Job means: nothing, or a note that a worker failed."""

from __future__ import annotations

import time

from cycleqd.failures import Failure
from cycleqd.orders import Outcome
from cycleqd_operator.cluster import Cluster
from cycleqd_operator.job_view import JobView
from cycleqd_operator.pod_view import outcome_of
from cycleqd_operator.run_store import StoreView


async def failure_of(cluster: Cluster, job: JobView, view: StoreView) -> Failure | None:
    """Return what to note about an ended Job, or None if all is well.

    Args:
        cluster: to ask for the Job's pods.
        job: that has ended.
        view: of the store, read after the Job's end was seen.
    """
    missing = [individual for individual in job.work.ids if individual not in view.done]
    is_complete = job.state == "Complete"
    if is_complete and not missing and (job.work.role != "prepare" or job.work.subject in view.prepared):
        return None
    pods = await cluster.pods_of_job(job.namespace, job.name)
    outcome = outcome_of(pods[-1]) if pods else Outcome(ok=is_complete, kind="PodDeleted", message=job.message)
    if is_complete and (outcome.drained or not pods):
        return None  # the worker stopped because the run was paused; without pods nobody can tell, and nothing is lost
    return Failure(
        job=job.name,
        role=job.work.role,
        expert=job.work.subject,
        individual=missing[0] if missing else None,
        kind=outcome.kind,
        permanent=outcome.permanent,
        message=outcome.message or "The worker ended as if all was well, but its results are missing.",
        generation=job.generation,
        node=str(pods[-1]["spec"].get("nodeName") or "") if pods else "",
        at=job.ended_at or time.time(),
    )
