"""The quickstart's children and questions, for benchmarks of engines. Needs its base model (prepare_base.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cycleqd.genome import Genome
from cycleqd.manifest import load_manifest
from cycleqd_runner.basis import Basis
from cycleqd_runner.chat import Answer, ChatModel, Message, Sampling
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.factorise import factorise
from cycleqd_runner.individual import Individual, Sources
from cycleqd_runner.layouts import layout_of
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.sandbox import open_sandbox
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.tasks.run import evaluate

MANIFEST = Path(__file__).parents[1] / "examples" / "quickstart" / "run.yaml"

Question = tuple[tuple[Message, ...], Sampling]


def lacking() -> str:
    """Return what of the quickstart is not there, and how to get it; empty where everything is."""
    base = Path(load_manifest(MANIFEST).spec.base_model.uri)
    return "" if base.exists() else f"{base} is not there; examples/quickstart/prepare_base.py makes it."


def children(work: Path, count: int) -> list[Individual]:
    """Return random mixtures of the quickstart's experts, whose factors are made in ``work``."""
    spec = load_manifest(MANIFEST).spec
    base = Checkpoint(Path(spec.base_model.uri))
    bases = []
    for expert in spec.experts:
        source = open_expert(Path(expert.uri))
        factorise(expert.name, source, base, work / expert.name)
        bases.append(Basis(work / expert.name, source))
    layout = layout_of([basis.manifest for basis in bases], "Gains")
    folders = tuple(Path(expert.uri) for expert in spec.experts), tuple(basis.folder for basis in bases)
    sources = Sources(base.folder, *folders, layout)
    rng = np.random.default_rng(0)
    others = np.zeros((len(bases), len(layout.others)), np.float32)
    return [
        Individual(sources, Genome(rng.uniform(0.2, 0.7, layout.size).astype(np.float32), others)) for _ in range(count)
    ]


class _Listener:
    """A model that says nothing and remembers what it was asked."""

    def __init__(self) -> None:
        self.heard: list[Question] = []

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        self.heard.append((tuple(messages), sampling))
        return Answer("", 1, 1, "stop")


def questions(items: int) -> list[Question]:
    """Return what the quickstart's tasks ask, ``items`` of each."""
    spec, listener = load_manifest(MANIFEST).spec, _Listener()

    async def listen() -> None:
        async with open_sandbox(spec.sandbox) as sandbox:
            for task in spec.tasks:
                evaluator = make_evaluator(task.evaluator, read_data)
                asked = evaluator.items()[:items]
                await evaluate(
                    evaluator, asked, listener, sandbox, task.limits, repeats=1, split="search", task_name=task.name
                )

    asyncio.run(listen())
    return listener.heard


def ask(models: Sequence[ChatModel], asked: Sequence[Question]) -> int:
    """Ask all models everything at once; return the tokens of their answers."""

    async def everything() -> list[Answer]:
        return await asyncio.gather(*(model.chat(*question) for model in models for question in asked))

    return sum(answer.answer_tokens for answer in asyncio.run(everything()))
