"""How long guidance takes, and how much memory: measured from outside, by whoever guides."""

from __future__ import annotations

import re
import time
from pathlib import Path

import torch

from cycleqd.records import Guidance

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_FORGET_PEAK = "5"
"""Sets the peak of the resident set back to what is resident (Linux, proc(5)); pages stay as they are."""
_KIBIBYTE = 1024


class Watch:
    """Measures from its making on."""

    def __init__(self) -> None:
        """Forget earlier peaks of this process."""
        self._gpu = torch.cuda.is_available()
        self._before = 0
        if self._gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            self._before = _forget_peak()
        self._start = time.perf_counter()

    def taken(self) -> Guidance:
        """Return what was taken so far."""
        seconds = time.perf_counter() - self._start
        if self._gpu:
            return Guidance(seconds=seconds, peak_bytes=torch.cuda.max_memory_allocated(), on_gpu=True)
        return Guidance(seconds=seconds, peak_bytes=max(0, _peak() - self._before) if self._before else 0)


def _forget_peak() -> int:
    """Return the resident bytes, which are the peak from now on; 0 where the system cannot forget the earlier one."""
    try:
        _CLEAR.write_text(_FORGET_PEAK, encoding="ascii")
    except OSError:  # another system than Linux, or a sandbox that hides it
        return 0
    return _peak()


def _peak() -> int:
    """Return the most bytes that were resident since the earlier peak was forgotten; 0: not known."""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * _KIBIBYTE if found else 0
