"""The manifest: the paper's numbers as defaults, rules that span fields, every field described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cycleqd.api import CycleQDRun, RunSpec
from cycleqd.api.search import EliteSampling, Grid, PaperEmitter, SvdMutation
from tests.core.support import run_spec, spec_dict

DESIGN_EXAMPLE = """
apiVersion: cycleqd.dev/v1alpha1
kind: CycleQDRun
metadata: {name: llama3-agents}
spec:
  baseModel: {uri: "hf://meta-llama/Meta-Llama-3-8B-Instruct"}
  experts:
    - {name: coding, uri: "s3://models/llama3-coding"}
    - {name: db, uri: "s3://models/llama3-db"}
    - {name: os, uri: "s3://models/llama3-os"}
  tasks:
    - name: mbpp
      expert: coding
      evaluator: {type: PythonTests, data: "s3://data/mbpp.jsonl"}
      items: {search: 200, validation: 50, test: 199}
    - {name: db, expert: db, evaluator: {type: AgentBenchDB, data: "s3://data/dbbench.jsonl"}}
    - {name: os, expert: os, evaluator: {type: AgentBenchOS, data: "s3://data/os.json"}, repeats: 5}
  search:
    children: 1200
    seed: 0
    mutation: {type: Svd, basis: Expert, maxScale: 0.3}
    sampling: {type: Elite}
    racing: {enabled: true}
  storage: {uri: "s3://runs/llama3-agents", credentialsSecretName: s3-credentials}
  engine: {type: VLLM, args: {maxModelLen: 4096}}
  workers:
    parallelism: 8
    childrenPerJob: 30
    queueName: research
    template: {nodeSelector: {gpu: h100}, tolerations: [{key: gpu, operator: Exists}]}
  desiredState: Running
  activeDeadlineSeconds: 604800
  ttlSecondsAfterFinished: 86400
