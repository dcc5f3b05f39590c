"""The CustomResourceDefinition in a real API server: what it takes, fills in and refuses, in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cycleqd.api import CycleQDRun
from tests.e2e.cluster import Kubectl
from tests.e2e.manifests import BAD, GOOD, ONLY_ON_CLUSTERS, Edits, edited, largest, minimal

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
RUNS = "cycleqdruns.cycleqd.dev"


def _without_empty(value: Any) -> Any:
    """Leave out empty objects: the models have them where the API server has nothing."""
    if isinstance(value, dict):
        inner = {name: _without_empty(field) for name, field in value.items()}
        return {name: field for name, field in inner.items() if field != {}}
    return [_without_empty(entry) for entry in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("manifest", [pytest.param(manifest, id=name) for name, manifest in GOOD.items()])
def test_good_manifests_are_accepted_and_mean_the_same_afterwards(
    kubectl: Kubectl, namespace: str, manifest: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    manifest = edited(manifest, {"metadata.name": _name(request)})
    assert kubectl.apply(manifest, namespace) == (True, "")
    stored = kubectl.get(RUNS, manifest["metadata"]["name"], namespace)
    assert CycleQDRun.model_validate(stored).spec == _meant(manifest)


def _name(request: pytest.FixtureRequest) -> str:
    """Return the name of the table's row, or for the largest manifest a name of the largest length."""
    row: str = request.node.callspec.id
    return "l" * 40 if row == "largest" else row


def _meant(manifest: dict[str, Any]) -> Any:
    """Return the spec as the models read it; a null means the default, as it does in Kubernetes."""
    spec = {name: field for name, field in manifest["spec"].items() if field is not None}
    return CycleQDRun.model_validate({**manifest, "spec": spec}).spec


def test_the_api_server_fills_in_every_default(kubectl: Kubectl, namespace: str) -> None:
    """So that ``kubectl get`` shows what a run does, and the rules about changes have something to compare."""
    manifest = minimal("defaults")
    assert kubectl.apply(manifest, namespace)[0]
    stored = kubectl.get(RUNS, "defaults", namespace)
    ours = CycleQDRun.model_validate(manifest).spec.model_dump(by_alias=True, exclude_none=True, mode="json")
    # Fields of evaluators have different defaults by type, and cannot have one in the schema.
    for spec in (stored["spec"], ours):
        for task in spec["tasks"]:
            task["evaluator"] = task["evaluator"]["type"]
    assert _without_empty(stored["spec"]) == _without_empty(ours)


@pytest.mark.parametrize(("edits", "message"), [pytest.param(*row, id=name) for name, row in BAD.items()])
def test_bad_manifests_are_refused_and_the_field_is_named(
    kubectl: Kubectl, namespace: str, edits: Edits, message: str, request: pytest.FixtureRequest
) -> None:
    manifest = edited(minimal("bad"), edits)
    ok, error = kubectl.apply(manifest, namespace, server_side=False)
    assert not ok
    assert message in error
    if request.node.callspec.id not in ONLY_ON_CLUSTERS:  # the laptop refuses what the cluster refuses
        with pytest.raises(ValidationError):
            CycleQDRun.model_validate(manifest)


def test_an_unknown_field_is_refused_in_server_side_apply_as_well(kubectl: Kubectl, namespace: str) -> None:
    ok, error = kubectl.apply(edited(minimal("bad"), {"spec.search.kids": 1}), namespace)
    assert not ok
    assert ".spec.search.kids: field not declared in schema" in error


def test_nulls_of_other_variants_never_get_in(kubectl: Kubectl, namespace: str) -> None:
    """A plain create drops them, server-side apply refuses them; the models would refuse what let them through."""
    manifest = edited(minimal("null"), {"spec.tasks.0.evaluator": {"type": "LmEval", "task": "gsm8k", "data": None}})
    ok, error = kubectl.apply(manifest, namespace)
    assert not ok
    assert "spec.tasks[0].evaluator.data" in error
    kubectl.must("create", "--namespace", namespace, "--filename", "-", stdin=json.dumps(manifest))
    evaluator = kubectl.get(RUNS, "null", namespace)["spec"]["tasks"][0]["evaluator"]
    assert evaluator == {"type": "LmEval", "task": "gsm8k"}


