"""Where the sandbox's host is: a process of the worker's own, or one that listens in a container beside it."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cycleqd.errors import Unscored, UnsupportedHere
from cycleqd_runner.sandbox.jail import wire
from cycleqd_runner.sandbox.jail.host_process import HostProcess

SOCKET_VARIABLE = "CYCLEQD_SANDBOX_SOCKET"
"""Environment variable that holds the path of the sidecar's socket."""
_WAIT_SECONDS = 60.0
"""How long a sidecar may take to start, or to start again."""
_PAUSE_SECONDS = 0.2
_GREETING_SECONDS = 10.0


@dataclass(frozen=True)
class HostSettings:
    """How the host is started or found. The defaults are right for every worker."""

    folder: Path | None = None
    """Where the host's temporary folder is made; None: the system's default."""
    user: int | None = None
    """User that the host becomes first (a worker that is root can give that up); None: the worker's."""
    newest_landlock: int = 99
    """Newest version of Landlock's interface to use; lower ones imitate older kernels."""
    concurrency: int | None = None
    """Executions at one time; None: number of CPUs + 2. At most 64."""
    socket: Path | None = None
    """The sidecar's socket; None: as the environment says."""
    patience_seconds: float = _WAIT_SECONDS
    """How long to wait for a sidecar that does not answer."""


class HostDiedError(Exception):
    """The host or a supervisor went away without an answer."""


class Host(Protocol):
    """A host that takes requests."""

    no_machines: str
    """Why there can be no machines; empty if there can."""
    pid: int
    """Its process, as it is numbered where it runs."""

    def connect(self) -> socket.socket:
        """Return a new non-blocking connection, for one request or one machine. Raises HostDiedError."""

    def is_dead(self) -> bool:
        """Whether it will not answer any more and has to be replaced."""

    def close(self) -> None:
        """End it, if it is ours. Can be called twice."""


class LocalHost:
    """A host that is a process of the worker's own."""

    def __init__(self, kind: str, settings: HostSettings) -> None:
        """Start it and wait until it is ready. Raises UnsupportedHere, Unscored."""
        folder = None if settings.folder is None else str(settings.folder)
        try:
            self._process = HostProcess(
                kind, folder=folder, user=settings.user, newest_landlock=settings.newest_landlock
            )
        except OSError as error:
            raise Unscored(f"the sandbox's host process could not be started ({error}); try again") from error
        try:
            said = self._process.wait_until_ready()
        except OSError as error:
            self.close()
            raise Unscored(
                "the sandbox's host process ended or hung before it was ready; see its messages, try again"
            ) from error
        if "missing" in said:
            self.close()
            raise UnsupportedHere(f"sandbox {kind} is not to be had: {said['missing']}")
        self.no_machines: str = said["no_machines"]
        self.pid = self._process.process.pid
        self.folder = Path(self._process.root)

    def connect(self) -> socket.socket:
        """See Host."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._process.control, [b"x"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise HostDiedError(str(error)) from error
        ours.setblocking(False)
        return ours

    def is_dead(self) -> bool:
        """See Host."""
        return self._process.process.poll() is not None

    def close(self) -> None:
        """See Host."""
        self._process.close()


class SidecarHost:
    """A host in a container beside the worker's, which shares nothing with it but a socket."""

    def __init__(self, settings: HostSettings) -> None:
        """Find it, waiting for one that is starting. Raises UnsupportedHere, Unscored."""
        path = settings.socket or os.environ.get(SOCKET_VARIABLE)
        if not path:
            raise UnsupportedHere(
                f"sandbox Sidecar is not to be had: {SOCKET_VARIABLE} does not name its socket; "
                "it is set in the pods of runs that have `sandbox: Sidecar` or `Auto`"
            )
        self._path = str(path)
        deadline = time.monotonic() + settings.patience_seconds
        while True:
            try:
                said = self._greet()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Unscored(
                        f"the sandbox's sidecar does not answer on {self._path} ({error}); see its container's log"
                    ) from error
                time.sleep(_PAUSE_SECONDS)
        self.no_machines: str = said["no_machines"]
        self.pid: int = said["pid"]

    def _greet(self) -> wire.Header:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_GREETING_SECONDS)
            connection.connect(self._path)
            connection.sendall(wire.pack({"do": "greet"}))
            answer = wire.receive(connection)
        if answer is None:
            raise ConnectionResetError("it closed the connection")
        return answer[0]

    def connect(self) -> socket.socket:
        """See Host."""
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise HostDiedError(str(error)) from error
        return connection

    def is_dead(self) -> bool:
        """See Host."""
        try:
            self._greet()
        except OSError:
            return True
        return False

    def close(self) -> None:
        """See Host. The container ends with its pod."""


def start_host(kind: str, settings: HostSettings) -> LocalHost | SidecarHost:
    """Start or find a host. Raises UnsupportedHere, Unscored."""
    return SidecarHost(settings) if kind == "Sidecar" else LocalHost(kind, settings)