"""


def test_the_designs_example_is_valid() -> None:
    run = CycleQDRun.model_validate(yaml.safe_load(DESIGN_EXAMPLE))
    assert run.metadata.name == "llama3-agents"
    assert [task.evaluator.type for task in run.spec.tasks] == ["PythonTests", "AgentBenchDB", "AgentBenchOS"]
    assert run.spec.tasks[2].repeats == 5
    assert run.spec.engine.args.max_model_len == 4096
    assert run.spec.ttl_seconds_after_finished == 86400


def test_a_manifest_survives_being_written() -> None:
    run = CycleQDRun.model_validate(yaml.safe_load(DESIGN_EXAMPLE))
    assert CycleQDRun.model_validate(run.model_dump(mode="json", by_alias=True)) == run


def test_a_spec_without_its_defaults_can_be_read_again() -> None:
    """As the report shows it: a variant keeps its type even if that is the default one."""
    search = {"mutation": {"type": "Svd", "maxScale": 0.2}, "crossover": {"type": "Linear", "mean": 2.0}}
    spec = run_spec(search=search | {"sampling": {"type": "Elite"}})
    short = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert short["search"] == search
    assert RunSpec.model_validate(short) == spec


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("search.children", 1200),
        ("search.seed", 0),
        ("search.archive.bins", 15),
        ("search.archive.lower_factor", 0.85),
        ("search.archive.upper_factor", 1.15),
        ("search.crossover.mean", 1.0),
        ("search.crossover.standard_deviation", 0.03),
        ("search.crossover.granularity", "Model"),
        ("search.mutation", SvdMutation(type="Svd", basis="Expert", max_scale=0.3)),
        ("search.mutation.signed", False),
        ("search.mutation.density", 1.0),
        ("search.mutation.step_learning_rate", 0.0),
        ("search.sampling", EliteSampling(type="Elite", alpha_low=0.5, alpha_high=0.8)),
        ("search.cycle", "Tasks"),
        ("search.emitter", PaperEmitter()),
        ("search.racing.enabled", False),
        ("search.noise.prior_items", 0),
        ("search.noise.reevaluate_every", 0),
        ("search.strict", False),
        ("desired_state", "Running"),
        ("sandbox", "Auto"),
        ("engine.type", "Auto"),
        ("workers.parallelism", 1),
    ],
)
def test_defaults_are_the_papers(path: str, value: object) -> None:
    found: Any = run_spec()
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def _changed(path: str, value: object) -> dict[str, Any]:
    """Return a valid spec with one field set; ``path`` is dotted, list indices are numbers."""
    spec = spec_dict()
    *parents, last = path.split(".")
    target: Any = spec
    for name in parents:
        target = target[int(name)] if name.isdecimal() else target.setdefault(name, {})
    target[int(last) if last.isdecimal() else last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("childern", 5, "childern\n.*Extra inputs", id="unknown field"),
        pytest.param(
            "search.sampling", {"type": "Elite", "alpha": 1}, "alpha\n.*Extra inputs", id="unknown field in a union"
        ),
        pytest.param(
            "tasks.0.evaluator", {"type": "Sqll"}, "does not match any of the expected tags", id="unknown evaluator"
        ),
        pytest.param("tasks.0.evaluator", {}, "Unable to extract tag", id="evaluator without a type"),
        pytest.param(
            "search.mutation", {"type": "None", "maxScale": 1}, "Extra inputs", id="a field of another variant"
        ),
        pytest.param("experts.0.name", "merged", "merged is reserved for the report", id="reserved name"),
        pytest.param("experts.0.name", "shell", "expert name shell is used twice", id="two experts of one name"),
        pytest.param("tasks.0.name", "shell-task", "task name shell-task is used twice", id="two tasks of one name"),
        pytest.param("tasks.0.expert", "sqk", r"unknown expert sqk \(did you mean sql\?\)", id="unknown expert"),
        pytest.param("tasks.0.expert", "shell", "expected one task per expert", id="an expert with two tasks"),
        pytest.param(
            "search", {"cycle": "Fixed", "fixedTask": 3}, r"fixedTask is 3, expected 0\.\.2", id="no such task"
        ),
        pytest.param(
            "search",
            {"racing": {"enabled": True}, "archive": {"type": "DominatedNovelty", "behaviour": "Items"}},
            "choose behaviour Scores, or no racing",
            id="racing where items decide",
        ),
        pytest.param(
            "search",
            {"crossover": {"type": "Uniform"}, "mutation": {"type": "Svd", "basis": "Child"}},
            "granularity is Direction, but with mutation.basis Child",
            id="directions that parents do not share",
        ),
        pytest.param("search.mutation", {"type": "Svd", "density": 0}, "greater than 0", id="no direction changes"),
        pytest.param("search.children", -1, "greater than or equal to 0", id="negative children"),
        pytest.param("search.children", 3.5, "valid integer", id="a fraction of a child"),
        pytest.param("search.crossover", {"type": "Linear", "mean": float("inf")}, "finite", id="infinite mean"),
        pytest.param(
            "search.archive", {"lowerFactor": 1.2}, "less than or equal to 1", id="lower limit above the weakest"
        ),
        pytest.param("experts.0.name", "Coding!", "should match pattern", id="a name that is no DNS label"),
        pytest.param("storage.uri", "ftp://x/y", "should match pattern", id="a scheme nobody reads"),
        pytest.param("desiredState", "Stopped", "Input should be", id="unknown state"),
        pytest.param("tasks.0.items", {"search": 0}, "greater than or equal to 1", id="no search items"),
    ],
)
def test_what_is_refused(path: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RunSpec.model_validate(_changed(path, value))


def test_every_expert_has_a_task() -> None:
    spec = spec_dict()
    spec["experts"].append({"name": "unused", "uri": "s3://models/unused"})
    with pytest.raises(ValidationError, match="got 3 tasks for 4 experts"):
        RunSpec.model_validate(spec)


@pytest.mark.parametrize("n_tasks", [0, 1])
def test_at_least_two_experts(n_tasks: int) -> None:
    with pytest.raises(ValidationError, match="at least 2 items"):
        run_spec(n_tasks)


def _doubting(**search: Any) -> dict[str, Any]:
    return {"noise": {"reevaluateEvery": 8}, **search}


def test_reevaluation_needs_a_reserve_in_every_task() -> None:
    spec = spec_dict(search=_doubting())
    for task in spec["tasks"][:2]:
        task["items"] = {"reserve": 10}
    with pytest.raises(ValidationError, match=r"task python-task has items\.reserve 0: reserve items for it"):
        RunSpec.model_validate(spec)
    spec["tasks"][2]["items"] = {"reserve": 10}
    RunSpec.model_validate(spec)


@pytest.mark.parametrize(("lag", "fits"), [(7, True), (8, False)])
def test_reevaluations_of_strict_runs_do_not_overlap(lag: int, fits: bool) -> None:
    spec = spec_dict(search=_doubting(strict=True, lag=lag))
    spec["tasks"] = [{**task, "items": {"reserve": 10}} for task in spec["tasks"]]
    if fits:
        RunSpec.model_validate(spec)
        return
    with pytest.raises(ValidationError, match=r"reevaluateEvery is 8, expected more than search\.lag \(8\)"):
        RunSpec.model_validate(spec)


def test_archives_must_stay_countable() -> None:
    run_spec(17)
    with pytest.raises(ValidationError, match="more cells than 64 bits can count: use fewer bins"):
        run_spec(18)
    run_spec(18, search={"archive": {"bins": 4}})
    run_spec(18, search={"archive": {"type": "Cvt"}})


@pytest.mark.parametrize("archive", [{}, {"bins": 3, "upperFactor": 2}, {"type": "Grid", "bins": 3}])
def test_an_archive_without_a_type_is_a_grid(archive: dict[str, Any]) -> None:
    read = run_spec(3, search={"archive": archive}).search.archive
    assert read == Grid.model_validate(archive)


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        run_spec().search.children = 5  # type: ignore[misc]


def _fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, model in {"": schema, **schema["$defs"]}.items():
        for field, value in model.get("properties", {}).items():
            # A field that says the same as its model has the model's description.
            referenced = schema["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
            yield f"{name or 'CycleQDRun'}.{field}", {**referenced, **value}


# Fields whose meaning is Kubernetes' own, and the discriminators of unions, which their variants' models describe.
SELF_EXPLAINING = {"apiVersion", "kind", "metadata", "namespace", "uid"}


def test_every_field_is_described() -> None:
    undescribed = [
        name
        for name, value in _fields(CycleQDRun.model_json_schema(by_alias=True))
        if "description" not in value
        and name.rpartition(".")[2] not in SELF_EXPLAINING
        and not (name.endswith(".type") and "const" in value)
    ]
    assert undescribed == []