CHANGED_ITEMS = minimal()["spec"]["tasks"]
CHANGED_ITEMS[0]["items"] = {"search": 50}
ADDED = minimal("x", 3)["spec"]

FROZEN: dict[str, tuple[Edits, str]] = {
    "base-model": ({"baseModel": {"uri": "hf://other/base"}}, "spec.baseModel cannot change during a run"),
    "expert": (
        {"experts": [{"name": "expert-0", "uri": "s3://models/9"}, ADDED["experts"][1]]},
        "spec.experts cannot change during a run",
    ),
    "order-of-experts": ({"experts": minimal()["spec"]["experts"][::-1]}, "the order of spec.experts cannot change"),
    "one-expert-more": (
        {"experts": ADDED["experts"], "tasks": ADDED["tasks"]},
        "spec.experts cannot change during a run",
    ),
    "order-of-tasks": ({"tasks": minimal()["spec"]["tasks"][::-1]}, "the order of spec.tasks cannot change"),
    "items-of-a-task": ({"tasks": CHANGED_ITEMS}, "spec.tasks cannot change during a run"),
    "storage": ({"storage": {"uri": "s3://runs/elsewhere"}}, "spec.storage cannot change during a run"),
    "seed": ({"search": {"seed": 1}}, "spec.search.seed cannot change during a run"),
    "strict": ({"search": {"strict": True}}, "spec.search.strict cannot change during a run"),
    "mutation": ({"search": {"mutation": {"maxScale": 0.2}}}, "spec.search.mutation cannot change during a run"),
    "rank": ({"search": {"basis": {"rank": 8}}}, "spec.search.basis cannot change during a run"),
    "fewer-children": ({"search": {"children": 1199}}, "spec.search.children can only be raised"),
    "seed-by-removal-of-search": ({"search": None}, "spec.search.seed cannot change during a run"),
}

MUTABLE: dict[str, Edits] = {
    "paused": {"desiredState": "Paused"},
    "running-again": {"desiredState": "Running"},
    "parallelism": {"workers": {"parallelism": 16}},
    "block-size": {"workers": {"childrenPerJob": 5}},
    "pod-template": {"workers": {"template": {"nodeSelector": {"gpu": "a100"}}}},
    "more-children": {"search": {"children": 5000}},
    "deadline": {"activeDeadlineSeconds": 3600},
    "no-deadline": {"activeDeadlineSeconds": None},
    "ttl": {"ttlSecondsAfterFinished": 60},
    "failure-policy": {"failurePolicy": {"maxQuarantined": 100}},
    "finalize": {"finalize": {"candidates": 8}},
    "benchmarks": {
        "report": {"benchmarks": [{"name": "gsm8k", "evaluator": {"type": "LmEval", "task": "gsm8k"}}]},
    },
    "engine": {"engine": {"args": {"threads": 2}}},
    "cancelled": {"desiredState": "Cancelled"},
}


@pytest.fixture(scope="module")
def run(kubectl: Kubectl, namespace: str) -> str:
    """A run that the tests of changes share; refused changes leave it as it was."""
    assert kubectl.apply(edited(minimal("changes"), {"spec.search.seed": 42}), namespace)[0]
    return "changes"


@pytest.mark.parametrize(("change", "message"), [pytest.param(*row, id=name) for name, row in FROZEN.items()])
def test_what_decides_the_results_cannot_change(
    kubectl: Kubectl, namespace: str, run: str, change: Edits, message: str
) -> None:
    before = kubectl.get(RUNS, run, namespace)["metadata"]["generation"]
    ok, error = kubectl.patch(RUNS, run, namespace, {"spec": change})
    assert not ok
    assert message in error
    assert kubectl.get(RUNS, run, namespace)["metadata"]["generation"] == before


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in MUTABLE.items()])
def test_what_steers_a_run_can(kubectl: Kubectl, namespace: str, run: str, change: Edits) -> None:
    assert kubectl.patch(RUNS, run, namespace, {"spec": change}) == (True, "")
    assert _holds(kubectl.get(RUNS, run, namespace)["spec"], change)


