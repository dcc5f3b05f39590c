"""Items that a program in any image asks and judges: ``evaluator`` has the program run, ``conversations`` answers it.

``gathering`` makes one run of the many items that are asked at once; ``results`` reads what the program found. Where it
runs is behind ``launchers``: ``beside`` is a container in the worker's pod, ``docker`` one that the worker starts.
The protocol is in docs/evaluators.md.
"""

from __future__ import annotations

from cycleqd_runner.tasks.container.evaluator import Container, container_evaluator

__all__ = ["Container", "container_evaluator"]
