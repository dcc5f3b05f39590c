"""The CustomResourceDefinition: structural, complete, in step with the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd import crd, structural
from cycleqd.api import CycleQDRun
from tests.core.support import run_spec, spec_dict

BUILT = crd.build()
VERSION = BUILT["spec"]["versions"][0]
ROOT: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]
SPEC: dict[str, Any] = ROOT["properties"]["spec"]
ALLOWED = {
    *structural.KEPT,
    *("format", "nullable", "default", "properties", "required", "items", "additionalProperties", "exclusiveMinimum"),
    *(f"x-kubernetes-{name}" for name in ("preserve-unknown-fields", "validations", "list-type", "list-map-keys")),
}


def _walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from _walk(field, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from _walk(schema[inner], f"{path}[]")


def _at(path: str) -> dict[str, Any]:
    schema = SPEC
    for name in path.split("."):
        schema = schema["items"]["properties"][name] if "items" in schema else schema["properties"][name]
    return schema


def test_the_schema_is_structural() -> None:
    """A type everywhere, nothing that Kubernetes refuses, and never both named fields and free ones."""
    for path, schema in _walk(ROOT, "root"):
        assert set(schema) <= ALLOWED, path
        assert schema.get("type") in {"object", "array", "string", "integer", "number", "boolean"}, path
        assert not {"properties", "additionalProperties"} <= set(schema), path
        assert ("items" in schema) == (schema["type"] == "array"), path
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), path


def test_every_field_is_described() -> None:
    inner = [path for path, schema in _walk(SPEC, "spec") if "description" not in schema and not path.endswith("[]")]
    status = [path for path, schema in _walk(ROOT["properties"]["status"], "status") if "description" not in schema]
    assert inner == []
    assert [path for path in status if not path.endswith("[]")] == []


def test_no_description_is_cut_in_the_middle() -> None:
    assert max(
        len(schema.get("description", "")) for path, schema in _walk(SPEC, "spec") if not path.endswith("type")
    ) < (structural.LONGEST_DESCRIPTION)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("search", {"default": {}}),
        (
            "search.children",
            {"default": 1200, "minimum": 0, "maximum": 1_000_000, "type": "integer", "format": "int64"},
        ),
        ("search.seed", {"default": 0, "minimum": 0, "format": "int64"}),
        (
            "search.archive",
            {"required": None, "default": {"type": "Grid", "bins": 15, "lowerFactor": 0.85, "upperFactor": 1.15}},
        ),
        ("search.archive.type", {"default": "Grid", "enum": ["Cvt", "DominatedNovelty", "Grid"]}),
        ("search.archive.lowerFactor", {"minimum": 0.0, "maximum": 1.0}),
        ("search.crossover.mean", {"minimum": 0.0, "exclusiveMinimum": True}),
        ("search.crossover.granularity", {"enum": ["Model", "Layer", "Module", "Direction"]}),
        (
            "search.mutation",
            {
                "default": {
                    "type": "Svd",
                    "basis": "Expert",
                    "maxScale": 0.3,
                    "signed": False,
                    "density": 1.0,
                    "stepLearningRate": 0.0,
                },
                "required": ["type"],
            },
        ),
        ("search.sampling", {"default": {"type": "Elite", "alphaLow": 0.5, "alphaHigh": 0.8}}),
        ("search.cycle", {"enum": ["Tasks", "Fixed"], "default": "Tasks"}),
        (
            "experts",
            {"minItems": 2, "maxItems": 64, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
        ("experts.revision", {"nullable": True, "maxLength": 100, "type": "string"}),
        ("tasks.evaluator.maxTurns", {"minimum": 1, "maximum": 50}),
        ("tasks.items", {"default": {}}),
        ("workers.template.affinity", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        ("workers.template.labels", {"type": "object", "additionalProperties": {"type": "string"}}),
        ("desiredState", {"default": "Running"}),
        ("activeDeadlineSeconds", {"nullable": True, "minimum": 1, "format": "int64"}),
    ],
)
def test_what_the_models_say_is_carried_over(path: str, expected: dict[str, Any]) -> None:
    field = _at(path)
    assert {name: field.get(name) for name in expected} == expected


@pytest.mark.parametrize("path", ["search.mutation.maxScale", "tasks.evaluator.maxTurns", "search.archive.bins"])
def test_fields_of_one_variant_have_no_default_in_the_schema(path: str) -> None:
    """The API server would add it to the other variants, which refuse the field."""
    assert "default" not in _at(path)
    assert "Default: " in _at(path)["description"]


def test_fields_of_some_variants_are_not_nullable() -> None:
    """The rules about variants do not see a null, so the API server must not let it through."""
    assert "nullable" not in _at("tasks.evaluator.data")
    assert _at("tasks.evaluator.maxTokens")["nullable"] is True
    assert _at("experts.revision")["nullable"] is True


def _rules(path: str) -> dict[str, str]:
    schema = _at(path) if path else SPEC
    return {rule["rule"]: rule["message"] for rule in schema["x-kubernetes-validations"]}


def test_variants_share_one_object_and_rules_keep_them_apart() -> None:
    rules = _rules("tasks.evaluator")
    assert _at("tasks.evaluator.type")["enum"] == sorted(
        ["Sql", "Shell", "PythonTests", "AgentBenchDB", "AgentBenchOS", "LmEval", "Inspect", "Container"]
    )
    assert rules["!has(self.server) || self.type in ['AgentBenchDB']"] == "server goes with type AgentBenchDB only"
    assert rules["!(self.type in ['AgentBenchDB', 'AgentBenchOS', 'Container']) || has(self.data)"].endswith(
        "needs data"
    )
    assert not any("has(self.maxTokens)" in rule for rule in rules), "all variants have it"


@pytest.mark.parametrize(
    "path", ["baseModel", "experts", "tasks", "storage", "search.seed", "search.mutation", "search.strict"]
)
def test_what_decides_the_results_cannot_change(path: str) -> None:
    assert _rules(path)["self == oldSelf"].startswith(f"spec.{path} cannot change")


@pytest.mark.parametrize("path", ["desiredState", "workers", "engine", "finalize", "activeDeadlineSeconds"])
def test_what_does_not_can(path: str) -> None:
    assert "x-kubernetes-validations" not in _at(path)


def test_children_can_only_be_raised() -> None:
    assert list(_rules("search.children")) == ["self >= oldSelf"]


def test_rules_across_fields() -> None:
    assert len(_rules("")) == 9


@pytest.mark.parametrize("n_tasks", range(2, 65))
def test_the_limits_of_bins_are_those_of_the_models(n_tasks: int) -> None:
    """As many as 64 bits can count, and not one more; the rule lists them from two tasks on."""
    most = crd.most_bins(n_tasks)
    run_spec(n_tasks, search={"archive": {"bins": most}})
    if most < 1000:
        with pytest.raises(ValueError, match="more cells than 64 bits can count"):
            run_spec(n_tasks, search={"archive": {"bins": most + 1}})
    (rule,) = (rule for rule in _rules("") if "archive.bins" in rule)
    limits = yaml.safe_load(rule[rule.index("[") : rule.index("]") + 1])
    assert limits[n_tasks - 2] == most


def test_the_limits_of_bins_cover_all_numbers_of_tasks() -> None:
    assert (_at("tasks")["minItems"], _at("tasks")["maxItems"]) == (2, crd.MOST_EXPERTS)


def test_what_users_see() -> None:
    columns = [column["name"] for column in VERSION["additionalPrinterColumns"]]
    assert columns == ["State", "Progress", "Coverage", "Best", "Running", "Age"]
    assert BUILT["spec"]["names"]["shortNames"] == ["cqd"]
    assert VERSION["subresources"] == {"status": {}}
    assert BUILT["metadata"]["name"] == "cycleqdruns.cycleqd.dev"


def _fill(value: Any, schema: dict[str, Any]) -> Any:
    """Apply defaults as the API server does."""
    if isinstance(value, list):
        return [_fill(inner, schema["items"]) for inner in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    out = dict(value)
    for name, field in schema["properties"].items():
        if name not in out and "default" in field:
            out[name] = field["default"]
        if name in out:
            out[name] = _fill(out[name], field)
    return out


def test_defaults_of_the_api_server_are_those_of_the_models() -> None:
    manifest = {
        "apiVersion": "cycleqd.dev/v1alpha1",
        "kind": "CycleQDRun",
        "metadata": {"name": "x"},
        "spec": spec_dict(),
    }
    assert CycleQDRun.model_validate(_fill(manifest, ROOT)) == CycleQDRun.model_validate(manifest)


def test_the_committed_file_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert crd.main(["--check"]) == 0


def test_check_tells_drift_of_each_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crd.main(["--check", str(tmp_path)]) == 1
    assert crd.main([str(tmp_path)]) == 0
    assert crd.main(["--check", str(tmp_path)]) == 0
    for name in crd.COPIES:
        capsys.readouterr()
        path = tmp_path / name
        good = path.read_text()
        path.write_text(good.replace("default: 1200", "default: 1201"))
        assert crd.main(["--check", str(tmp_path)]) == 1
        assert capsys.readouterr().err.startswith(f"{path} does not fit the API models")
        path.write_text(good)


def test_helm_keeps_the_charts_copy(tmp_path: Path) -> None:
    """Without the definition, the API server deletes all runs."""
    crd.main([str(tmp_path)])
    plain, chart = (yaml.safe_load((tmp_path / name).read_text()) for name in crd.COPIES)
    assert plain == BUILT
    assert chart["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert chart == plain
