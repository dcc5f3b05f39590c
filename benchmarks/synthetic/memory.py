"""Peak memory of one piece of work: a script runs itself in a process that does nothing else, and tells."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIB = float(1 << 20)


@dataclass(frozen=True)
class Cost:
    """What a piece of work took.

    Attributes:
        seconds: of processor time, so that a busy machine does not decide.
        peak: bytes of resident memory at its peak, above what the process had before (torch imported). Pages of files
            that are mapped count.
    """

    seconds: float
    peak: float


def cost(work: Callable[[], object]) -> Cost:
    """Do ``work`` and return what it took; Linux only."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before, start = _status("VmRSS"), time.process_time()
    work()
    return Cost(time.process_time() - start, _status("VmHWM") - before)


def cost_elsewhere(module: str, *arguments: str) -> Cost:
    """Run ``python -m module arguments`` and return the cost that it prints with :func:`tell`."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def tell(found: Cost) -> None:
    """Print a cost for :func:`cost_elsewhere`."""
    print(json.dumps(vars(found)))


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
