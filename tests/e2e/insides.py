"""What judging leaves in the sidecars of a living pod: databases, accounts, processes and files, seen from inside them.

A pod lives until its work is done, so a judge in a container beside the worker holds the work up until somebody has
looked, which is when all other items of the individual that is being scored are judged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cycleqd.sidecars import MYSQL_FOLDER
from tests.e2e.scene import PATIENCE_SECONDS, Document, Run

WAITS, LOOKED = "/tmp/waits", "/tmp/looked"
"""Files in the judge's container."""
STILL_SECONDS = 1.5
"""Without a new database and with no machine, so long, all episodes are over: a turn takes some milliseconds."""
LOOK_SECONDS = 90
"""What is there after so long is left over; less than the judge's items may take."""

_HOLD = f'touch {WAITS}; until [ -e {LOOKED} ]; do sleep 0.1; done; exec python3 -c "$1"'
_DATABASES = "SHOW DATABASES LIKE 'cycleqd%'; SELECT user FROM mysql.user WHERE user LIKE 'cycleqd%'"
_COUNTS = "SHOW GLOBAL STATUS WHERE variable_name IN ('Com_create_db', 'Com_drop_db')"
_SANDBOX = r"""
find /tmp -name 'slot-*'
for folder in /proc/[0-9]*; do tr '\0' ' ' <"$folder/cmdline" | grep -e '[p]root' -e '[b]ash'; done 2>/dev/null
true
"""
"""Script that prints the folders of machines and executions, and their processes; not itself."""


@dataclass(frozen=True)
class Inside:
    """One look into a pod.

    Attributes:
        role: of its worker.
        made: databases that there have ever been.
        dropped: those of them that are no more.
        left: lines about databases, accounts, machines and their processes that are there now.
    """

    role: str
    made: int
    dropped: int
    left: Sequence[str]


def held(program: str) -> list[str]:
    """Return the command of a container that runs a Python program, the first time as soon as somebody has looked."""
    return ["/bin/sh", "-c", _HOLD, "judge", program]


def looks_until(run: Run, state: str) -> tuple[list[Document], list[Inside]]:
    """Look into each pod that scores individuals, once, until the run is in a state.

    Returns:
        All pods as they were last seen, because those of finished Jobs are removed after a while; and the looks.
    """
    pods: dict[str, Document] = {}
    seen: dict[str, Inside] = {}

    def there() -> bool:
        has_ended = run.status().get("state") == state
        for pod in run.objects("pods"):
            name = pod["metadata"]["name"]
            pods[name] = pod
            if name not in seen and _is_held(run, pod):
                seen[name] = _look(run, pod)
                _inside(run, pod, "container-", "touch", LOOKED)
        return has_ended

    run.reach(f"the state {state}", there, PATIENCE_SECONDS)
    return list(pods.values()), list(seen.values())


def _look(run: Run, pod: Document) -> Inside:
    deadline = time.monotonic() + LOOK_SECONDS
    now = _inside_now(run, pod)
    while time.monotonic() < deadline:
        time.sleep(STILL_SECONDS)
        before, now = now, _inside_now(run, pod)
        if now.made and before == now and not now.left:
            break
    return now


def _inside_now(run: Run, pod: Document) -> Inside:
    made, dropped = _counts(run, pod)
    left = [*_sql(run, pod, _DATABASES), *_inside(run, pod, "sandbox", "sh", "-c", _SANDBOX)]
    return Inside(pod["metadata"]["labels"]["cycleqd.dev/role"], made, dropped, left)


def _counts(run: Run, pod: Document) -> tuple[int, int]:
    numbers = dict(line.split("\t") for line in _sql(run, pod, _COUNTS))
    return int(numbers["Com_create_db"]), int(numbers["Com_drop_db"])


def _sql(run: Run, pod: Document, statements: str) -> list[str]:
    client = ("mariadb", "--no-defaults", "--user=root", f"--socket={MYSQL_FOLDER}/socket", "--batch")
    return _inside(run, pod, "mariadb", *client, "--skip-column-names", "--execute", statements)


def _inside(run: Run, pod: Document, container: str, *command: str) -> list[str]:
    """Run a command in the sidecar whose name begins so; return the lines that it prints."""
    printed = run.world.kubectl.must(*_exec(run, pod, container), *command)
    return printed.splitlines()


def _is_held(run: Run, pod: Document) -> bool:
    running = {status["name"] for status in pod["status"].get("containerStatuses", []) if "running" in status["state"]}
    judges = any(one["name"].startswith("container-") for one in pod["spec"].get("initContainers", []))
    if not running or not judges:
        return False
    return run.world.kubectl.run(*_exec(run, pod, "container-"), "test", "-e", WAITS).returncode == 0


def _exec(run: Run, pod: Document, container: str) -> list[str]:
    name = next(one["name"] for one in pod["spec"]["initContainers"] if one["name"].startswith(container))
    return ["exec", pod["metadata"]["name"], "--namespace", run.world.namespace, f"--container={name}", "--"]
