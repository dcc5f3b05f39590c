"""Which launcher starts an image's program here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cycleqd.api.tasks import ContainerEvaluator
from cycleqd.errors import UnsupportedHere
from cycleqd.sidecars import CONTAINERS, container_key
from cycleqd_runner.tasks.container.beside import BesideWorker
from cycleqd_runner.tasks.container.docker import Docker
from cycleqd_runner.tasks.container.launcher import Launcher

PROGRAMS = ("docker", "podman")
"""Commands that start containers; the first that is there is taken."""


def open_launcher(spec: ContainerEvaluator) -> Launcher:
    """Return what starts the program here; nothing is started yet.

    Raises:
        UnsupportedHere: nothing here can.
    """
    if CONTAINERS in os.environ:
        folder = Path(os.environ[CONTAINERS], container_key(spec.image, spec.command))
        if not folder.is_dir():
            raise UnsupportedHere(
                f"No container of the image {spec.image} is beside this worker (there is no folder {folder}): "
                "the operator that started it is older or knew other tasks; start the run again."
            )
        return BesideWorker(folder)
    program = next((found for found in map(shutil.which, PROGRAMS) if found), None)
    if program is None:
        raise UnsupportedHere(
            f"The Container evaluator of the image {spec.image} needs {' or '.join(PROGRAMS)}, and neither is here: "
            "install one of them, or run on a cluster."
        )
    return Docker(program, spec.image, spec.command)
