"""Train the quickstart's three experts: LoRA adapters of SmolLM2-135M-Instruct, one per executable skill.

The adapters are committed; this script is how they were made. It trains on the generators' ``train`` pool, which
shares no prompt with the items of a run. Scores are printed by ``score_experts.py``.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from cycleqd_runner.tasks.generate.python import generate_python
from cycleqd_runner.tasks.generate.shell import generate_shell
from cycleqd_runner.tasks.generate.sql import generate_sql
from cycleqd_runner.tasks.items import Question
from cycleqd_runner.tasks.prompts import PYTHON_PROMPT, SHELL_PROMPT, SQL_PROMPT

BASE_NAME = "SmolLM2-135M-Instruct"
LINEAR_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100
"""Label of tokens that the loss skips."""

SKILLS: dict[str, tuple[str, Callable[[int, str, int], Sequence[Question]]]] = {
    "sql": (SQL_PROMPT, generate_sql),
    "shell": (SHELL_PROMPT, generate_shell),
    "python": (PYTHON_PROMPT, generate_python),
}


@dataclass(frozen=True)
class Recipe:
    """How an expert is trained."""

    steps: int
    batch: int
    rank: int
    learning_rate: float
    """Peak of the cosine schedule."""
    seed: int


@dataclass(frozen=True)
class Example:
    """A tokenised conversation: ids, and labels that are ``IGNORED`` but for the answer."""

    ids: list[int]
    labels: list[int]


def encode(tokenizer: PreTrainedTokenizerBase, system: str, question: Question) -> Example:
    """Return prompt and gold answer in the model's chat template; the loss sees the answer and its end only."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question.prompt}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    head = tokenizer(prompt, add_special_tokens=False).input_ids
    tail = [*tokenizer(question.gold, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    return Example(head + tail, [IGNORED] * len(head) + tail)


def collate(examples: Sequence[Example], padding: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, attention mask and labels, (batch, longest), padded on the right."""
    longest = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), longest), padding)
    labels = torch.full((len(examples), longest), IGNORED)
    mask = torch.zeros((len(examples), longest), dtype=torch.long)
    for row, example in enumerate(examples):
        size = len(example.ids)
        ids[row, :size], labels[row, :size] = torch.tensor(example.ids), torch.tensor(example.labels)
        mask[row, :size] = 1
    return ids, mask, labels


def loss_on_answers(model: PeftModel, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the answers' tokens; logits of other positions are never computed."""
    inner = model.get_base_model()
    hidden = inner.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
    wanted = labels[:, 1:] != IGNORED
    logits = inner.lm_head(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


def train(base: Path, skill: str, recipe: Recipe, target: Path) -> None:
    """Train one expert and write its adapter folder."""
    torch.manual_seed(recipe.seed)  # PEFT draws the adapters' first values from the global generator
    system, generate = SKILLS[skill]
    tokenizer = AutoTokenizer.from_pretrained(base)
    questions = generate(recipe.seed, "train", recipe.steps * recipe.batch)
    examples = [encode(tokenizer, system, question) for question in questions]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=LINEAR_LAYERS, task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.0)
    started = time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe.steps)
        batch = examples[step * recipe.batch : (step + 1) * recipe.batch]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_on_answers(model, *collate(batch, tokenizer.pad_token_id))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 5 == 0 or step == recipe.steps - 1:
            seconds = time.monotonic() - started
            typer.echo(f"{skill}: step {step + 1}/{recipe.steps}, loss {loss.item():.3f}, {seconds:.0f} s")
    save(model, target)


def save(model: PeftModel, target: Path) -> None:
    """Write the adapter in PEFT's format, in bf16 and without names of this machine."""
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target)
    weights = target / "adapter_model.safetensors"
    save_file({k: v.to(torch.bfloat16) for k, v in load_file(weights).items()}, weights, metadata={"format": "pt"})
    settings = target / "adapter_config.json"
    content = json.loads(settings.read_text()) | {"base_model_name_or_path": BASE_NAME}
    content["target_modules"] = sorted(content["target_modules"])  # PEFT keeps a set: its order varies
    settings.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    weights.chmod(0o644)
    (target / "README.md").unlink(missing_ok=True)


def _schedule(step: int, steps: int) -> float:
    """Return the factor of the learning rate: five steps of warm-up, then a cosine to 0."""
    return min(1.0, (step + 1) / 5) * 0.5 * (1 + math.cos(math.pi * step / steps))


def main(
    base: Annotated[Path, typer.Option(help="Checkpoint made by prepare_base.py.")] = Path(
        "models/smollm2-135m-instruct"
    ),
    out: Annotated[Path, typer.Option(help="Folder of the adapters.")] = Path("examples/quickstart/experts"),
    skill: Annotated[
        list[str] | None, typer.Option(help="sql, shell or python; may be repeated. Default: all.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps.", min=1)] = 70,
    batch: Annotated[int, typer.Option(help="Items a step.", min=1)] = 16,
    rank: Annotated[int, typer.Option(help="Rank of the adapters.", min=1)] = 8,
    learning_rate: Annotated[float, typer.Option(help="Peak of the cosine schedule.")] = 1.5e-3,
    seed: Annotated[int, typer.Option(help="Seed of items and adapters.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 2,
) -> None:
    """Train the quickstart's experts, about three minutes each on 2 cores.

    Example: python examples/quickstart/train_experts.py --skill sql --out /tmp/experts
    """
    unknown = sorted(set(skill or ()) - set(SKILLS))
    if unknown:
        raise typer.BadParameter(f"unknown skill {unknown[0]!r}; known: {', '.join(SKILLS)}.", param_hint="--skill")
    torch.set_num_threads(threads)
    for name in skill or SKILLS:
        train(base, name, Recipe(steps, batch, rank, learning_rate, seed), out / name)


if __name__ == "__main__":
    typer.run(main)
