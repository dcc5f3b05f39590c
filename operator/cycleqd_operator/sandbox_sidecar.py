"""The sandbox beside a worker: model-written code runs in a container that holds no credentials and no model.

What keeps the code in is :mod:`cycleqd_runner.sandbox`'s business, which the image has inside.
"""

from __future__ import annotations

from cycleqd import sidecars as shared
from cycleqd.api.run import RunSpec
from cycleqd.errors import BadManifest
from cycleqd_operator.settings import Settings
from cycleqd_operator.sidecar import Meeting, PodPart, container, memory_limit

USER = 65533
"""Uid: neither the worker's nor root."""
SOCKET = f"{shared.SANDBOX_FOLDER}/socket"
ANSWERS = ("python3", "-B", "-m", "jail.serve", "--socket", SOCKET, "--probe")
"""Command that succeeds if the sandbox answers."""

PLACES = 64
"""Executions and machines for whose files there is room at one time; the worker seldom has more under way."""
FOR_PROCESSES_MEBIBYTES = 1024
"""Memory beside that for files. Code may use its ``limits.memoryMebibytes`` per process; most of it needs a few."""


def sandbox_sidecar(spec: RunSpec, settings: Settings) -> PodPart | None:
    """Return the sandbox beside a worker that may run model-written code; None if it is inside the worker.

    Raises:
        BadManifest: the run wants it beside the worker, and nobody says with which image.
    """
    wanted = spec.workers.sidecars.sandbox
    image = wanted.image or settings.sandbox_image
    if not image:
        if spec.sandbox == "Sidecar":
            raise BadManifest(
                "spec.sandbox is Sidecar, but the operator has no image for it: choose Auto, set "
                "spec.workers.sidecars.sandbox.image, or install the chart with sandbox.sidecar=true."
            )
        return None
    if spec.sandbox not in ("Auto", "Sidecar"):
        return None
    room = PLACES * max(task.limits.files_mebibytes for task in spec.tasks)
    # In memory, where the size is the kernel's to keep: code that fills a disk would get the whole pod evicted.
    files = {"medium": "Memory", "sizeLimit": f"{room}Mi"}
    limit = f"{room + FOR_PROCESSES_MEBIBYTES}Mi"
    return PodPart(
        container(
            "sandbox",
            image,
            user=USER,
            mounts={shared.SANDBOX_FOLDER: "cycleqd-sandbox", "/tmp": "cycleqd-sandbox-tmp"},  # noqa: S108 - its own
            resources=wanted.resources or memory_limit("128Mi", limit),
            probe=ANSWERS,
            pull_policy=settings.sandbox_image_pull_policy,
        ),
        Meeting("cycleqd-sandbox", shared.SANDBOX_FOLDER, shared.SANDBOX_SOCKET, SOCKET),
        ({"name": "cycleqd-sandbox-tmp", "emptyDir": files},),
    )
