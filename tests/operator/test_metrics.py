"""What Prometheus reads: values, labels that stay bounded, series that vanish with their run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cycleqd import __version__
from cycleqd.api.status import RunStatus
from cycleqd.errors import MissingObject, StoreUnreachable
from cycleqd.fold import Entry
from cycleqd_operator import run_metrics
from cycleqd_operator.metrics import CONTENT_TYPE, Metrics
from cycleqd_operator.run_metrics import Jobs
from cycleqd_operator.status import next_status
from cycleqd_operator.tally import Tally
from tests.operator.standings import standing

LABELS = {"namespace", "run", "task", "role", "state", "reason", "operation"}
"""Those that series of ours may have."""
LIBRARY_LABELS = {"le", "version", "python"}
"""Of histograms and of the build info."""


class Vanished(Exception):
    """An error that is expected."""


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def results(*evaluate_seconds: float, **fields: Any) -> Tally:
    """Return the tally of results whose evaluations took so long."""
    return Tally().plus(
        Entry(individual, 0, None, evaluate_seconds=seconds, **fields)
        for individual, seconds in enumerate(evaluate_seconds)
    )


def samples(metrics: Metrics) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return the value of the series that has these labels, and perhaps more; None if there is none."""
    found = [number for found, others, number in samples(metrics) if found == name and labels.items() <= others.items()]
    assert len(found) < 2, f"{name}{labels} means {len(found)} series"
    return found[0] if found else None


def show(
    metrics: Metrics, run: str = "small", namespace: str = "lab", tally: Tally | None = None, **fields: Any
) -> RunStatus:
    found = standing(**fields)
    status = next_status(None, found)
    jobs: Jobs = {("breed", "running"): 2, ("breed", "pending"): 1, ("evaluate", "queued"): 3}
    metrics.show(namespace, run, status, wanted=found.spec.search.children, jobs=jobs, gpus=4, tally=tally)
    return status


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        pytest.param("cycleqd_run_state", {"state": "Breeding"}, 1, id="the state"),
        pytest.param("cycleqd_run_state", {"state": "Paused"}, 0, id="not the state"),
        pytest.param("cycleqd_run_children", {"state": "done"}, 3, id="children with a result"),
        pytest.param("cycleqd_run_children", {"state": "quarantined"}, 1, id="children given up"),
        pytest.param("cycleqd_run_children", {"state": "missing"}, 2, id="children to be bred"),
        pytest.param("cycleqd_run_degraded", {"reason": "Quarantined"}, 1, id="degraded, and why"),
        pytest.param("cycleqd_run_jobs", {"role": "breed", "state": "running"}, 2, id="Jobs whose pod runs"),
        pytest.param("cycleqd_run_jobs", {"role": "breed", "state": "pending"}, 1, id="Jobs whose pod waits"),
        pytest.param("cycleqd_run_jobs", {"role": "evaluate", "state": "queued"}, 3, id="Jobs that a queue holds back"),
        pytest.param("cycleqd_run_jobs", {"role": "prepare", "state": "running"}, 0, id="no Jobs"),
        pytest.param("cycleqd_run_gpus", {}, 4, id="GPUs held"),
        pytest.param("cycleqd_run_worker_failures_total", {}, 4, id="failed workers"),
    ],
)
def test_a_run(metrics: Metrics, name: str, labels: dict[str, str], expected: float) -> None:
    show(metrics, done=7, quarantined=(6,), failures=4)
    assert value(metrics, name, namespace="lab", run="small", **labels) == expected


def test_quality(metrics: Metrics) -> None:
    status = show(metrics)
    assert value(metrics, "cycleqd_run_coverage_ratio", run="small") == status.coverage
    assert value(metrics, "cycleqd_run_best_score", run="small") == status.best
    for task in status.tasks:
        assert value(metrics, "cycleqd_run_task_qd_score", task=task.task) == task.qd_score
        assert value(metrics, "cycleqd_run_task_best_score", task=task.task) == task.best
        assert value(metrics, "cycleqd_run_task_coverage_ratio", task=task.task) == task.coverage


def test_what_is_not_known_has_no_series(metrics: Metrics) -> None:
    show(metrics, done=1, phase="Evaluating")
    assert value(metrics, "cycleqd_run_coverage_ratio", run="small") is None
    assert value(metrics, "cycleqd_run_task_qd_score", task="sql-task") is None


