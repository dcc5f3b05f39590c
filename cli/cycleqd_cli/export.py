"""``cycleqd export``: an individual of a run as a model that other software loads. Formats are not known here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from cycleqd import keys
from cycleqd.errors import BadData, BadManifest, MissingObject
from cycleqd.final import Blend
from cycleqd.store import ObjectStore
from cycleqd_cli import completion
from cycleqd_cli.folders import replaced_folder
from cycleqd_cli.opening import OpenedRun, open_run
from cycleqd_cli.options import RunArgument
from cycleqd_cli.pictures import interim_report
from cycleqd_cli.results import read_report
from cycleqd_cli.where import Where
from cycleqd_runner.model_card import ModelCard
from cycleqd_runner.report.build import view_run
from cycleqd_runner.report.card import lineage

GENOMES = keys.genome(0).partition("/")[0] + "/"

EPILOG = """Examples:

- `cycleqd export run.yaml my-model --final` copies the final model of a finished run
- `cycleqd export run.yaml --child 27 child-27` makes individual 27, whose id `cycleqd status` and the pictures show
- `cycleqd export quickstart my-model --final -n research` copies it from the store of a run in the cluster
- `cycleqd export run.yaml --child 27 --adapter child-27-lora` as a PEFT adapter, where all experts are LoRA adapters
"""


def export(
    run: RunArgument,
    where: Where,
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder of the model; new or empty.")],
    child: Annotated[
        int | None,
        typer.Option(min=0, help="Id of the individual; 0 is the first expert.", autocompletion=completion.individuals),
    ] = None,
    final: Annotated[bool, typer.Option("--final", help="The final model of a finished run.")] = False,
    adapter: Annotated[bool, typer.Option("--adapter", help="Write a PEFT adapter instead of a checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in OUTPUT.")] = False,
) -> None:
    """Write an individual or the final model of a run as a Hugging Face model."""
    if final == (child is not None):
        raise BadManifest("Say which model to export: either --final or --child ID.")
    opened = open_run(run, where)
    with replaced_folder(output, force=force) as folder:
        if final and not adapter:
            read_report(opened.store, opened.name)
            _copy(opened.store, folder)
        else:
            _make(opened, child, folder, adapter=adapter)
    shown = (
        f'PeftModel.from_pretrained(base, "{output}")'
        if adapter
        else f'AutoModelForCausalLM.from_pretrained("{output}")'
    )
    Console().print(f"Use it with   {shown}", soft_wrap=True, highlight=False, markup=False)


def _copy(store: ObjectStore, folder: Path) -> None:
    """Copy the final model out of the store."""
    prefix = f"{keys.MODEL}/"
    sizes = {key: store.size(key) for key in store.list(prefix)}
    if not sizes:
        raise MissingObject(f"The store {store.uri} has no {keys.MODEL}: run `cycleqd run` once more.")
    with Progress(transient=True) as bar:
        task = bar.add_task("copying", total=sum(sizes.values()))
        for key, size in sizes.items():
            store.download(key, folder / key.removeprefix(prefix))
            bar.advance(task, size)


def _make(run: OpenedRun, child: int | None, folder: Path, *, adapter: bool) -> None:
    """Make the weights of an individual, or of the final model if ``child`` is None."""
    run.share_credentials()
    chosen = _known(run, child) if child is not None else _final_blend(run)
    from cycleqd_runner.export import export_adapter, export_checkpoint  # noqa: PLC0415 - torch
    from cycleqd_runner.roles.candidates import CandidateGenomes  # noqa: PLC0415 - torch
    from cycleqd_runner.session import Session  # noqa: PLC0415 - torch

    session = Session(run.store)
    genome = CandidateGenomes(session).of(chosen)
    card = _card(run, chosen)
    if adapter:
        export_adapter(folder, session.sources.open(), genome, card)
        return
    names = session.base.names
    with Progress(transient=True) as bar:
        tensors = session.streamed(genome)
        export_checkpoint(folder, session.base, bar.track(tensors, total=len(names), description="writing"), card)


def _known(run: OpenedRun, child: int) -> Blend:
    """Return the individual as a blend of itself. Raises BadData if the run has none of that id."""
    n_experts = len(run.spec.experts)
    if child >= n_experts and not run.store.exists(keys.genome(child)):
        genomes = sorted(run.store.list(GENOMES))
        last = genomes[-1].removeprefix(GENOMES).partition(".")[0] if genomes else ""
        known = f"the latest child is {int(last)}" if last.isdecimal() else "it has no children yet"
        raise BadData(
            f"The run {run.name} has no individual {child}: 0 to {n_experts - 1} are its experts, and {known}."
        )
    return Blend(f"individual-{child}", {child: 1.0})


def _final_blend(run: OpenedRun) -> Blend:
    chosen = read_report(run.store, run.name).chosen
    if chosen is None:
        raise BadData(
            f"The report of the run {run.name} does not say which candidate was chosen: export it without --adapter."
        )
    return Blend(chosen.name, dict(chosen.weights), chosen.polish)


def _card(run: OpenedRun, chosen: Blend) -> ModelCard:
    """Return the model card: lineage, and search scores of an individual."""
    report = interim_report(run.name, run.spec, view_run(run.store, run.spec))
    scores = {individual.id: individual.scores for individual in report.individuals}
    rows = {expert: scores.get(k) for k, expert in enumerate(report.experts)}
    if len(chosen.weights) == 1:
        rows["this model"] = scores.get(next(iter(chosen.weights)))
    return ModelCard(
        name=f"{run.name}: {chosen.name}",
        base_model=run.spec.base_model.uri,
        experts={expert.name: expert.uri for expert in run.spec.experts},
        summary="Scores are of the search split, which chose this model's ancestors: they flatter.",
        lineage=lineage(report, dict(chosen.weights)),
        tasks=report.tasks,
        scores={name: row or [None] * len(report.tasks) for name, row in rows.items()},
    )
