"""All rows of the tables, run against one open sandbox, and what is wrong with what came of them.

No pytest in here: :mod:`tests.runner.sandbox.in_pod` runs the rows in a worker's container, which has none.
"""

from __future__ import annotations

import asyncio

from cycleqd_runner.sandbox import Completed, Execution, HostSandbox, MachineSpec
from tests.runner.sandbox.attacks import ATTACKS, MACHINE_ATTACKS, Attack
from tests.runner.sandbox.behaviours import BEHAVIOURS
from tests.runner.sandbox.machine_behaviours import MACHINE_BEHAVIOURS, MachineBehaviour
from tests.runner.sandbox.variants import LIMITS, Variant

ATTACKS_FROM_MACHINES = (*(attack for attack in ATTACKS if not attack.own_in_machines), *MACHINE_ATTACKS)
KEPT_IN = b"kept in\n"
"""What an attack that failed says, and nothing else."""

Facts = dict[str, object]


async def run_executions(sandbox: HostSandbox, variant: Variant, facts: Facts) -> dict[str, Completed]:
    """Return what came of each row about executions that may be asked, by id; those of attacks begin with attack-."""
    rows: dict[str, tuple[Execution, dict[str, int]]] = {}
    for behaviour in BEHAVIOURS:
        if variant.can_be_asked(behaviour):
            rows[behaviour.id] = (behaviour.execution, behaviour.limits)
    for attack in ATTACKS:
        rows["attack-" + attack.id] = (Execution(python=attack.source(facts)), {})
    done = await asyncio.gather(
        *(sandbox.run(execution, LIMITS.model_copy(update=limits)) for execution, limits in rows.values())
    )
    return dict(zip(rows, done, strict=True))


async def run_machines(sandbox: HostSandbox, variant: Variant, facts: Facts) -> dict[str, list[Completed]]:
    """Return what came of each row about machines, a list of its commands' ends, by id as above."""
    tasks = {row.id: _in_machine(sandbox, row) for row in MACHINE_BEHAVIOURS if variant.can_be_asked(row)}
    tasks |= {
        "attack-" + attack.id: _attack(sandbox, attack.source(facts))
        for attack in ATTACKS_FROM_MACHINES
        if can_be_asked_of_machines(variant, attack)
    }
    return dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))


def can_be_asked_of_machines(variant: Variant, attack: Attack) -> bool:
    """Whether the attempt is about something that is promised: docs/sandbox.md says what of processes is seen."""
    is_seen = attack.sees_processes or (attack.needs_another_user and variant.aims_at_own_user)
    return not (variant.confined and is_seen and not variant.own_pids)


def faults_of_executions(done: dict[str, Completed]) -> dict[str, str]:
    """Return, for each row that a confining provider was asked, what is wrong with it; empty if nothing is."""
    expected = {row.id: row.expected for row in BEHAVIOURS}
    return {
        name: "" if (expected[name](one) if name in expected else one.stdout == KEPT_IN) else repr(one)
        for name, one in done.items()
    }


def faults_of_machines(done: dict[str, list[Completed]]) -> dict[str, str]:
    """Return the same of rows about machines."""
    expected = {row.id: row.expected for row in MACHINE_BEHAVIOURS}
    return {
        name: "" if (expected[name](all_) if name in expected else all_[0].stdout == KEPT_IN) else repr(all_)
        for name, all_ in done.items()
    }


async def _in_machine(sandbox: HostSandbox, row: MachineBehaviour) -> list[Completed]:
    async with sandbox.machine(row.spec, LIMITS.model_copy(update=row.limits)) as machine:
        stdins = (row.stdin, *[b""] * len(row.scripts))
        return [
            await machine.run(("bash", "-c", script), stdin=stdin)
            for script, stdin in zip(row.scripts, stdins, strict=False)
        ]


async def _attack(sandbox: HostSandbox, source: str) -> list[Completed]:
    async with sandbox.machine(MachineSpec(), LIMITS) as machine:
        return [await machine.run(("python3", "-c", source))]
