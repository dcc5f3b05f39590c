"""What is kept of a Job, by the Job's life."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from cycleqd.plan import Work
from cycleqd_operator import labels
from cycleqd_operator.job_view import JobView
from cycleqd_operator.work_record import spec_digest
from tests.operator.manifests import BLOCK, RUN, WORK, job, spec

CREATED = 1_795_417_200.0
"""2026-11-23T07:00:00Z."""


def _body(work: Work = BLOCK, status: dict[str, Any] | None = None, **metadata: Any) -> Any:
    """Return a Job as the API server tells it."""
    body = copy.deepcopy(job(work))
    body["metadata"] |= {"uid": "job-1", "creationTimestamp": "2026-11-23T07:00:00Z", **metadata}
    return {**body, "status": status or {}}


def _view(**status: Any) -> JobView:
    view = JobView.of(_body(status=status))
    assert view is not None
    return view


def _condition(kind: str, status: str = "True", **fields: str) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": "2026-11-23T07:01:40Z", **fields}


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.role)
def test_a_view_tells_what_the_job_was_made_for(work: Work) -> None:
    view = JobView.of(_body(work))
    assert view is not None
    assert view.work == work
    assert (view.namespace, view.uid, view.run_name, view.run_uid) == ("research", "job-1", "demo", RUN.uid)
    assert view.name == job(work)["metadata"]["name"]
    assert (view.spec_digest, view.generation, view.created_at) == (spec_digest(spec()), 7, CREATED)
    assert not view.deleting


COMPLETE = _condition("Complete", reason="CompletionsReached", message="Reached expected number of succeeded pods")
FAILED = _condition("Failed", reason="PodFailurePolicy", message="Container worker failed with exit code 2.")


@pytest.mark.parametrize(
    ("conditions", "state", "ended_at", "reason"),
    [
        pytest.param([], "Active", None, "", id="new"),
        pytest.param([_condition("Suspended")], "Active", None, "", id="held back"),
        pytest.param([_condition("FailureTarget")], "Active", None, "", id="about to fail"),
        pytest.param([_condition("SuccessCriteriaMet")], "Active", None, "", id="about to be complete"),
        pytest.param([_condition("Failed", "False")], "Active", None, "", id="not failed"),
        pytest.param([_condition("SuccessCriteriaMet"), COMPLETE], "Complete", CREATED + 100, "", id="complete"),
        pytest.param([_condition("FailureTarget"), FAILED], "Failed", CREATED + 100, "PodFailurePolicy", id="failed"),
    ],
)
def test_a_job_has_ended_when_its_last_pod_has(
    conditions: list[dict[str, str]], state: str, ended_at: float | None, reason: str
) -> None:
    view = _view(conditions=conditions)
    assert (view.state, view.ended_at, view.reason) == (state, ended_at, reason)
    assert bool(view.message) == bool(reason)


def test_pods_are_counted() -> None:
    assert (_view().active, _view().ready, _view().terminating) == (0, 0, 0)
    view = _view(active=1, ready=1, terminating=2)
    assert (view.active, view.ready, view.terminating) == (1, 1, 2)


def test_a_job_on_its_way_out_and_a_suspended_one_say_so() -> None:
    view = JobView.of(_body(deletionTimestamp="2026-11-23T07:02:00Z"))
    assert view is not None
    assert view.deleting
    body = _body()
    body["spec"]["suspend"] = True
    suspended = JobView.of(body)
    assert suspended is not None
    assert suspended.suspended
    assert not _view().suspended


def _annotated(name: str, value: str | None) -> Any:
    body = _body()
    annotations = {**body["metadata"]["annotations"], name: value}
    body["metadata"]["annotations"] = {key: text for key, text in annotations.items() if text is not None}
    return body


OWNER = _body()["metadata"]["ownerReferences"][0]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_annotated(labels.WORK, None), id="no work"),
        pytest.param(_annotated(labels.WORK, "what?"), id="work that is none"),
        pytest.param(_annotated(labels.SPEC, None), id="no spec"),
        pytest.param(_annotated(labels.GENERATION, None), id="no generation"),
        pytest.param(_annotated(labels.GENERATION, "new"), id="a generation that is no number"),
        pytest.param(_body(annotations=None), id="no annotations"),
        pytest.param(_body(ownerReferences=None), id="no owner"),
        pytest.param(_body(ownerReferences=[{**OWNER, "kind": "CronJob"}]), id="another kind of owner"),
        pytest.param(_body(ownerReferences=[{**OWNER, "controller": False}]), id="an owner that does not control it"),
    ],
)
def test_a_job_that_only_looks_like_ours_is_ignored(body: Any) -> None:
    assert JobView.of(body) is None


def test_views_are_equal_unless_something_happened() -> None:
    assert _view(active=1) == _view(active=1)
    assert _view(active=1) != _view(active=1, ready=1)


def test_views_are_small_and_share_what_they_have_in_common() -> None:
    first, second = JobView.of(_body(WORK[0])), JobView.of(_body(WORK[1]))
    assert first is not None
    assert second is not None
    assert not hasattr(first, "__dict__")
    for shared in ("namespace", "run_name", "run_uid", "spec_digest"):
        assert getattr(first, shared) is getattr(second, shared)
    assert "body" not in {field.name for field in dataclasses.fields(first)}
