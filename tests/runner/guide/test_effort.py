"""The memory that guidance takes, measured against memory that a test takes."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
import torch

from cycleqd_runner.guide.effort import Watch

MIB = 2**20


def take(mebibytes: int) -> None:
    """Have so much memory for a moment; it is given back to the system at once."""
    with mmap.mmap(-1, mebibytes * MIB) as memory:
        for page in range(0, len(memory), mmap.PAGESIZE):
            memory[page] = 1


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="counts what is resident on Linux")
def test_the_peak_is_what_was_taken_meanwhile_however_much_it_was_before() -> None:
    take(400)
    watch = Watch()
    take(100)
    taken = watch.taken()
    assert 95 * MIB < taken.peak_bytes < 200 * MIB
    assert not taken.on_gpu
    assert taken.seconds > 0
    assert Watch().taken().peak_bytes < 50 * MIB, "what was given back before is forgotten"


def test_a_system_that_does_not_tell_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cycleqd_runner.guide.effort._CLEAR", Path("/nowhere/at/all"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    watch = Watch()
    take(100)
    assert watch.taken().peak_bytes == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_peak_is_all_that_was_allocated() -> None:
    model = torch.zeros(64 * MIB, dtype=torch.uint8, device="cuda")
    torch.zeros(512 * MIB, dtype=torch.uint8, device="cuda")
    watch = Watch()
    (model[: 32 * MIB] + 1).sum()
    taken = watch.taken()
    assert taken.on_gpu
    assert 96 * MIB <= taken.peak_bytes < 512 * MIB
