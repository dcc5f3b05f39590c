"""The database server beside a worker, for ``AgentBenchDB`` tasks in the paper's protocol.

It listens on a socket in a folder that only the worker shares, and nowhere else: who reaches the socket is its root.
That leaves nothing to keep secret, and nothing to find out from inside a sandbox, which reaches neither.
"""

from __future__ import annotations

from cycleqd import sidecars as shared
from cycleqd.api.run import RunSpec
from cycleqd_operator.settings import Settings
from cycleqd_operator.sidecar import Meeting, PodPart, container, memory_limit

USER = 65534
"""Uid: neither the worker's nor the sandbox's."""
SOCKET = f"{shared.MYSQL_FOLDER}/socket"
DATA = "/var/lib/mysql"
ANSWERS = ("mariadb-admin", "--no-defaults", "--user=root", f"--socket={SOCKET}", "ping")
"""Command that succeeds if the server answers."""

OPTIONS = (
    "--no-defaults",
    f"--datadir={DATA}",
    f"--socket={SOCKET}",
    "--pid-file=/tmp/mariadbd.pid",
    "--skip-networking",
    "--skip-log-bin",
    "--secure-file-priv=/tmp/no-files",  # the one folder whose files statements may read or write
    "--local-infile=0",
    "--max-connections=300",
    "--character-set-server=utf8mb4",  # as MySQL's own default is
    # Nothing here outlives the pod: no reason to wait for a disk.
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-innodb-doublewrite",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--performance-schema=0",
)
"""Of mariadbd."""

START = f"""\
set -eu
mkdir -p -m 500 /tmp/no-files
if [ ! -d {DATA}/mysql ]; then
  mariadb-install-db --no-defaults --datadir={DATA} --auth-root-authentication-method=normal --skip-test-db \\
    --skip-log-bin --innodb-log-file-size=16M >/tmp/install.log 2>&1 ||
    {{ cat /tmp/install.log >&2; rm -rf {DATA}/*; exit 1; }}
fi
exec mariadbd "$@"
"""
"""Script that makes the system's tables, unless the container was only restarted, and becomes the server."""


def mariadb_sidecar(spec: RunSpec, settings: Settings) -> PodPart:
    """Return the database server beside a worker."""
    wanted = spec.workers.sidecars.mariadb
    return PodPart(
        container(
            "mariadb",
            wanted.image or settings.mariadb_image,
            user=USER,
            mounts={shared.MYSQL_FOLDER: "cycleqd-mysql", DATA: "cycleqd-mysql-data", "/tmp": "cycleqd-mysql-tmp"},  # noqa: S108 - its own
            resources=wanted.resources or memory_limit("256Mi", "1Gi"),
            command=("sh", "-c", START, "mariadb", *OPTIONS),
            probe=ANSWERS,
            pull_policy=settings.mariadb_image_pull_policy,
        ),
        Meeting("cycleqd-mysql", shared.MYSQL_FOLDER, shared.MYSQL_SOCKET, SOCKET),
        tuple({"name": name, "emptyDir": {}} for name in ("cycleqd-mysql-data", "cycleqd-mysql-tmp")),
    )
