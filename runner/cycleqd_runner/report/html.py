"""The report as one self-contained HTML page: no other file, no network. Which files there are is the caller's work.

The page's own policy forbids every request and every script but its own, which the browser recognises by its hash: a
task called ``<script>`` stays text even if escaping should fail.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files

import jinja2
import yaml
from markupsafe import Markup

from cycleqd.report import MACRO, MICRO, Report
from cycleqd_runner.report import formats, heatmaps, rows, scatter, summary, tree
from cycleqd_runner.report.beside import Beside
from cycleqd_runner.report.card import lineage
from cycleqd_runner.report.curves import HEIGHT, WIDTH, panels
from cycleqd_runner.report.people import People

BEST = 20
"""Individuals that the page lists; report.json holds all."""


def render(report: Report, beside: Beside | None = None) -> str:
    """Return the page of a report; one of an unfinished or empty run says what is missing.

    Args:
        report: what the page is about.
        beside: other runs to show beside it.
    """
    people, chosen = People.of(report), report.chosen
    style, script = _asset("page.css"), _asset("page.js")
    archives, dots = heatmaps.archive_maps(report), scatter.scatters(report)
    unit, costs = rows.cost_rows(report.cost)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            people=people,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            policy=f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
            summary=summary,
            skills=summary.skills(report),
            scores=rows.score_rows(report),
            changes=rows.change_rows(report),
            micro=MICRO,
            macro=MACRO,
            beside=beside,
            archives=archives,
            scatters=dots,
            elites=_elites(people, archives, dots),
            top=scatter.best_lowest(report) if dots else heatmaps.best_score(report),
            gradient=[heatmaps.colour_of(share / 8) for share in range(9)],
            side=heatmaps.SIDE,
            panels=panels(report),
            panel_size=(WIDTH, HEIGHT),
            tree=tree.lineage_tree(people, chosen.weights) if chosen else None,
            node=tree.NODE,
            lineage=lineage(report, chosen.weights) if chosen else [],
            best=people.best(BEST),
            children=sum(1 for individual in report.individuals if not people.is_expert(individual.id)),
            broken=[one.id for one in report.individuals if one.broken],
            unscored=[one.id for one in report.individuals if not (one.scores or one.stop or one.broken)],
            unit=unit,
            costs=costs,
            manifest=_manifest(report),
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
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    environment.filters |= {
        "percent": formats.percent,
        "points": formats.points,
        "duration": formats.duration,
        "count": formats.count,
        "at": formats.coordinate,
        "moment": formats.moment,
        "shorten": formats.shorten,
        "mean": lambda scores: sum(scores) / len(scores) if scores else None,
    }
    return environment


def _elites(
    people: People, archives: Iterable[heatmaps.ArchiveMaps], scatters: Iterable[scatter.Scatter]
) -> dict[int, tuple[str, tuple[int, ...]]]:
    """Return the description and the parents of everybody who is in a picture; the page says them once each."""
    shown = {cell.who for own in archives for heat_map in own.maps for cell in heat_map.cells}
    shown |= {dot.point.who for own in scatters for dot in own.dots}
    return {who: (people.describe(who), people.parents(who)) for who in sorted(shown)}


def _manifest(report: Report) -> str:
    """Return the manifest as people write it, ready for ``kubectl apply``; nothing if the report has none."""
    if not report.manifest:
        return ""
    document = {
        "apiVersion": "cycleqd.dev/v1alpha1",
        "kind": "CycleQDRun",
        "metadata": {"name": report.run},
        "spec": report.manifest,
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _asset(name: str) -> str:
    return files("cycleqd_runner.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the name of an inline style or script in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
