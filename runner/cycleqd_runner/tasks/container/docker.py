"""A program in a container that this process starts with ``docker`` or ``podman``, which have the same command line."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cycleqd.errors import Unscored
from cycleqd_runner.tasks.container.launcher import ITEMS, LOG, files_in

FOLDER = "/run/cycleqd"
"""Where the program sees its files."""

CONFINED = (
    "--rm",
    "--network=host",  # the model is asked on 127.0.0.1
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--security-opt=label=disable",  # with SELinux a container would not see a folder of ours
    f"--workdir={FOLDER}",
)


class Docker:
    """Starts containers of one image.

    Args:
        program: path of ``docker`` or ``podman``.
        image: pulled with the first start, where it is not there.
        command: takes the place of the image's entry point; empty: keeps it.
    """

    def __init__(self, program: str, image: str, command: Sequence[str]) -> None:
        self._program, self._image, self._command = program, image, command
        self._pulling = asyncio.Lock()
        self._is_there = False

    @asynccontextmanager
    async def launch(self, items: bytes, environment: Mapping[str, str]) -> AsyncIterator[_Started]:
        """See :meth:`~cycleqd_runner.tasks.container.launcher.Launcher.launch`."""
        async with self._pulling:
            await self._pull()
        name = f"cycleqd-{secrets.token_hex(8)}"
        with tempfile.TemporaryDirectory(prefix="cycleqd-container-", ignore_cleanup_errors=True) as private:
            folder = _folder_in(private, items)
            process: Process | None = None
            try:
                process = await self._run(name, folder, {**files_in(FOLDER), **environment})
                yield _Started(folder, process)
            finally:
                await self._stop(name, process)

    async def _run(self, name: str, folder: Path, variables: Mapping[str, str]) -> Process:
        with (folder / LOG).open("wb") as log:
            return await asyncio.create_subprocess_exec(
                self._program,
                *self._arguments(name, folder, variables),
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                env={**os.environ, **variables},
                start_new_session=True,  # an interrupt at the terminal is the worker's to handle
            )

    def _arguments(self, name: str, folder: Path, variables: Mapping[str, str]) -> list[str]:
        """Return what is behind ``docker``. Values of variables, one of which is a key, are not among it."""
        entry, *rest = self._command or ("",)
        return [
            "run",
            f"--name={name}",
            *CONFINED,
            f"--volume={folder}:{FOLDER}",
            *(f"--env={variable}" for variable in variables),
            *([f"--entrypoint={entry}"] if entry else []),
            self._image,
            *rest,
        ]

    async def _pull(self) -> None:
        """Bring the image here, which may take minutes, unless it is there."""
        if self._is_there or (await self._say("image", "inspect", self._image))[0] == 0:
            self._is_there = True
            return
        code, printed = await self._say("pull", self._image)
        if code:
            raise Unscored(f"The image {self._image} cannot be pulled ({' '.join(printed.split())[-300:]}).")
        self._is_there = True

    async def _stop(self, name: str, process: Process | None) -> None:
        if process is None or process.returncode is None:
            await self._say("kill", name)  # the container goes on without who started it
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _say(self, *arguments: str) -> tuple[int, str]:
        """Run one of its commands; return exit code and errors."""
        process = await asyncio.create_subprocess_exec(
            self._program, *arguments, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, start_new_session=True
        )
        _, errors = await process.communicate()
        return process.returncode or 0, errors.decode(errors="replace")


def _folder_in(private: str, items: bytes) -> Path:
    """Return a new folder for whatever user the image has; nobody else comes through the private one above it."""
    folder = Path(private, "files")
    folder.mkdir()
    folder.chmod(0o777)
    (folder / ITEMS).write_bytes(items)
    return folder


class _Started:
    """One container."""

    def __init__(self, folder: Path, process: Process) -> None:
        self.folder, self._process = folder, process

    async def ended(self) -> int:
        """Wait for the program's end and return its exit code."""
        return await self._process.wait()
