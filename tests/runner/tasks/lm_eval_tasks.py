"""Small tasks of lm-evaluation-harness in files, over data beside them, and a model that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cycleqd.api.tasks import LmEvalEvaluator
from cycleqd.records import TaskEvaluation, Transcript
from cycleqd_runner.chat import Answer, ChatModel, Finish, Likelihood, Message, Sampling
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.contract import Evaluator
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.tasks.run import evaluate
from tests.runner.tasks.support import LIMITS, NoSandbox

Document = dict[str, Any]

MEAN = {"aggregation": "mean", "higher_is_better": True}

CAPITALS: list[Document] = [
    {"q": "France", "choices": ["Paris", "Rome", "Oslo"], "gold": 0},
    {"q": "Italy", "choices": ["the old city of Lyon", "Rome", "Turin"], "gold": 1},
    {"q": "Norway", "choices": ["Bergen", "Lyon", "Oslo"], "gold": 2},
    {"q": "Spain", "choices": ["Madrid, in the middle", "Vigo"], "gold": 0},
]
CHOICES: dict[str, Any] = {
    "task": "capitals",
    "output_type": "multiple_choice",
    "doc_to_text": "The capital of {{q}} is",
    "doc_to_target": "gold",
    "doc_to_choice": "choices",
    "metric_list": [{"metric": "acc", **MEAN}, {"metric": "acc_norm", **MEAN}],
}
SUMS: list[Document] = [{"a": a, "b": b, "sum": str(a + b)} for a, b in [(1, 2), (3, 4), (10, 11), (20, 5)]]
GENERATION: dict[str, Any] = {
    "task": "sums",
    "output_type": "generate_until",
    "doc_to_text": "{{a}}+{{b}}=",
    "doc_to_target": "sum",
    "metric_list": [{"metric": "exact_match", **MEAN}],
    "generation_kwargs": {"until": ["\n", "Q"], "max_gen_toks": 12, "do_sample": False},
    "filter_list": [
        {
            "name": "strict",
            "filter": [{"function": "regex", "regex_pattern": r"#### (\d+)"}, {"function": "take_first"}],
        },
        {
            "name": "flexible",
            "filter": [
                {"function": "regex", "regex_pattern": r"(\d+)", "group_select": -1},
                {"function": "take_first"},
            ],
        },
    ],
}


def save_task(
    folder: Path,
    config: Mapping[str, Any],
    documents: Sequence[Document],
    examples: Sequence[Document] = (),
    **changes: Any,
) -> Path:
    """Save a task and its data, which the task names as lying beside it; return the task's file."""
    folder.mkdir(parents=True, exist_ok=True)
    task = {**config, **changes}
    splits = {"test": documents, "train": examples} if examples else {"test": documents}
    data = {split: f"{task['task']}-{split}.jsonl" for split in splits}
    for split, lines in splits.items():
        (folder / data[split]).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    task |= {"dataset_path": "json", "dataset_kwargs": {"data_files": data}, "test_split": "test"}
    if examples:
        task["fewshot_split"] = "train"
    path = folder / f"{task['task']}.yaml"
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    return path


def opened(task: object, **fields: Any) -> Evaluator:
    """Return the evaluator of a task."""
    return make_evaluator(LmEvalEvaluator(type="LmEval", task=str(task), **fields), read_data)


class Reader:
    """Finds likely what it is told to, says to everything what it is told to, and remembers what it was asked."""

    def __init__(
        self,
        likes: Callable[[str, str], float] = lambda context, continuation: -1.0,
        says: Callable[[str, Sampling], str] = lambda prompt, sampling: "",
        finish: Finish = "stop",
        cut: int = 0,
    ) -> None:
        self.likes, self.says, self.finish, self.cut = likes, says, finish, cut
        self.read: list[tuple[str, str]] = []
        self.asked: list[tuple[str, Sampling]] = []

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        raise AssertionError("the harness's tasks are put without a chat template")

    async def complete(self, prompt: str, sampling: Sampling) -> Answer:
        self.asked.append((prompt, sampling))
        return Answer(self.says(prompt, sampling), 7, 3, self.finish, self.cut)

    async def log_likelihood(self, context: str, continuation: str) -> Likelihood:
        self.read.append((context, continuation))
        broken = self.finish == "broken"
        return Likelihood(self.likes(context, continuation), False, 7, 3, broken, self.cut)


def asked(evaluator: Evaluator, model: ChatModel, repeats: int = 1) -> tuple[TaskEvaluation, list[Transcript]]:
    """Ask all items, as a run does."""
    return asyncio.run(
        evaluate(
            evaluator,
            evaluator.items(),
            model,
            NoSandbox(),
            LIMITS,
            repeats=repeats,
            split="search",
            task_name="text",
            first_wait_seconds=0,
        )
    )


def scores(evaluator: Evaluator, model: ChatModel) -> list[float | None]:
    """Return the items' scores."""
    return [outcome.score for outcome in asked(evaluator, model)[0].outcomes]
