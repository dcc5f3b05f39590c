"""A program of its own: starts a MariaDB server in a fresh folder, and removes both when its standard input ends.

It prints ``ready SOCKET`` or ``failed REASON``. Whoever started it holds the other end of the pipe, so the server ends
with that process even if it is killed. Only the standard library is used.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_SECONDS = 120.0

OPTIONS = (
    "--skip-networking",
    "--skip-log-bin",
    "--local-infile=0",
    "--log-warnings=0",
    "--max-connections=100",
    "--character-set-server=utf8mb4",
    # Bounds of what a session may set for itself.
    "--max-allowed-packet=1M",
    "--maximum-max-allowed-packet=1M",
    "--maximum-sort-buffer-size=4M",
    "--maximum-join-buffer-size=4M",
    "--maximum-read-buffer-size=1M",
    "--maximum-read-rnd-buffer-size=1M",
    "--max-heap-table-size=16M",
    "--maximum-max-heap-table-size=16M",
    "--tmp-memory-table-size=16M",
    "--maximum-tmp-memory-table-size=16M",
    "--tmp-disk-table-size=64M",
    "--maximum-tmp-disk-table-size=64M",
    "--maximum-group-concat-max-len=1M",
    # Nothing here outlives the worker: no reason to wait for a disk.
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-innodb-doublewrite",
    "--loose-innodb-flush-method=nosync",  # loose: newer servers may not know it any more
    "--sync-frm=0",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--performance-schema=0",
)
INSTALLATION = (
    "--auth-root-authentication-method=normal",
    "--skip-test-db",
    "--skip-log-bin",
    "--innodb-log-file-size=16M",
)


def main() -> None:
    """Keep a server as long as standard input is open."""
    with tempfile.TemporaryDirectory(prefix="cycleqd-db-", ignore_cleanup_errors=True) as name:
        server = None
        try:
            server = _start(Path(name))
            _say(f"ready {name}/socket")
            ended = os.pidfd_open(server.pid)
            select.select([sys.stdin, ended], [], [])
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            _say(f"failed {' '.join(str(error).split())[-300:]}")
        finally:
            if server is not None:
                server.kill()
                server.wait()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    files, data = folder / "files", folder / "data"
    files.mkdir(mode=0o500)
    user = ["--user=root"] if os.getuid() == 0 else []
    installer = shutil.which("mariadb-install-db") or "mariadb-install-db"
    common = ["--no-defaults", f"--datadir={data}", f"--tmpdir={folder}", *user]
    made = subprocess.run(
        [installer, *common, *INSTALLATION],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    if made.returncode != 0:
        raise RuntimeError((made.stderr or made.stdout).decode(errors="replace"))
    arguments = [*common, f"--socket={folder}/socket", f"--pid-file={folder}/pid", f"--secure-file-priv={files}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [shutil.which("mariadbd") or "mariadbd", *arguments, *OPTIONS],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + START_SECONDS
    while not _answers(f"{folder}/socket"):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            server.wait()
            raise RuntimeError((folder / "log").read_text(errors="replace"))
        time.sleep(0.02)
    return server


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True


if __name__ == "__main__":
    main()
