"""Starting and ending the host as a process. Used by the worker, and by the server of a sandbox beside it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

from . import wire
from .tree import remove

_START_SECONDS = 60.0
_END_SECONDS = 5.0
_CHUNK = 1 << 20
_START_HOST = "import sys; sys.path.insert(0, sys.argv.pop()); from jail.host import main; main()"


class HostProcess:
    """One host, its control socket and its folder."""

    def __init__(
        self,
        kind: str,
        *,
        folder: str | None = None,
        user: int | None = None,
        newest_landlock: int = 99,
        listener: socket.socket | None = None,
    ) -> None:
        """Start a host; :class:`~.providers.Setup` says what the arguments are. Raises OSError."""
        self.root = tempfile.mkdtemp(prefix="cycleqd-sandbox-", dir=folder)
        os.chmod(self.root, 0o711)  # noqa: S103 - the users of the slots pass through
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        passed = [theirs.fileno(), *([] if listener is None else [listener.fileno()])]
        options = {"kind": kind, "root": self.root, "user": user, "newest_landlock": newest_landlock}
        options["listener"] = None if listener is None else listener.fileno()
        command = [sys.executable, "-s", "-S", "-P", "-B", "-c", _START_HOST, str(theirs.fileno()), json.dumps(options)]
        try:
            self.process = subprocess.Popen(
                [*command, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))],
                env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=passed,
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            self.control.close()
            remove(self.root)
            raise
        finally:
            theirs.close()

    def wait_until_ready(self) -> wire.Header:
        """Return what the host says of itself, ``missing`` if it can do nothing here. Raises TimeoutError, OSError."""
        self.control.settimeout(_START_SECONDS)
        ready = wire.Assembler()
        ready.feed(self.control.recv(_CHUNK))
        if ready.missing():
            raise ConnectionResetError("it ended before it was ready")
        self.control.setblocking(False)
        return ready.message()[0]

    def close(self) -> None:
        """End the host, its supervisors and their code, and remove its folder. Can be called twice."""
        self.control.close()
        try:
            self.process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            remove(self.root)
        shutil.rmtree(self.root, ignore_errors=True)  # what a dying supervisor may have been removing at the same time
