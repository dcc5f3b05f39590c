"""What a machine's commands tell on their report, in whatever order and pieces it comes."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from cycleqd_runner.sandbox.jail.machine import _Command


@pytest.mark.parametrize(
    ("told", "later", "number", "exit_code"),
    [
        pytest.param(b"P71\n", b"S3\n", 71, 3, id="one after the other"),
        pytest.param(b"P71\nS3\n", b"", 71, 3, id="together"),
        pytest.param(b"S3\nP71\n", b"", 71, 3, id="the shell was faster"),
        pytest.param(b"P71\n", b"", 71, -9, id="killed"),
        pytest.param(b"P0\n", b"", 0, -9, id="not started"),
        pytest.param(b"P71\n", b"Sx\nS300\n", 71, 300 & 0xFF, id="nonsense between"),
        pytest.param(b"P71\n", b"x" * 60000 + b"\nS0\n", 71, -9, id="flood"),
    ],
)
def test_reports(told: bytes, later: bytes, number: int, exit_code: int) -> None:
    job: Any = SimpleNamespace(limits=SimpleNamespace(output_kibibytes=1))
    machine: Any = None
    command = _Command(machine, job, [])
    try:
        os.set_blocking(command._report, False)
        os.write(command._pipes[2][1], told)
        assert command._number() == number
        os.write(command._pipes[2][1], later)
        assert command._exit_code() == exit_code
    finally:
        for pipe in command._pipes:
            for descriptor in pipe:
                os.close(descriptor)
