"""Jobs: names, what Kubernetes makes of a worker's end, whose they are, and what their annotations say."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cycleqd.errors import EXIT_BAD_INPUT, BadData
from cycleqd.plan import Work
from cycleqd_operator.jobs import is_ours, job_name
from cycleqd_operator.run_ref import RunRef
from cycleqd_operator.work_record import read_work, spec_digest, write_work
from tests.operator.manifests import BLOCK, RUN, WORK, job, maximal_spec, spec

EXPERTS = ("sql", "shell", "python")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

run_names = st.from_regex(DNS_LABEL, fullmatch=True).filter(lambda name: len(name) <= 253)
ids = st.sets(st.integers(0, 10**7), min_size=1, max_size=30).map(lambda found: tuple(sorted(found)))
works = st.one_of(
    st.sampled_from(EXPERTS).map(lambda name: Work("prepare", name)),
    ids.map(lambda found: Work("evaluate", ids=found)),
    ids.map(lambda found: Work("breed", ids=found)),
    st.just(Work("finalize")),
)


@pytest.mark.parametrize(
    ("work", "attempt", "name"),
    [
        pytest.param(Work("prepare", "python"), 0, "demo-prepare-2", id="an expert by its number"),
        pytest.param(Work("evaluate", ids=(1,)), 0, "demo-evaluate-1", id="an individual by its id"),
        pytest.param(BLOCK, 0, "demo-breed-3", id="a block by its first id"),
        pytest.param(BLOCK, 2, "demo-breed-3-2", id="a repetition by its count"),
        pytest.param(Work("finalize"), 0, "demo-finalize", id="there is one end"),
        pytest.param(Work("finalize"), 1, "demo-finalize-1", id="which may be repeated, too"),
    ],
)
def test_a_job_is_named_after_its_work(work: Work, attempt: int, name: str) -> None:
    assert job_name("demo", work, EXPERTS, attempt) == name


@given(run_names, works, st.integers(0, 10**4))
@example("a" * 62 + "-b", Work("breed", ids=(1234567,)), 50)
@example("a" * 50, Work("breed", ids=(1234567,)), 50)
@example("a" * 30 + "-" * 200 + "b", Work("finalize"), 0)
def test_any_job_name_is_a_dns_label(run: str, work: Work, attempt: int) -> None:
    name = job_name(run, work, EXPERTS, attempt)
    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= 63


@given(st.lists(st.tuples(run_names, works, st.integers(0, 3)), min_size=2, max_size=8))
@example([("a", Work("breed", ids=(3,)), 1), ("a-breed-3", Work("finalize"), 1)])
@example([("x" * 80 + "a", Work("finalize"), 0), ("x" * 80 + "b", Work("finalize"), 0)])
def test_different_work_has_different_names(jobs: list[tuple[str, Work, int]]) -> None:
    keys = {(run, work.key, attempt) for run, work, attempt in jobs}
    assert len({job_name(run, work, EXPERTS, attempt) for run, work, attempt in jobs}) == len(keys)


@given(works)
def test_work_survives_its_annotation(work: Work) -> None:
    assert read_work(write_work(work)) == work


def test_an_annotation_is_short_and_readable() -> None:
    assert write_work(Work("breed", ids=(*range(3, 33), 40))) == '{"role":"breed","ids":"3-32,40"}'


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"role":"dance"}', '{"role":"breed","ids":"x"}', '{"role":"breed","ids":[3]}']
)
def test_other_annotations_are_refused(text: str) -> None:
    with pytest.raises(BadData, match="describes no work"):
        read_work(text)


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [
        pytest.param(spec(search={"children": 9}), True, id="more children"),
        pytest.param(spec(workers={"parallelism": 9}), True, id="more workers"),
        pytest.param(spec(desiredState="Paused"), True, id="another state"),
        pytest.param(spec(search={"seed": 9}), False, id="another seed"),
        pytest.param(spec(storage={"uri": "s3://runs/other"}), False, id="another store"),
        pytest.param(spec(baseModel={"uri": "models/other"}), False, id="another model"),
    ],
)
def test_the_digest_tells_what_decides_the_results(changed: Any, is_same: bool) -> None:
    assert (spec_digest(changed) == spec_digest(spec())) == is_same
    assert re.fullmatch("[0-9a-f]{16}", spec_digest(changed))


def test_the_order_of_an_evaluators_arguments_means_nothing() -> None:
    def digest(arguments: dict[str, str]) -> str:
        tasks = spec().model_dump(mode="json", by_alias=True)["tasks"]
        tasks[0]["evaluator"] = {"type": "Inspect", "task": "x", "args": arguments}
        return spec_digest(spec(tasks=tasks))

    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.role)
def test_a_job_says_whose_it_is_and_what_it_does(work: Work) -> None:
    metadata = job(work)["metadata"]
    assert metadata["namespace"] == "research"
    assert metadata["labels"] == {
        "app.kubernetes.io/name": "cycleqd",
        "app.kubernetes.io/component": "worker",
        "app.kubernetes.io/managed-by": "cycleqd-operator",
        "app.kubernetes.io/instance": "demo",
        "cycleqd.dev/run": "demo",
        "cycleqd.dev/run-uid": RUN.uid,
        "cycleqd.dev/role": work.role,
    }
    assert json.loads(metadata["annotations"]["cycleqd.dev/work"])["role"] == work.role
    assert metadata["annotations"]["cycleqd.dev/generation"] == "7"
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "cycleqd.dev/v1alpha1",
            "kind": "CycleQDRun",
            "name": "demo",
            "uid": RUN.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def test_kubernetes_repeats_what_was_disturbed_and_nothing_else() -> None:
    body = job()["spec"]
    assert (body["completions"], body["parallelism"], body["backoffLimit"]) == (1, 1, 0)
    assert body["podReplacementPolicy"] == "Failed"
    assert body["ttlSecondsAfterFinished"] == 600
    disturbed, bad_input, stopped = body["podFailurePolicy"]["rules"]
    assert disturbed == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert (bad_input["action"], bad_input["onExitCodes"]["values"]) == ("FailJob", [EXIT_BAD_INPUT])
    assert (stopped["action"], stopped["onExitCodes"]["values"]) == ("Ignore", [143])


def test_a_queue_is_named_on_the_job_alone() -> None:
    body = job(of=spec(workers={"queueName": "research"}))
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert "kueue.x-k8s.io/queue-name" not in body["spec"]["template"]["metadata"]["labels"]


def test_the_same_input_gives_the_same_bytes_and_no_job_shares_state_with_another() -> None:
    first = job(of=maximal_spec())
    text = json.dumps(first)
    first["spec"]["template"]["spec"]["volumes"].clear()
    first["metadata"]["labels"].clear()
    first["spec"]["template"]["spec"]["containers"][0]["resources"].clear()
    assert json.dumps(job(of=maximal_spec())) == text


def _as_created(**metadata: Any) -> Any:
    """Return our Job as the API server holds it, with changes."""
    body = copy.deepcopy(job())
    body["metadata"] |= {"uid": "job-1", "creationTimestamp": "2026-11-23T07:00:00Z", **metadata}
    return body


FOREIGN_OWNER = {**job()["metadata"]["ownerReferences"][0], "uid": "somebody"}


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param(_as_created(), True, id="what we made and forgot"),
        pytest.param(_as_created(ownerReferences=None), False, id="nobody's"),
        pytest.param(_as_created(ownerReferences=[FOREIGN_OWNER]), False, id="an earlier run of the same name"),
        pytest.param(
            _as_created(ownerReferences=[{**FOREIGN_OWNER, "uid": RUN.uid, "controller": False}]),
            False,
            id="owned by us, but another's",
        ),
        pytest.param(_as_created(annotations=None), False, id="without annotations"),
        pytest.param(_as_created(labels={}), False, id="without the label that is watched"),
        pytest.param(
            _as_created(annotations={**job()["metadata"]["annotations"], "cycleqd.dev/spec": "0" * 16}),
            False,
            id="of another spec",
        ),
        pytest.param(
            _as_created(annotations={**job()["metadata"]["annotations"], "cycleqd.dev/work": "{}"}),
            False,
            id="of unknown work",
        ),
        pytest.param(
            _as_created(
                annotations={**job()["metadata"]["annotations"], "cycleqd.dev/work": '{"role":"breed","ids":"3"}'}
            ),
            True,
            id="of a shorter block",
        ),
    ],
)
def test_only_our_own_job_is_adopted(there: Any, expected: bool) -> None:
    assert is_ours(there, job()) == expected


def test_a_run_is_known_by_its_metadata() -> None:
    metadata = {"name": "demo", "namespace": "research", "uid": RUN.uid, "generation": 7, "labels": {}}
    assert RunRef.of({"metadata": metadata}) == RUN
