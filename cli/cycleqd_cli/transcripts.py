"""``cycleqd transcripts``: what was asked and answered. Which conversations a run keeps, ``spec.transcripts`` says."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console

from cycleqd import keys
from cycleqd.errors import BadData, BadManifest, near_misses
from cycleqd.records import Transcript
from cycleqd_cli import completion
from cycleqd_cli.conversations import conversation
from cycleqd_cli.opening import OpenedRun, open_run
from cycleqd_cli.options import RunArgument
from cycleqd_cli.paging import show
from cycleqd_cli.texts import individual as called
from cycleqd_cli.where import Where

EPILOG = """Examples:

- `cycleqd transcripts run.yaml --individual 27` shows what individual 27 was asked and answered
- `cycleqd transcripts run.yaml --task sql --item sql-12` how every individual answered one item
- `cycleqd transcripts quickstart --individual 27 --failed -n research` what went wrong, of a run in the cluster
- `cycleqd transcripts run.yaml --successes --json > right.jsonl` for scripts, and as examples to learn from
"""


class Said(Transcript):
    """A conversation, and whose it is."""

    individual: int
    evaluation: int = 0
    """0 is the first evaluation of the individual; repeated ones count up."""


@dataclass(frozen=True)
class Choice:
    """Which conversations are wanted; None: all.

    Attributes:
        individual, task, item: of these.
        successes: True: only what scored 1; False: only the rest.
    """

    individual: int | None
    task: str | None
    item: str | None
    successes: bool | None

    def takes(self, said: Transcript) -> bool:
        """Whether a conversation of the chosen individual is wanted."""
        return (
            self.task in (None, said.task)
            and self.item in (None, said.item)
            and self.successes in (None, said.is_success)
        )


def transcripts(
    run: RunArgument,
    where: Where,
    individual: Annotated[
        int | None,
        typer.Option(
            "--individual",
            "-i",
            metavar="ID",
            min=0,
            help="Only of this individual; 0 is the first expert.",
            autocompletion=completion.individuals,
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of this task.", autocompletion=completion.tasks)
    ] = None,
    item: Annotated[
        str | None, typer.Option(metavar="ID", help="Only about this item.", autocompletion=completion.items)
    ] = None,
    successes: Annotated[
        bool | None, typer.Option("--successes/--failed", help="Only what scored 1, or only the rest.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show conversations of a run's individuals: prompt, answer, score, and what the judge objected to.

    A run keeps those that scored 1, one an item, or all, if its manifest says transcripts: All. On a terminal they go
    through $PAGER.
    """
    opened = open_run(run, where)
    names = [own.name for own in opened.spec.tasks]
    if task is not None and task not in names:
        raise BadManifest(f"The run {opened.name} has no task {task}{near_misses(task, names)}.")
    found = _wanted(opened, Choice(individual, task, item, successes))
    if json:
        for said in found:
            typer.echo(said.model_dump_json())
    else:
        show(_written(found, opened))


def _wanted(run: OpenedRun, choice: Choice) -> Iterator[Said]:
    """Return the chosen conversations, by individual. Raises BadData: there are none, or they are damaged."""
    pairs = sorted(filter(None, map(keys.parse_transcripts, run.store.list(keys.TRANSCRIPTS))))
    chosen = [pair for pair in pairs if choice.individual in (None, pair[0])]
    found = _read(run, chosen, choice)
    first = next(found, None)
    if first is None:
        raise BadData(_nothing(run, choice, {number for number, _ in pairs}))
    return itertools.chain([first], found)


def _read(run: OpenedRun, pairs: Iterable[tuple[int, int]], choice: Choice) -> Iterator[Said]:
    from cycleqd_runner.transcripts import read_transcripts  # noqa: PLC0415 - not for --help

    for number, evaluation in pairs:
        for said in read_transcripts(run.store, number, evaluation):
            if choice.takes(said):
                yield Said(individual=number, evaluation=evaluation, **said.model_dump())


def _nothing(run: OpenedRun, choice: Choice, known: set[int]) -> str:
    """Return why there is nothing to show."""
    if not known:
        return f"The run {run.name} has no conversations yet: `cycleqd status` says how far it is."
    if choice.individual is not None and choice.individual not in known:
        return (
            f"The run {run.name} has no conversations of individual {choice.individual}: it has those of {len(known)} "
            f"individuals, {min(known)} to {max(known)}."
        )
    sentence = f"No conversation that the run {run.name} has kept fits all options"
    if run.spec.transcripts == "Successes" and choice.successes is not True:
        return f"{sentence}: it keeps only what scored 1; with spec.transcripts All it keeps all that is said then."
    return f"{sentence}: leave out some of them."


def _written(found: Iterable[Said], run: OpenedRun) -> Iterator[str]:
    console = Console(soft_wrap=True, highlight=False)
    for said in found:
        again = f", evaluation {said.evaluation}" if said.evaluation else ""
        with console.capture() as capture:
            console.print(conversation(said, f"{called(said.individual, run.spec)}{again}"))
        yield capture.get()
