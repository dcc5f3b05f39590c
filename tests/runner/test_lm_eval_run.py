"""A whole run with tasks of lm-evaluation-harness, as tasks and as benchmarks, against its own numbers."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from tests.runner.models import save_adapter, save_llama
from tests.runner.runs import LONG_SECONDS, finish, report_of, results_of, start_run, write_manifest
from tests.runner.tasks.lm_eval_registered import save_in_cache
from tests.runner.tasks.lm_eval_tasks import CHOICES, GENERATION, save_task
from tests.runner.tasks.test_lm_eval_oracle import by_the_harness
from tests.runner.test_run import tiny_spec

datasets = pytest.importorskip("datasets", reason="lm-eval is not installed (cycleqd[benchmarks])")
lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed (cycleqd[benchmarks])")

pytestmark = pytest.mark.timeout(2 * LONG_SECONDS)

HELLASWAG = Path(lm_eval.__file__).parent / "tasks" / "hellaswag" / "hellaswag.yaml"


def save_tasks(folder: Path) -> None:
    """Save two tasks of which random models get some documents right."""
    places = [{"q": f"word{i}", "choices": ["word7", "word9 word1"], "gold": i % 2} for i in range(12)]
    save_task(folder, CHOICES, places)
    digits = [{"a": f"word{i}", "b": f"word{3 * i}", "sum": str(i % 10)} for i in range(20)]
    first = [{"function": "regex", "regex_pattern": r"word(\d)"}, {"function": "take_first"}]
    save_task(folder, GENERATION, digits, task="digits", filter_list=[{"name": "first", "filter": first}])


def scene(i: int) -> dict[str, Any]:
    """Return a document with the columns of HellaSwag."""
    endings = [f"word{i} word{j} word{i + j}" + " word1" * j for j in range(4)]
    return {"activity_label": "word5", "ctx_a": f"word{i}", "ctx_b": "word2", "endings": endings, "label": str(i % 4)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was downloaded once, on a machine that is offline now: in the runs' processes, and in this one."""
    home = tmp_path / "huggingface"
    scenes = [scene(i) for i in range(24)]
    save_in_cache(home, "Rowan/hellaswag", "default", {"train": scenes[:1], "validation": scenes})
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return home


@pytest.mark.usefixtures("home")
def test_a_run_takes_tasks_of_the_harness_as_tasks_and_as_benchmarks(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base")
    experts = {name: save_adapter(base, tmp_path / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    save_tasks(tmp_path)
    spec = tiny_spec(tmp_path, experts, base, children=2)
    spec["tasks"][0]["evaluator"] = {"type": "LmEval", "task": "capitals.yaml"}
    blocks = {
        "digits": {"task": "digits.yaml", "metric": "exact_match,first"},
        "hellaswag": {"task": str(HELLASWAG), "metric": "acc_norm"},
    }
    spec["report"] = {
        "benchmarks": [{"name": name, "evaluator": {"type": "LmEval", **own}} for name, own in blocks.items()]
    }
    manifest = write_manifest(tmp_path / "tiny.yaml", spec)

    process = start_run(manifest)
    printed = finish(process, LONG_SECONDS)
    assert process.returncode == 0, printed

    for result in results_of(manifest).values():
        own = result.evaluations[0].outcomes
        assert {outcome.item for outcome in own} <= {f"capitals-{i}" for i in range(12)}
        assert {outcome.score for outcome in own} <= {0.0, 1.0}
    told = report_of(manifest)["retention"]["scores"]
    for name, model in (("base", base), ("merged", tmp_path / "run" / "final" / "model")):
        digits = by_the_harness(model, tmp_path / "digits.yaml", "exact_match", "first")
        endings = by_the_harness(model, HELLASWAG, "acc_norm", "none")
        assert told[name]["digits"]["mean"] == pytest.approx(mean(digits))
        assert told[name]["hellaswag"]["mean"] == pytest.approx(mean(endings))
        assert 0 < mean(digits) < 1, "a task whose documents all score the same proves nothing"
        assert 0 < mean(endings) < 1, "likewise"
