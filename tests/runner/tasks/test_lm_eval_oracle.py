"""LmEval on our engines against lm-evaluation-harness itself: its ``simple_evaluate`` with its own model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd_runner.engines import Engine
from tests.runner.engines.support import opened as opened_engine
from tests.runner.engines.support import save_chat_model, weights
from tests.runner.engines.test_engine import ENGINES_UNDER_TEST
from tests.runner.tasks.lm_eval_tasks import CAPITALS, CHOICES, GENERATION, MEAN, opened, save_task, scores

datasets = pytest.importorskip("datasets", reason="lm-eval is not installed (cycleqd[benchmarks])")
lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed (cycleqd[benchmarks])")

COUNT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer begins every text with <|turn|> (256), as Llama's does with its own mark."""
    folder = save_chat_model(tmp_path_factory.mktemp("models") / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.bos_token = "<|turn|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|turn|> $A", special_tokens=[("<|turn|>", 256)]
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=ENGINES_UNDER_TEST, ids=lambda spec: spec.type)
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    engine = opened_engine(request.param, folder)
    engine.load(weights(folder))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> dict[str, Path]:
    """Tasks of which the model gets some documents right."""
    work = tmp_path_factory.mktemp("tasks")
    places = [
        {"q": f"{one['q']} {i}", **{k: one[k] for k in ("choices", "gold")}} for i in range(4) for one in CAPITALS
    ]
    letters = [{"a": i, "b": i * i, "sum": _said(folder, f"{i}+{i * i}=") if i % 3 else "?"} for i in range(COUNT)]
    words = [{"a": i, "b": 7, "sum": _said(folder, f"{i} {7}", 1) if i % 2 else "zz"} for i in range(COUNT)]
    pattern = [{"function": "regex", "regex_pattern": "([a-z])"}, {"function": "take_first"}]
    last = [{"function": "regex", "regex_pattern": "([A-Z])", "group_select": -1}, {"function": "take_first"}]
    return {
        "choices": save_task(work, CHOICES, places),
        "examples": save_task(work, CHOICES, places, CAPITALS, task="examples", num_fewshot=2),
        "letters": save_task(
            work,
            GENERATION,
            letters,
            task="letters",
            filter_list=[{"name": "first", "filter": pattern}, {"name": "last", "filter": last}],
        ),
        "words": save_task(
            work,
            {"task": "words", "output_type": "loglikelihood", "metric_list": [{"metric": "acc", **MEAN}]},
            words,
            doc_to_text="{{a}} {{b}}",
            doc_to_target="{{sum}}",
        ),
    }


def _said(folder: Path, prompt: str, tokens: int = 12) -> str:
    """Return what the model says: its first small letter, or the whole of a single token."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    text = str(tokenizer.decode(model.generate(ids, max_new_tokens=tokens, do_sample=False)[0, ids.shape[1] :]))
    return text if tokens == 1 else "".join(re.findall("[a-z]", text.split("\n", maxsplit=1)[0])[:1]) or "?"


def by_the_harness(folder: Path, task: Path, metric: str, chain: str) -> list[float]:
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415 - only where the harness is installed
    from lm_eval.tasks import TaskManager  # noqa: PLC0415 - likewise

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    lm = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=4, device="cpu")
    manager = TaskManager(include_path=task.parent, include_defaults=False)
    with chdir(task.parent):
        found = lm_eval.simple_evaluate(lm, tasks=[task.stem], task_manager=manager, bootstrap_iters=0)
    samples = [one for one in found["samples"][task.stem] if one["filter"] == chain]
    return [float(one[metric]) for one in sorted(samples, key=lambda one: int(one["doc_id"]))]


@pytest.mark.parametrize(
    ("name", "metric", "chain"),
    [
        ("choices", "acc", "none"),
        ("choices", "acc_norm", "none"),
        ("examples", "acc", "none"),
        ("letters", "exact_match", "first"),
        ("letters", "exact_match", "last"),
        ("words", "acc", "none"),
    ],
)
def test_every_document_scores_what_the_harness_says(
    engine: Engine, folder: Path, tasks: dict[str, Path], name: str, metric: str, chain: str
) -> None:
    expected = by_the_harness(folder, tasks[name], metric, chain)
    assert scores(opened(tasks[name], metric=f"{metric},{chain}"), engine) == expected
    if chain != "last":
        assert 0 < sum(expected) < len(expected), "a task whose documents all score the same proves nothing"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
