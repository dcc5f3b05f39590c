"""The operator as a process of this machine: started, looked at through /proc and its metrics, stopped."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
READY_SECONDS = 60
SETTLE_SECONDS = 5
"""From the first answer until the watches stand."""


@dataclass(frozen=True)
class Sample:
    """What the operator has used so far.

    Attributes:
        at: seconds of :func:`time.monotonic`.
        cpu: seconds of processor time since it started.
        resident: MiB.
        looks: looks at runs.
        look_seconds: what they took together, on the clock.
        store_calls: calls to stores.
    """

    at: float
    cpu: float
    resident: float
    looks: float
    look_seconds: float
    store_calls: float


class Operator:
    """``python -m cycleqd_operator`` with settings from the environment. Use it in ``async with``."""

    def __init__(self, namespace: str, log: Path) -> None:
        """Serve the runs of one namespace.

        Args:
            namespace: with the runs.
            log: file that gets what the operator logs.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        settings = {
            "CYCLEQD_NAMESPACES": namespace,
            "CYCLEQD_WORKER_IMAGE": "localhost/nothing:1",
            "CYCLEQD_PORT": str(self._port),
            "CYCLEQD_LEADER_ELECTION": "false",
        }
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("CYCLEQD_")}
        self._environment |= settings
        self._log = log

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "cycleqd_operator"]
            self._process = subprocess.Popen(  # noqa: ASYNC220 - once, before anything is measured
                command, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_SECONDS
        while not await asyncio.to_thread(self._answers):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The operator did not start; the end of its log:\n{self.tail()}")
            await asyncio.sleep(0.2)
        await asyncio.sleep(SETTLE_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, 30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self, lines: int = 20) -> str:
        """Return the end of the log."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def sample(self) -> Sample:
        """Return what the operator has used so far."""
        folder = Path(f"/proc/{self._process.pid}")
        fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        kibibytes = re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text(encoding="utf-8"))
        figures = _figures(self._get("/metrics"))
        return Sample(
            at=time.monotonic(),
            cpu=(int(fields[11]) + int(fields[12])) / TICKS,
            resident=int(kibibytes[1]) / 1024 if kibibytes else 0.0,
            looks=figures.get("cycleqd_operator_reconcile_duration_seconds_count", 0.0),
            look_seconds=figures.get("cycleqd_operator_reconcile_duration_seconds_sum", 0.0),
            store_calls=figures.get("cycleqd_s3_request_duration_seconds_count", 0.0),
        )

    def _answers(self) -> bool:
        try:
            return bool(self._get("/readyz"))
        except OSError:
            return False

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as response:
            return str(response.read().decode())


def _figures(text: str) -> dict[str, float]:
    """Return the metrics without labels."""
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, value in lines}
