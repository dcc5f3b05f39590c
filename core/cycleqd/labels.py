"""Names by which the objects of a run are found in a cluster: operator and command agree on them."""

from __future__ import annotations

RUN = "cycleqd.dev/run"
"""Label of Jobs and pods: name of their run."""
RUN_UID = "cycleqd.dev/run-uid"
"""Label of Jobs and pods: uid of their run, which tells it from earlier runs of that name."""
ROLE = "cycleqd.dev/role"
"""Label of Jobs and pods: what their worker does."""
WORK = "cycleqd.dev/work"
"""Annotation of a Job: its work, as JSON with ids as ranges."""
CONTAINER = "worker"
"""The container of a pod that the run's worker is in; sandboxes are beside it."""
