"""``cycleqd worker``: one piece of a run's work, as Jobs and the local executor start it; people hardly ever do."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cycleqd.errors import BadManifest, near_misses
from cycleqd.identity import read_spec
from cycleqd.orders import Order
from cycleqd.store import ObjectStore, open_store

EPILOG = """
Examples:

- `cycleqd worker prepare --run s3://runs/a --expert sql`
- `cycleqd worker evaluate --run s3://runs/a --ids 0,1,2`
- `cycleqd worker breed --run s3://runs/a --from 33 --to 63` children 33 to 62
- `cycleqd worker finalize --run s3://runs/a`
"""


Role = Literal["prepare", "evaluate", "breed", "finalize", "serve"]
"""What a worker does; serve: whatever it is told on standard input."""


def worker(
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="prepare, evaluate, breed, finalize or serve.")],
    run: Annotated[str, typer.Option(metavar="URI", help="Storage URI of the run.")],
    expert: Annotated[str, typer.Option(help="Only with prepare: the expert to factorise.")] = "",
    ids: Annotated[str, typer.Option(metavar="ID,ID,...", help="Only with evaluate and breed: the individuals.")] = "",
    first: Annotated[int | None, typer.Option("--from", min=0, help="First individual, in place of --ids.")] = None,
    end: Annotated[int | None, typer.Option("--to", min=0, help="The individual after the last one.")] = None,
) -> None:
    """Do one piece of a run's work and exit: what Jobs and `cycleqd run` start.

    Exit codes: 0 done, 2 a person has to change something, 75 trying again may help.
    """
    store = open_store(run)
    if role == "serve":
        order = None
    else:
        order = Order(role=role, subject=expert, ids=_ids(ids, first, end))
        _check(order, store)
    from cycleqd_runner.worker import run_once, serve  # noqa: PLC0415 - torch takes seconds, mistakes are told at once

    raise typer.Exit(run_once(store, order) if order else serve(store))


def _ids(ids: str, first: int | None, end: int | None) -> tuple[int, ...]:
    if (first is None) != (end is None) or (ids and first is not None):
        raise BadManifest("The individuals are given by --ids, or by --from together with --to: give one of the two.")
    if first is not None and end is not None:
        return tuple(range(first, end))
    numbers = [part.strip() for part in ids.split(",")] if ids else []
    wrong = [part for part in numbers if not part.isdecimal()]
    if wrong:
        raise BadManifest(f"--ids has {wrong[0]!r}, expected numbers with commas like 3,4,5.")
    return tuple(sorted({int(part) for part in numbers}))


def _check(order: Order, store: ObjectStore) -> None:
    """Refuse an order that does not fit the run."""
    spec = read_spec(store)
    experts = [expert.name for expert in spec.experts]
    if order.role == "prepare" and order.subject not in experts:
        raise BadManifest(
            f"--expert is {order.subject!r}, which is no expert of the run{near_misses(order.subject, experts)}."
        )
    if order.role in ("evaluate", "breed") and not order.ids:
        raise BadManifest(f"The role {order.role} needs individuals: give --ids, or --from and --to.")
    if order.role == "breed" and order.ids[0] < len(experts):
        raise BadManifest(f"Individual {order.ids[0]} is an expert: children begin with {len(experts)}.")
