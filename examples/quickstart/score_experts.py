"""Score the quickstart's base, experts and plain sums of experts on items of every task.

This is how the experts were judged when they were trained, without a run: no search, no archive. Answers are greedy,
in bf16, in batches by Transformers; the product's own engine is not used.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from cycleqd.api.tasks import EvaluatorBase, PythonTestsEvaluator, SandboxLimits, ShellEvaluator, SqlEvaluator
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.sandbox import Sandbox, open_sandbox
from cycleqd_runner.tasks.contract import Item
from cycleqd_runner.tasks.executable import ExecutableEvaluator
from cycleqd_runner.tasks.items import Question
from cycleqd_runner.tasks.python_tests import python_tests_evaluator
from cycleqd_runner.tasks.run import evaluate
from cycleqd_runner.tasks.shell import shell_evaluator
from cycleqd_runner.tasks.sql import sql_evaluator

BATCH = 96
PREFIX = "base_model.model."
"""What PEFT puts before the base model's own names."""

Deltas = Mapping[str, torch.Tensor]
"""Name of a weight matrix to a task vector, float32."""


@dataclass(frozen=True)
class Given:
    """A chat model that gives answers made beforehand, in batches."""

    answers: Mapping[tuple[Message, ...], Answer]

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:  # noqa: ARG002 - the protocol
        """Return the answer to a conversation that was asked before."""
        return self.answers[tuple(messages)]


def task_vector(folder: Path) -> Deltas:
    """Return a LoRA adapter's change of each weight matrix, B A times its scale."""
    settings = json.loads((folder / "adapter_config.json").read_text())
    scale = settings["lora_alpha"] / settings["r"]
    weights = load_file(folder / "adapter_model.safetensors")
    deltas = {}
    for name, first in weights.items():
        if name.endswith(".lora_A.weight"):
            second = weights[name.replace("lora_A", "lora_B")]
            matrix = name.removeprefix(PREFIX).replace(".lora_A", "")
            deltas[matrix] = second.float() @ first.float() * scale
    return deltas


class Merger:
    """The base model in memory, given the weights base + sum of factor x task vector."""

    def __init__(self, base: Path, experts: Mapping[str, Deltas]) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).eval()
        self.experts = experts
        self.original = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}

    def become(self, factors: Mapping[str, float]) -> None:
        """Set the weights in place."""
        with torch.inference_mode():
            for name, weight in self.model.named_parameters():
                parts = [
                    factor * self.experts[expert][name]
                    for expert, factor in factors.items()
                    if name in self.experts[expert]
                ]
                weight.copy_(sum(parts, self.original[name].float()) if parts else self.original[name])


def answer_all(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, asked: Sequence[tuple[Message, ...]], sampling: Sampling
) -> dict[tuple[Message, ...], Answer]:
    """Answer conversations greedily, longest first so that batches waste little padding."""
    texts = {
        messages: tokenizer.apply_chat_template(
            [m._asdict() for m in messages], tokenize=False, add_generation_prompt=True
        )
        for messages in asked
    }
    order = sorted(asked, key=lambda messages: len(texts[messages]), reverse=True)
    answers = {}
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        encoded = tokenizer([texts[m] for m in batch], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            found = model.generate(**encoded, max_new_tokens=sampling.max_tokens, do_sample=False)
        tails = tokenizer.batch_decode(found[:, encoded.input_ids.shape[1] :], skip_special_tokens=True)
        for messages, text in zip(batch, tails, strict=True):
            ends = [text.find(stop) for stop in sampling.stop if stop in text]
            answers[messages] = Answer(text[: min(ends)] if ends else text, 0, 0, "stop")
    return answers


async def score(
    evaluator: ExecutableEvaluator[Question],
    items: Sequence[Item],
    merger: Merger,
    tokenizer: PreTrainedTokenizerBase,
    sandbox: Sandbox,
) -> tuple[float, list[str]]:
    """Return the mean score and what some wrong answers looked like."""
    asked = [evaluator.asking.conversation(str(item.payload["prompt"])) for item in items]
    answers = answer_all(merger.model, tokenizer, asked, evaluator.asking.sampling)
    found, _ = await evaluate(
        evaluator, items, Given(answers), sandbox, SandboxLimits(), repeats=1, split="test", task_name="score"
    )
    wrong = [
        f"{messages[-1].content!r} -> {answers[messages].text!r}: {outcome.reason}"
        for messages, outcome in zip(asked, found.outcomes, strict=True)
        if outcome.score != 1.0
    ]
    return found.score, wrong


def mixtures(names: Sequence[str], factors: Sequence[float]) -> dict[str, dict[str, float]]:
    """Return what is scored: the base, each expert, the plain mean, and sums with the same factor for all."""
    table: dict[str, dict[str, float]] = {"base": {}}
    table |= {name: {name: 1.0} for name in names}
    table["average"] = dict.fromkeys(names, 1 / len(names))
    return table | {f"sum x {factor:g}": dict.fromkeys(names, factor) for factor in factors}


async def run(
    base: Path, folder: Path, pool: str, count: int, factors: Sequence[float], only: Sequence[str], wrong: int
) -> None:
    """Score everything and print the table."""
    specs: dict[str, EvaluatorBase] = {
        "sql": SqlEvaluator(type="Sql"),
        "shell": ShellEvaluator(type="Shell"),
        "python": PythonTestsEvaluator(type="PythonTests"),
    }
    factories = {"sql": sql_evaluator, "shell": shell_evaluator, "python": python_tests_evaluator}
    evaluators = {name: factories[name](spec, None) for name, spec in specs.items()}
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    names = [name for name in specs if (folder / name / "adapter_model.safetensors").is_file()]
    merger = Merger(base, {name: task_vector(folder / name) for name in names})
    typer.echo(
        f"{'':12}" + "".join(f"{name:>8}" for name in evaluators) + f"{'mean':>8}   ({count} {pool} items a task)"
    )
    async with open_sandbox() as sandbox:
        for name, mixture in mixtures(names, factors).items():
            if only and name not in only:
                continue
            merger.become(mixture)
            scores, mistakes = [], []
            for evaluator in evaluators.values():
                items = [item for item in evaluator.items() if item.pool == pool][:count]
                value, bad = await score(evaluator, items, merger, tokenizer, sandbox)
                scores.append(value)
                mistakes += bad[:wrong]
            typer.echo(f"{name:12}" + "".join(f"{value:8.3f}" for value in [*scores, sum(scores) / len(scores)]))
            for mistake in mistakes:
                typer.echo(f"    {mistake}")


def main(
    base: Annotated[Path, typer.Option(help="Checkpoint made by prepare_base.py.")] = Path(
        "models/smollm2-135m-instruct"
    ),
    experts: Annotated[Path, typer.Option(help="Folder of the adapters.")] = Path("examples/quickstart/experts"),
    pool: Annotated[str, typer.Option(help="seen (search and validation) or unseen (test).")] = "unseen",
    items: Annotated[int, typer.Option(help="Items a task.", min=1, max=320)] = 120,
    factor: Annotated[list[float] | None, typer.Option(help="Also score the sum with this factor; repeatable.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Score only this row; repeatable.")] = None,
    wrong: Annotated[int, typer.Option(help="Show so many wrong answers a task.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 2,
) -> None:
    """Print how base, experts and their plain mixtures do on every task, about 20 seconds a row on 2 cores.

    Example: python examples/quickstart/score_experts.py --items 96 --factor 0.5 --only average
    """
    torch.set_num_threads(threads)
    asyncio.run(run(base, experts, pool, items, factor or [], only or [], wrong))


if __name__ == "__main__":
    typer.run(main)
