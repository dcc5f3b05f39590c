"""A program in a container of the worker's pod, asked through a folder that both share.

The container's loop is the operator's (``cycleqd_operator.container_sidecars``): a folder with a file ``environment``
is a request, ``started`` says that it was seen, ``exit`` that the program has ended, and ``stop`` asks to kill it.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cycleqd.errors import Unscored
from cycleqd_runner.tasks.container.launcher import ITEMS, files_in
from cycleqd_runner.tasks.container.results import Unreadable, read_file

START_SECONDS = 330.0
"""How long a container may take to see a request: Kubernetes waits up to 300 s before it starts a dead one again."""
KILL_SECONDS = 10.0
"""How long a killed program may take to be gone; a worker that has to stop leaves sooner, and the pod with it."""
POLL_SECONDS = 0.05
"""Between looks at the folder, which lies in the same machine's memory or disk."""


class BesideWorker:
    """Asks one container.

    Args:
        folder: that it shares with the worker.
        start_seconds: how long it may take to see a request.
    """

    def __init__(self, folder: Path, start_seconds: float = START_SECONDS) -> None:
        self._folder, self._start_seconds = folder, start_seconds

    @asynccontextmanager
    async def launch(self, items: bytes, environment: Mapping[str, str]) -> AsyncIterator[_Request]:
        """See :meth:`~cycleqd_runner.tasks.container.launcher.Launcher.launch`."""
        request = _Request(self._folder / secrets.token_hex(8))
        request.folder.mkdir()
        try:
            (request.folder / ITEMS).write_bytes(items)
            request.send({**files_in(str(request.folder)), **environment})
            await request.begun(self._start_seconds)
            yield request
        finally:
            await request.stop()
            shutil.rmtree(request.folder, ignore_errors=True)


class _Request:
    """One run of the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def send(self, environment: Mapping[str, str]) -> None:
        """Ask for a run with these variables."""
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        part = self.folder / "environment.part"
        part.write_text("".join(lines), encoding="utf-8")
        part.rename(self.folder / "environment")

    async def begun(self, seconds: float) -> None:
        """Wait until the container has seen the request. Raises Unscored if it does not."""
        if not await self._appears("started", seconds):
            raise Unscored(f"The container beside the worker saw no request for {seconds:g} s: see its log.")

    async def ended(self) -> int:
        """Wait for the program's end and return its exit code."""
        await self._appears("exit", float("inf"))
        try:
            return int(read_file(self.folder / "exit", 16))
        except (Unreadable, ValueError) as error:
            raise Unscored(f"The container beside the worker gave no exit code ({error}): see its log.") from error

    async def stop(self) -> None:
        """Have the program killed unless it has ended, and wait a little for its end."""
        if not (self.folder / "exit").exists():
            (self.folder / "stop").touch()
            if (self.folder / "started").exists():
                await self._appears("exit", KILL_SECONDS)

    async def _appears(self, name: str, seconds: float) -> bool:
        """Wait for a file; False: it did not come."""
        deadline = time.monotonic() + seconds
        while not (self.folder / name).exists():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True
