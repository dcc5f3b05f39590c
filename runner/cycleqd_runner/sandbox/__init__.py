"""Runs model-written code where it can do no harm. ``interface`` says what, ``client`` starts it, ``jail`` keeps it in.

``async with open_sandbox() as sandbox: completed = await sandbox.run(Execution(python=source), limits)``
"""

from __future__ import annotations

from cycleqd_runner.sandbox.client import HostSandbox, HostSettings, available, open_sandbox
from cycleqd_runner.sandbox.interface import Completed, Entry, Execution, Kind, Sandbox

__all__ = [
    "Completed",
    "Entry",
    "Execution",
    "HostSandbox",
    "HostSettings",
    "Kind",
    "Sandbox",
    "available",
    "open_sandbox",
]
