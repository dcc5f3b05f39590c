"""Which sidecars a worker's pod needs: none that its work and its run's tasks have no use for.

The run's first worker has all of them, so that one that does not come up is known before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterator

from cycleqd import sidecars as shared
from cycleqd.api.run import RunSpec
from cycleqd.plan import Work
from cycleqd_operator.container_sidecars import container_sidecars
from cycleqd_operator.mariadb_sidecar import mariadb_sidecar
from cycleqd_operator.sandbox_sidecar import sandbox_sidecar
from cycleqd_operator.settings import Settings
from cycleqd_operator.sidecar import PodPart


def sidecars(spec: RunSpec, work: Work, settings: Settings) -> Iterator[PodPart]:
    """Yield the sidecars of the worker that does ``work``, in the order in which they start.

    Raises:
        BadManifest: the run needs one that nobody can make.
    """
    meets = work.role != "prepare" or shared.is_first(spec, work.role, work.subject)
    # Who insists on it gets it everywhere: such a worker opens no other sandbox.
    if spec.sandbox == "Sidecar" or (meets and any(map(shared.runs_model_code, shared.evaluators(spec)))):
        sandbox = sandbox_sidecar(spec, settings)
        if sandbox:
            yield sandbox
    if not meets:
        return
    if any(map(shared.needs_mysql, shared.evaluators(spec))):
        yield mariadb_sidecar(spec, settings)
    yield from container_sidecars(spec)
