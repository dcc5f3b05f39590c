"""``cycleqd worker``: one piece of a run's work, as Jobs and the local executor start it; people hardly ever do."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cycleqd.errors import BadManifest, near_misses
from cycleqd.identity import read_spec
from cycleqd.ids import parse_ids
from cycleqd.orders import Order, Outcome
from cycleqd.store import ObjectStore, open_store
from cycleqd_cli.failures import complain, missing_package
from cycleqd_runner.ending import leave_note, outcome_of, stopping_when_told

EPILOG = """
Examples:

- `cycleqd worker prepare --run s3://runs/a --expert sql`
- `cycleqd worker evaluate --run s3://runs/a --ids 0-2`
- `cycleqd worker breed --run s3://runs/a --ids 3-32,40`
- `cycleqd worker finalize --run s3://runs/a`
"""


Role = Literal["prepare", "evaluate", "breed", "finalize", "serve"]
"""What a worker does; serve: whatever it is told on standard input."""


def worker(
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="prepare, evaluate, breed, finalize or serve.")],
    run: Annotated[str, typer.Option(metavar="URI", help="Storage URI of the run.")],
    expert: Annotated[str, typer.Option(help="Only with prepare: the expert to factorise.")] = "",
    ids: Annotated[
        str, typer.Option(metavar="IDS", help="Only with evaluate and breed: the individuals, like 3-32,40.")
    ] = "",
) -> None:
    """Do one piece of a run's work and exit: what Jobs and `cycleqd run` start.

    Exit codes: 0 done, 2 a person has to change something, 75 trying again may help, 143 stopped by SIGTERM. How it
    went is also written, as JSON, to the file that CYCLEQD_TERMINATION_LOG names.
    """
    with stopping_when_told():
        try:
            outcome = _work(role, run, expert, ids)
        except Exception as error:
            leave_note(outcome_of(missing_package(error) or error))
            raise
        leave_note(outcome)
    if outcome.drained:
        complain("Stopped before the end of the work, because the run's desiredState is no longer Running.")


def _work(role: Role, run: str, expert: str, ids: str) -> Outcome:
    """Do the work. Imports come late: torch takes seconds, and mistakes are told at once."""
    order = None if role == "serve" else Order(role=role, subject=expert, ids=parse_ids(ids))
    store = open_store(run)
    if order is None:
        from cycleqd_runner.worker import serve  # noqa: PLC0415

        return serve(store)
    _check(order, store)
    from cycleqd_runner.worker import run_once  # noqa: PLC0415

    return run_once(store, order)


def _check(order: Order, store: ObjectStore) -> None:
    """Refuse an order that does not fit the run."""
    spec = read_spec(store)
    experts = [expert.name for expert in spec.experts]
    if order.role == "prepare" and order.subject not in experts:
        raise BadManifest(
            f"--expert is {order.subject!r}, which is no expert of the run{near_misses(order.subject, experts)}."
        )
    if order.role in ("evaluate", "breed") and not order.ids:
        raise BadManifest(f"The role {order.role} needs individuals: give --ids.")
    if order.role == "breed" and order.ids[0] < len(experts):
        raise BadManifest(f"Individual {order.ids[0]} is an expert: children begin with {len(experts)}.")
