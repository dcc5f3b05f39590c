"""Runs model-written code where it can do no harm: ``interface`` says what, ``client`` asks, ``jail`` keeps it in.

``async with open_sandbox() as sandbox: completed = await sandbox.run(Execution(python=source), limits)``
Several commands in one place that code is root of: ``async with sandbox.machine(MachineSpec(), limits) as machine:``.
"""

from __future__ import annotations

from cycleqd_runner.sandbox.client import HostSandbox, available, candidates, open_sandbox
from cycleqd_runner.sandbox.hosts import HostSettings
from cycleqd_runner.sandbox.interface import Completed, Entry, Execution, Kind, Machine, MachineSpec, Sandbox

__all__ = [
    "Completed",
    "Entry",
    "Execution",
    "HostSandbox",
    "HostSettings",
    "Kind",
    "Machine",
    "MachineSpec",
    "Sandbox",
    "available",
    "candidates",
    "open_sandbox",
]
