"""What Prometheus sees: how runs stand (:mod:`cycleqd_operator.run_metrics`), and how the operator does.

Labels are bounded by what people configure and by our own names: namespace, run, task, role, state, reason, operation.
No child, Job, node or pod has a series.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cycleqd import __version__
from cycleqd.api.status import RunStatus
from cycleqd.errors import AccessDenied, CycleQDError, MissingInput, MissingObject, NoSpace, StoreUnreachable
from cycleqd_operator.cluster import ClusterUnreachable, Refused
from cycleqd_operator.run_metrics import Jobs, RunCollector
from cycleqd_operator.tally import Tally

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of what :meth:`Metrics.render` returns."""
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds."""
UNEXPECTED = "Unexpected"
"""Reason of all errors that are not ours."""
RECONCILE_ERRORS = (ClusterUnreachable, Refused, StoreUnreachable)
"""What to reckon with. Counted from zero: Prometheus cannot see the first error of a series that begins with it."""
S3_ERRORS = (AccessDenied, MissingInput, NoSpace, StoreUnreachable)
"""Likewise."""


class Metrics:
    """The operator's metrics, in a registry of their own. All methods may be called from several threads."""

    def __init__(self) -> None:
        """Know no run yet."""
        # Otherwise each counter and histogram has one more series, with the time of its creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client's own
        self.registry = registry = CollectorRegistry()
        self._runs = RunCollector()
        registry.register(self._runs)
        ProcessCollector(registry=registry)
        self._reconcile_seconds = Histogram(
            "cycleqd_operator_reconcile_duration_seconds", "One look at one run.", registry=registry
        )
        self._reconcile_errors = _error_counter(
            "cycleqd_operator_reconcile_errors", "Looks that failed.", RECONCILE_ERRORS, registry
        )
        self._last_reconcile = Gauge(
            "cycleqd_operator_last_reconcile_timestamp_seconds",
            "When a look last succeeded; before the first one, when this process began to work.",
            registry=registry,
        )
        self._tended = Gauge("cycleqd_operator_runs", "Runs that this process looks after.", registry=registry)
        self._s3_seconds = Histogram(
            "cycleqd_s3_request_duration_seconds",
            "The operator's requests to S3, listings with all their pages.",
            ["operation"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._s3_errors = _error_counter("cycleqd_s3_request_errors", "Those that failed.", S3_ERRORS, registry)
        self._status_writes = Counter(
            "cycleqd_operator_status_writes", "Statuses written to the API server.", registry=registry
        )
        self._leader = Gauge(
            "cycleqd_operator_leader", "1 while this process holds the lease, or needs none.", registry=registry
        )
        build = Info("cycleqd_build", "What runs here.", registry=registry)
        build.info({"version": __version__, "python": platform.python_version()})

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def show(
        self,
        namespace: str,
        run: str,
        status: RunStatus,
        *,
        wanted: int,
        jobs: Jobs,
        gpus: int = 0,
        tally: Tally | None = None,
    ) -> None:
        """Show how a run stands.

        Args:
            namespace: of the run.
            run: its name.
            status: the last one, written or not.
            wanted: children that its spec asks for.
            jobs: how many unfinished Jobs of a role are queued, pending or running; none if left out.
            gpus: that the running workers hold.
            tally: of its results; None: they could not be read now, and what was shown stays.
        """
        self._runs.run(namespace, run).update(status, wanted, jobs, gpus, tally)

    def forget(self, namespace: str, run: str) -> None:
        """Drop all series of a run; one that was never shown changes nothing."""
        self._runs.shown.pop((namespace, run), None)

    @contextmanager
    def reconcile(self, *expected: type[Exception]) -> Iterator[None]:
        """Measure one look at a run; errors of the ``expected`` classes, such as a run that is gone, do not count."""
        with self._reconcile_seconds.time(), _count_errors(self._reconcile_errors, *expected):
            yield
        self._last_reconcile.set_to_current_time()

    @contextmanager
    def s3_request(self, operation: str) -> Iterator[None]:
        """Measure one request to S3, by the store's method; an object that does not exist is an answer, too."""
        with self._s3_seconds.labels(operation).time(), _count_errors(self._s3_errors, MissingObject):
            yield

    def status_written(self) -> None:
        """Count one status that was written."""
        self._status_writes.inc()

    def set_leader(self, *, leads: bool) -> None:
        """Show whether this process does the work."""
        self._leader.set(leads)
        if leads:
            self._last_reconcile.set_to_current_time()

    def set_runs(self, runs: int) -> None:
        """Show how many runs this process looks after."""
        self._tended.set(runs)


def _error_counter(
    name: str, text: str, expected: tuple[type[CycleQDError], ...], registry: CollectorRegistry
) -> Counter:
    """Return a counter of errors by reason, with those that are to be expected at zero."""
    counter = Counter(name, text, ["reason"], registry=registry)
    for reason in (*(error.__name__ for error in expected), UNEXPECTED):
        counter.labels(reason=reason)
    return counter


@contextmanager
def _count_errors(counter: Counter, *expected: type[Exception]) -> Iterator[None]:
    """Count errors by their class; those that nobody foresaw share one reason, so that reasons are bounded."""
    try:
        yield
    except expected:
        raise
    except Exception as error:
        counter.labels(reason=type(error).__name__ if isinstance(error, CycleQDError) else UNEXPECTED).inc()
        raise
