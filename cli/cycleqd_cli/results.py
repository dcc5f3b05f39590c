"""What a finished run says: the table of test scores, where everything lies, and how to use the model."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from cycleqd import keys
from cycleqd.errors import BadData, MissingObject
from cycleqd.records import FinalEvaluation, TaskEvaluation
from cycleqd.report import Report
from cycleqd.store import FolderStore, ObjectStore


def read_report(store: ObjectStore, name: str) -> Report:
    """Return the final report of the run ``name``.

    Raises:
        BadData: there is none yet, or it is damaged.
    """
    try:
        return Report.model_validate_json(store.get(keys.REPORT))
    except MissingObject as error:
        raise BadData(f"The run {name} has no final report yet: `cycleqd status` says how far it is.") from error
    except ValueError as error:
        raise BadData(
            f"{keys.REPORT} in {store.uri} is damaged: delete it, and `cycleqd run` writes it again."
        ) from error


def read_test(store: ObjectStore, report: Report) -> tuple[TaskEvaluation, ...]:
    """Return what the merged model answered on the test split, one per task.

    Nothing if the report does not say which model that was (older versions did not), or if the evaluation is gone.

    Raises:
        BadData: it is damaged.
    """
    if not report.chosen or not report.chosen.genome_sha256:
        return ()
    key = keys.final_evaluation(report.chosen.genome_sha256, "test")
    try:
        return FinalEvaluation.model_validate_json(store.get(key)).evaluations
    except MissingObject:
        return ()
    except ValueError as error:
        raise BadData(f"{key} in {store.uri} is damaged: there is no telling what the model answered.") from error


def show_results(console: Console, store: ObjectStore, name: str) -> None:
    """Print the results of a finished run. Raises :class:`~cycleqd.errors.BadData` if it is not finished."""
    from cycleqd_runner.report.tables import group_tables, retention_parts, score_table  # noqa: PLC0415 - finished runs

    report = read_report(store, name)
    console.print(score_table(report), *group_tables(report), *retention_parts(report), sep="\n")
    for note in report.notes:
        console.print(f"Note: {note}", markup=False)
    if isinstance(store, FolderStore):
        model = _short(store.path(keys.MODEL))
        console.print(f"Final model   {model}", soft_wrap=True, highlight=False)
        console.print(f"Report        {_short(store.path(keys.REPORT_PAGE))}", soft_wrap=True, highlight=False)
        console.print(f'Use it with   AutoModelForCausalLM.from_pretrained("{model}")', soft_wrap=True, markup=False)
    else:
        console.print(f"Final model   {store.uri}/{keys.MODEL}", soft_wrap=True, highlight=False)
        console.print(f"Report        {store.uri}/{keys.REPORT_PAGE}", soft_wrap=True, highlight=False)
        console.print(f"Use it with   cycleqd export {store.uri} --final my-model", soft_wrap=True, markup=False)


def _short(path: Path) -> Path:
    """Return the path as seen from the working directory, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
