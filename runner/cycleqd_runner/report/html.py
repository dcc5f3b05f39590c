"""The report as one self-contained HTML page: no other file, no network. Which files there are is the caller's work.

The page's own policy forbids every request and every script but its own, which the browser recognises by its hash: a
task called ``<script>`` stays text even if escaping should fail.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

import jinja2
import yaml
from markupsafe import Markup

from cycleqd.report import Difference, Interval, Report
from cycleqd_runner.report import heatmaps, tree
from cycleqd_runner.report.card import lineage
from cycleqd_runner.report.curves import HEIGHT, WIDTH, panels
from cycleqd_runner.report.people import People

LONG_NAME = 13
"""Characters of a name that fit into a node of the lineage."""


@dataclass(frozen=True)
class ScoreRow:
    """A row of the score table.

    Attributes:
        model: its name.
        kind: ``base``, ``expert``, ``average`` or ``merged``.
        intervals: the mean over the tasks, then one per task; None: not tested.
    """

    model: str
    kind: str
    intervals: tuple[Interval | None, ...]


def render(report: Report) -> str:
    """Return the page of a report; one of an unfinished or empty run says what is missing."""
    people, chosen = People.of(report), report.chosen
    style, script = _asset("page.css"), _asset("page.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            people=people,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            policy=f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
            finished=_moment(report.finished_at),
            rows=_score_rows(report),
            archives=heatmaps.archive_maps(report),
            top=heatmaps.best_score(report),
            gradient=[heatmaps.colour_of(share / 8) for share in range(9)],
            side=heatmaps.SIDE,
            panels=panels(report),
            panel_size=(WIDTH, HEIGHT),
            tree=tree.lineage_tree(people, chosen.weights) if chosen else None,
            node=tree.NODE,
            lineage=lineage(report, chosen.weights) if chosen else [],
            children=sum(1 for individual in report.individuals if not people.is_expert(individual.id)),
            manifest=yaml.safe_dump(report.manifest, sort_keys=False, allow_unicode=True) if report.manifest else "",
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cycleqd_runner", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "points": _points,
        "verdict": _verdict,
        "hours": _duration,
        "shorten": _shorten,
        "mean": _mean,
    }
    return environment


def _asset(name: str) -> str:
    return files("cycleqd_runner.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the name of an inline style or script in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _score_rows(report: Report) -> list[ScoreRow]:
    kinds = {"base": "base", "average": "average", "merged": "merged"}
    return [
        ScoreRow(
            model, kinds.get(model, "expert"), (report.means.get(model), *(own.get(task) for task in report.tasks))
        )
        for model, own in report.scores.items()
    ]


def _moment(seconds: float) -> str:
    """Return a Unix time as people write it, or nothing for a run that has not finished."""
    return f"{datetime.fromtimestamp(seconds, UTC):%d %B %Y, %H:%M UTC}".lstrip("0") if seconds else ""


def _percent(score: float, digits: int = 1) -> str:
    return f"{100 * score:.{digits}f}"


def _points(difference: float) -> str:
    """Return a difference of scores in signed percentage points."""
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def _verdict(difference: Difference) -> str:
    """Return what the interval of a difference allows to say."""
    if difference.low > 0:
        return "better than"
    return "worse than" if difference.high < 0 else "not distinguishable from"


def _duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _shorten(name: str) -> str:
    return name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…"


def _mean(validation: dict[str, float]) -> float | None:
    return sum(validation.values()) / len(validation) if validation else None
