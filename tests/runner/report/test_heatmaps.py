"""Heat maps can be read: outlines stand out from every colour of the scale."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb

from cycleqd_runner.report.heatmaps import DARK, archive_maps, best_score, colour_of
from tests.runner.report.support import demo_report

NOTICEABLE = 3.0
"""Least contrast of graphics in WCAG 2.1."""


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour in [0, 1], as WCAG defines it."""
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in to_rgb(colour)]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def test_outlines_can_be_seen_on_every_colour() -> None:
    for share in np.linspace(0.0, 1.0, 101):
        outline, ground = 1.0 if share < DARK else 0.0, luminance(colour_of(share))
        low, high = sorted((outline, ground))
        assert (high + 0.05) / (low + 0.05) >= NOTICEABLE, share


def test_cells_of_low_quality_are_dark() -> None:
    report = demo_report(3)
    scores = {one.id: one.scores or () for one in report.individuals}
    for task, own in enumerate(archive_maps(report)):
        for cell in own.maps[0].cells:
            assert cell.is_dark == (scores[cell.who][task] / best_score(report) < DARK)