def test_a_healthy_run_is_not_degraded(metrics: Metrics) -> None:
    show(metrics)
    assert value(metrics, "cycleqd_run_degraded", run="small", reason="Healthy") == 0


def test_only_the_last_state_and_reason_remain(metrics: Metrics) -> None:
    for look in ({"troubles": (("Odd", "Odd."),)}, {"phase": "Finalizing", "troubles": (("Even", "Even."),)}):
        show(metrics, **look)
    assert value(metrics, "cycleqd_run_degraded", run="small", reason="Even") == 1
    assert value(metrics, "cycleqd_run_degraded", reason="Odd") is None
    assert value(metrics, "cycleqd_run_state", state="Breeding") == 0


def test_more_results_than_children_wanted_are_not_missing(metrics: Metrics) -> None:
    metrics.show("lab", "small", RunStatus(children=9), wanted=6, jobs={})
    assert value(metrics, "cycleqd_run_children", state="missing") == 0


def test_what_results_add_up_to(metrics: Metrics) -> None:
    tally = results(1, 1.5, 9999, seconds=10000, gpus=2, prompt_tokens=100, answer_tokens=7, saved=9)
    show(metrics, tally=tally)
    name = "cycleqd_run_evaluation_seconds"
    assert [value(metrics, f"{name}_bucket", le=le) for le in ("1.0", "3.0", "7200.0", "+Inf")] == [1, 2, 2, 3]
    assert value(metrics, f"{name}_count", run="small") == 3
    assert value(metrics, f"{name}_sum", run="small") == 10001.5
    assert value(metrics, "cycleqd_run_worker_seconds_total", run="small") == 30000
    assert value(metrics, "cycleqd_run_worker_busy_ratio", run="small") == 10001.5 / 30000
    assert value(metrics, "cycleqd_run_gpu_seconds_total", run="small") == 60000
    assert value(metrics, "cycleqd_run_gpu_busy_seconds_total", run="small") == 20003
    assert value(metrics, "cycleqd_run_prompt_tokens_total", run="small") == 300
    assert value(metrics, "cycleqd_run_answer_tokens_total", run="small") == 21
    assert value(metrics, "cycleqd_run_stopped_children_total", run="small") == 3
    assert value(metrics, "cycleqd_run_saved_items_total", run="small") == 27


def test_counters_do_not_begin_at_zero_before_the_results_are_read(metrics: Metrics) -> None:
    """After a restart, Prometheus would add all that was counted before once more."""
    show(metrics)
    names = {name for name, labels, _ in samples(metrics) if "run" in labels}
    assert not names & {"cycleqd_run_worker_seconds_total", "cycleqd_run_evaluation_seconds_count"}


@pytest.mark.parametrize("after", [None, results(1)], ids=["the store is away", "it is read again"])
def test_counters_do_not_fall(metrics: Metrics, after: Tally | None) -> None:
    show(metrics, tally=results(1, 10))
    show(metrics, tally=after)
    assert value(metrics, "cycleqd_run_evaluation_seconds_sum", run="small") == 11


@pytest.mark.parametrize(
    ("change", "is_progress"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"active_jobs": 3, "ready_jobs": 2}, False, id="Jobs come and go"),
        pytest.param({"failures": 2}, False, id="a worker fails"),
        pytest.param({"troubles": (("Odd", "Odd."),)}, False, id="trouble"),
        pytest.param({"tally": results(1, 1)}, True, id="a result"),
        pytest.param({"quarantined": (4,)}, True, id="a child is given up"),
        pytest.param({"n_prepared": 2}, True, id="another number of experts is prepared"),
        pytest.param({"phase": "Finalizing"}, True, id="the state"),
    ],
)
def test_progress(metrics: Metrics, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], is_progress: bool) -> None:
    now = 100.0
    monkeypatch.setattr(run_metrics, "time", SimpleNamespace(time=lambda: now))
    show(metrics, tally=results(1))
    now = 200.0
    show(metrics, **{"tally": results(1), **change})
    seen = value(metrics, "cycleqd_run_last_progress_timestamp_seconds")
    assert seen == (200 if is_progress else 100)


def test_a_forgotten_run_has_no_series(metrics: Metrics) -> None:
    for run, namespace in (("small", "lab"), ("small", "office"), ("large", "lab")):
        show(metrics, run, namespace, tally=results(1))
    metrics.forget("lab", "small")
    metrics.forget("lab", "unheard-of")
    left = {(labels["namespace"], labels["run"]) for _, labels, _ in samples(metrics) if "run" in labels}
    assert left == {("office", "small"), ("lab", "large")}


