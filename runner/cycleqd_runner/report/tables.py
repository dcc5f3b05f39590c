"""The result table for terminals: test scores per model and task, with intervals."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from cycleqd.report import Difference, Interval, Report
from cycleqd_runner.report.summary import guidance, left_out


def score_table(report: Report) -> Table:
    """Return base, experts, average and merged model with their test scores in percent and 95 % intervals."""
    # Text, not str: rich would read brackets in names as markup.
    title = Text(f"{report.run}: test scores in %, with 95 % intervals", style="table.title")
    table = Table(title=title, title_justify="left", caption=_verdict(report), caption_justify="left")
    table.add_column("model")
    for task in report.tasks:
        table.add_column(Text(task), justify="right")
    table.add_column("mean", justify="right")
    for name, own in report.scores.items():
        is_merged = name == "merged"
        if is_merged:
            table.add_section()
        cells = [interval_text(own[task]) for task in report.tasks] + [interval_text(report.means[name])]
        table.add_row(Text(name), *map(Text, cells), style="bold" if is_merged else "")
    return table


def group_tables(report: Report) -> tuple[Table, ...]:
    """Return a table per task that tells kinds of items apart: the models' test scores by kind, and the kinds' mean."""
    return tuple(_group_table(task, models) for task, models in report.groups.items())


def _group_table(task: str, models: Mapping[str, Mapping[str, Interval]]) -> Table:
    table = Table(title=Text(f"{task} by kind of item", style="table.title"), title_justify="left")
    table.add_column("model")
    for kind in next(iter(models.values())):
        table.add_column(Text(kind), justify="right")
    for name, own in models.items():
        table.add_row(Text(name), *(Text(interval_text(one)) for one in own.values()))
    return table


def retention_parts(report: Report) -> tuple[Table | Text, ...]:
    """Return the table of benchmarks: shares of the base model's scores, then the scores. And what explains gaps."""
    kept = report.retention
    if not kept:
        return ()
    title = Text("What else was kept: benchmarks, in % of the base model's score, then in %", style="table.title")
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(("model", "mean", *kept.benchmarks)):
        table.add_column(Text(name), justify="right" if number else "left")
    for model, own in kept.kept.items():
        if model != "base":
            cells = [_cell(kept.means[model], "–"), *(_cell(own[name], "–") for name in kept.benchmarks)]
            table.add_row(Text(model), *cells, style="bold" if model == "merged" else "")
    table.add_section()
    for model, scores in kept.scores.items():
        table.add_row(Text(model), "", *(_cell(scores[name], "not scored") for name in kept.benchmarks))
    return (table, *map(Text, left_out(kept)))


def _cell(interval: Interval | None, without: str) -> Text:
    return Text(without if interval is None else interval_text(interval))


def interval_text(interval: Interval) -> str:
    """Return ``62 [52, 71]``, in percent."""
    return f"{100 * interval.mean:.0f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def difference_text(difference: Difference) -> str:
    """Return ``+4.2 [+1.0, +7.3] points against average``."""
    points = [f"{100 * value:+.1f}" for value in (difference.mean, difference.low, difference.high)]
    return f"{points[0]} [{points[1]}, {points[2]}] points against {difference.against}"


def _verdict(report: Report) -> Text:
    lines = [f"merged is {difference_text(difference)}" for difference in report.differences]
    if report.chosen:
        lines.append(f"chosen on validation: {report.chosen.name}")
    if guided := guidance(report):
        lines.append(f"guidance: {guided}")
    return Text("\n".join(lines))
