"""Which MySQL-protocol server databases are made on: the one beside the worker, or one that is started for it alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from cycleqd.errors import Unscored, UnsupportedHere

SOCKET_VARIABLE = "CYCLEQD_MYSQL_SOCKET"
"""Names the socket of a server that is there already, of which the worker is root without a password."""

PROGRAMS = ("mariadbd", "mariadb-install-db")

_KEEPER = Path(__file__).with_name("keeper.py")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def server_beside() -> str:
    """Return the socket of the server that is there already; empty if there is none."""
    return os.environ.get(SOCKET_VARIABLE, "")


def require_server() -> None:
    """Raise UnsupportedHere where there is no server and none can be started."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    if missing and not server_beside():
        raise UnsupportedHere(
            f"AgentBenchDB needs a MySQL-protocol server and {' and '.join(missing)} cannot be found: install MariaDB "
            "(Debian: apt-get install mariadb-server), or set the evaluator's server to SQLite."
        )


class PrivateServer:
    """Finds or starts the server, and starts it again should it have ended. Ends with this process, however it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keeper: subprocess.Popen[str] | None = None
        self._socket = ""

    def socket(self) -> str:
        """Return the path of the socket; blocks while the server starts, some seconds.

        Raises:
            UnsupportedHere: there is no server and none can be started.
            Unscored: it does not start.
        """
        if beside := server_beside():
            return beside
        with self._lock:
            if self._keeper is None or self._keeper.poll() is not None:
                require_server()
                self._start()
            return self._socket

    def close(self) -> None:
        """End the server; what it held is gone."""
        with self._lock:
            if self._keeper is not None:
                self._keeper.communicate()
                self._keeper = None

    def _start(self) -> None:
        temporary = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-B", str(_KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt at the terminal is the worker's to handle
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8", **temporary},  # nothing of the run's credentials
        )
        kind, _, rest = (self._keeper.stdout.readline() if self._keeper.stdout else "").strip().partition(" ")
        if kind != "ready":
            self._keeper.communicate()
            raise Unscored(
                f"MariaDB did not start ({rest or 'no reason given'}): look at the machine's disk and memory."
            )
        self._socket = rest