def _holds(value: Any, change: Any) -> bool:
    """Return whether an object has what a merge patch put there."""
    if isinstance(change, dict):
        return all(_holds((value or {}).get(name), inner) for name, inner in change.items())
    return bool(value == change)


def test_the_largest_run_can_be_changed(kubectl: Kubectl, namespace: str) -> None:
    """The rules that compare old and new stay within the API server's budget."""
    manifest = edited(largest(), {"metadata.name": "large"})
    assert kubectl.apply(manifest, namespace) == (True, "")
    assert kubectl.patch(RUNS, "large", namespace, {"spec": {"workers": {"parallelism": 2}}}) == (True, "")
    order = {"experts": manifest["spec"]["experts"][::-1]}
    assert "the order of spec.experts cannot change" in kubectl.patch(RUNS, "large", namespace, {"spec": order})[1]


def test_status_is_a_thing_of_its_own(kubectl: Kubectl, namespace: str) -> None:
    assert kubectl.apply(minimal("status"), namespace)[0]
    kubectl.patch(RUNS, "status", namespace, {"status": {"state": "Breeding"}})
    assert "status" not in kubectl.get(RUNS, "status", namespace), "only the subresource writes it"

    both = {"spec": {"workers": {"parallelism": 9}}, "status": {"state": "Breeding"}}
    assert kubectl.patch(RUNS, "status", namespace, both, "--subresource=status") == (True, "")
    stored = kubectl.get(RUNS, "status", namespace)
    assert stored["status"]["state"] == "Breeding"
    assert stored["spec"]["workers"]["parallelism"] == 1, "the subresource writes nothing else"
    assert stored["metadata"]["generation"] == 1, "generations count specs"
    assert CycleQDRun.model_validate(stored).status is not None

    assert kubectl.patch(RUNS, "status", namespace, {"spec": {"workers": {"parallelism": 9}}})[0]
    stored = kubectl.get(RUNS, "status", namespace)
    assert (stored["metadata"]["generation"], stored["status"]["state"]) == (2, "Breeding")

    ok, error = kubectl.patch(RUNS, "status", namespace, {"status": {"state": "Thinking"}}, "--subresource=status")
    assert not ok
    assert 'status.state: Unsupported value: "Thinking"' in error


def test_conditions_are_a_list_with_keys(kubectl: Kubectl, namespace: str) -> None:
    """Two writers, each with a condition: both stay."""
    name = "conditions"
    assert kubectl.apply(minimal(name), namespace)[0]
    for writer, kind in (("one", "Prepared"), ("two", "Degraded")):
        condition = {"type": kind, "status": "True", "reason": "Test", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        head = {field: minimal(name)[field] for field in ("apiVersion", "kind", "metadata")}
        status = {**head, "status": {"conditions": [condition]}}
        options = ("--subresource=status", f"--field-manager={writer}")
        assert kubectl.apply(status, namespace, *options) == (True, "")
    stored = CycleQDRun.model_validate(kubectl.get(RUNS, name, namespace))
    assert stored.status is not None
    assert {condition.type for condition in stored.status.conditions} == {"Prepared", "Degraded"}
    kubectl.wait(RUNS, name, "condition=Degraded", namespace, seconds=5)


def test_what_users_see(kubectl: Kubectl, namespace: str) -> None:
    assert kubectl.apply(minimal("seen"), namespace)[0]
    status = {"state": "Breeding", "progress": "12/1200", "coverage": 0.25, "best": 0.5, "running": 3}
    assert kubectl.patch(RUNS, "seen", namespace, {"status": status}, "--subresource=status")[0]
    head, row = kubectl.must("get", "cqd", "seen", "--namespace", namespace).splitlines()
    assert head.split() == ["NAME", "STATE", "PROGRESS", "COVERAGE", "BEST", "RUNNING", "AGE"]
    assert row.split()[:-1] == ["seen", "Breeding", "12/1200", "0.25", "0.5", "3"]
    assert "may be raised later" in kubectl.must("explain", "cqd.spec.search.children")


def test_the_api_server_finds_nothing_wrong_with_the_definition(kubectl: Kubectl, namespace: str) -> None:
    conditions = kubectl.get("crd", RUNS)["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "Established": "True",
        "NamesAccepted": "True",
    }