def test_labels_are_bounded(metrics: Metrics) -> None:
    show(metrics, done=9, quarantined=(7, 8), damaged={"results/1.json": "x"})
    exercise(metrics)
    used = {name for _, labels, _ in samples(metrics) for name in labels}
    assert used <= LABELS | LIBRARY_LABELS


def test_a_larger_run_has_no_more_series(metrics: Metrics) -> None:
    counts = []
    for done in (9, 300):
        show(metrics, tally=results(*range(done)), done=done, children=300, quarantined=tuple(range(8, done)))
        counts.append(sum(1 for _ in samples(metrics)))
    assert counts[0] == counts[1]


def exercise(metrics: Metrics) -> None:
    """Make every metric of the operator have a series."""
    with pytest.raises(ValueError, match="bug"), metrics.reconcile():
        raise ValueError("bug")
    with pytest.raises(StoreUnreachable), metrics.s3_request("get"):
        raise StoreUnreachable("S3 is silent.")
    metrics.status_written()
    metrics.set_leader(leads=True)
    metrics.set_runs(2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(StoreUnreachable("S3 is silent."), "StoreUnreachable", id="one of ours has its name"),
        pytest.param(ValueError("bug"), "Unexpected", id="all others share one"),
    ],
)
@pytest.mark.parametrize(
    ("measure", "name"),
    [
        pytest.param(Metrics.reconcile, "cycleqd_operator_reconcile_errors_total", id="reconcile"),
        pytest.param(lambda metrics: metrics.s3_request("get"), "cycleqd_s3_request_errors_total", id="s3"),
    ],
)
def test_errors(metrics: Metrics, error: Exception, reason: str, measure: Callable[..., Any], name: str) -> None:
    assert value(metrics, name, reason=reason) == 0, "the first error of a series that begins with it is not seen"
    with pytest.raises(type(error)), measure(metrics):
        raise error
    assert value(metrics, name, reason=reason) == 1


def test_expected_errors_do_not_count(metrics: Metrics) -> None:
    with pytest.raises(Vanished), metrics.reconcile(Vanished):
        raise Vanished
    with pytest.raises(MissingObject), metrics.s3_request("get"):
        raise MissingObject("There is no x.")
    assert {number for name, _, number in samples(metrics) if name.endswith("_errors_total")} == {0}
    assert value(metrics, "cycleqd_s3_request_duration_seconds_count", operation="get") == 1


def test_only_a_look_that_succeeds_is_the_last_one(metrics: Metrics) -> None:
    name = "cycleqd_operator_last_reconcile_timestamp_seconds"
    with pytest.raises(ValueError, match="bug"), metrics.reconcile():
        raise ValueError("bug")
    assert value(metrics, name) == 0
    with metrics.reconcile():
        pass
    assert value(metrics, name) > 1.7e9  # type: ignore[operator]
    assert value(metrics, "cycleqd_operator_reconcile_duration_seconds_count") == 2


def test_who_begins_to_lead_has_not_been_idle_since_1970(metrics: Metrics) -> None:
    metrics.set_leader(leads=True)
    assert value(metrics, "cycleqd_operator_last_reconcile_timestamp_seconds") > 1.7e9  # type: ignore[operator]


def test_the_operator_itself(metrics: Metrics) -> None:
    exercise(metrics)
    assert value(metrics, "cycleqd_operator_status_writes_total") == 1
    assert value(metrics, "cycleqd_operator_runs") == 2
    assert value(metrics, "cycleqd_operator_leader") == 1
    metrics.set_leader(leads=False)
    assert value(metrics, "cycleqd_operator_leader") == 0
    assert value(metrics, "cycleqd_build_info", version=__version__) == 1
    assert (value(metrics, "process_resident_memory_bytes") or 0) > 0


def test_there_are_no_series_of_creation_times(metrics: Metrics) -> None:
    exercise(metrics)
    assert not [name for name, _, _ in samples(metrics) if name.endswith("_created")]


def test_registries_are_not_shared() -> None:
    show(Metrics())
    assert value(Metrics(), "cycleqd_run_coverage_ratio") is None
    assert CONTENT_TYPE.startswith("text/plain")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_finds_nothing_to_object_to(metrics: Metrics) -> None:
    show(metrics, done=9, quarantined=(7,), tally=results(1))
    exercise(metrics)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.render(), capture_output=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
