"""The suite in a worker's container, through the socket of the sandbox beside it: ``python -m`` this module.

Writes two JSON lines to standard output: the facts that attacks are given, then ``checks``, what is wrong with each row
by its id, empty if nothing is. Between its end and that of standard input, what can be attacked is still there.
"""

from __future__ import annotations

import asyncio
import json
import sys

from cycleqd.sidecars import SANDBOX_FOLDER
from cycleqd_runner.sandbox import HostSettings, open_sandbox
from cycleqd_runner.sandbox.jail import landlock
from tests.runner.sandbox.rows import faults_of_executions, faults_of_machines, run_executions, run_machines
from tests.runner.sandbox.variants import Variant, Worker, attackable_worker

CONCURRENCY = 6
"""Rows at one time: some of them take all that a small node has."""
FIRST_PROCESS = 1
"""Of the sandbox's container: what attacks on a worker's process aim at, as no worker is among its processes."""


async def run_all(worker: Worker) -> dict[str, str]:
    """Return what is wrong with each row."""
    # Both containers have the same kernel.
    variant = Variant("pod", "Sidecar", newest_landlock=landlock.version(), aims_at_own_user=True)
    async with open_sandbox("Sidecar", HostSettings(concurrency=CONCURRENCY)) as sandbox:
        sandbox.require_machines()
        # The worker's own number is that of something else in the sandbox's container, if of anything.
        worker.facts |= {"worker": FIRST_PROCESS, "host": sandbox.host.pid}
        _say(worker.facts)
        executions = faults_of_executions(await run_executions(sandbox, variant, worker.facts))
        machines = faults_of_machines(await run_machines(sandbox, variant, worker.facts))
    untouched = (worker.folder / "file").read_bytes() == worker.secret
    return (
        executions
        | {f"machine-{name}": fault for name, fault in machines.items()}
        | {"file-of-the-worker": "" if untouched else "it was changed"}
    )


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - the test reads it


def main() -> None:
    """Run the suite, tell, and wait."""
    # In the one folder that both containers have, so that there is something to reach.
    with attackable_worker(SANDBOX_FOLDER) as worker:
        _say({"checks": asyncio.run(run_all(worker))})
        sys.stdin.read()


if __name__ == "__main__":
    main()
