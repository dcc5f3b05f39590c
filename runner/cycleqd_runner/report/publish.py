"""Writing the report to the run's store: pictures and page first, the data last."""

from __future__ import annotations

from cycleqd import keys
from cycleqd.report import Report
from cycleqd.store import ObjectStore
from cycleqd_runner.report.html import render
from cycleqd_runner.report.plots import pictures


def publish(store: ObjectStore, report: Report) -> None:
    """Write ``final/*.png``, ``final/report.html`` and, last, ``final/report.json``: where it is, everything is."""
    for name, png in pictures(report).items():
        store.put(f"{keys.FINAL}{name}", png)
    store.put(keys.REPORT_PAGE, render(report).encode())
    store.put(keys.REPORT, report.model_dump_json(indent=1).encode())
