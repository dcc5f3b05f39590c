"""Deleting a run. Its Jobs go by their owner references; what it stored goes only if the manifest asks for it.

Only such runs carry our finalizer, so that others can be deleted whether or not an operator is there.
"""

from __future__ import annotations

import asyncio
import logging

from cycleqd.errors import CycleQDError, PermanentError
from cycleqd_operator.cluster import Cluster, NameTaken
from cycleqd_operator.conditions import Event
from cycleqd_operator.hands import Hands
from cycleqd_operator.labels import FINALIZER
from cycleqd_operator.run_store import delete_everything
from cycleqd_operator.stores import open_run_store
from cycleqd_operator.tracked import TrackedRun

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
"""Between two looks at pods that are stopping."""


async def protect(cluster: Cluster, run: TrackedRun) -> None:
    """Add our finalizer if the run wants its storage deleted and does not have it yet. Raises :class:`NameTaken`."""
    metadata = run.body["metadata"]
    finalizers = metadata.get("finalizers", [])
    if run.body["spec"]["storage"].get("deleteOnRemoval") and FINALIZER not in finalizers:
        await cluster.set_finalizers(run.ref, [*finalizers, FINALIZER], metadata["resourceVersion"])


async def remove(cluster: Cluster, hands: Hands, run: TrackedRun) -> float | None:
    """Stop a run that is being deleted, delete what it stored, and let it go.

    Returns:
        In how many seconds to look again; None: nothing is left to do.
    """
    metadata = run.body["metadata"]
    finalizers = metadata.get("finalizers", [])
    if FINALIZER not in finalizers:
        return None
    await hands.stop(run.jobs.values())
    if await cluster.pods_of_run(run.ref):
        return RETRY_SECONDS  # they would write results behind our back
    try:
        opened = await open_run_store(cluster, run.ref.namespace, run.placing.storage(run.body))
        await asyncio.to_thread(delete_everything, opened.store, run.ref.uid)
    except PermanentError as error:  # nobody can delete it for us: better to let the run go than to keep it for ever
        await _tell(cluster, run, f"What the run stored was not deleted: {error}")
    finalizers = [finalizer for finalizer in finalizers if finalizer != FINALIZER]
    try:
        await cluster.set_finalizers(run.ref, finalizers, metadata["resourceVersion"])
    except NameTaken:  # somebody changed the run meanwhile: its next event brings the version that we need
        return RETRY_SECONDS
    return None


async def _tell(cluster: Cluster, run: TrackedRun, message: str) -> None:
    try:
        await cluster.record(run.ref, Event("Warning", "StorageKept", message))
    except CycleQDError:
        logger.warning("%s/%s: %s", run.ref.namespace, run.ref.name, message)
