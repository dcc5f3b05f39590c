"""Methods that learn from transcripts, on a tiny model: what they learn, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from cycleqd.api.engine import EngineArgs
from cycleqd.genome import Layout, Matrix
from cycleqd_runner.contest.methods.fine_tuning import merged, train
from cycleqd_runner.contest.methods.gradients import matrix_of
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.engines.transformers import TransformersEngine
from cycleqd_runner.guide.descent import Law, answer_loss
from cycleqd_runner.guide.targets import Target, batches
from tests.runner.models import save_llama

NAMES = ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight", "model.embed_tokens.weight"]
TARGETS = [Target(task, (1, 5 + task, 6, *answer, 2), 3) for task, answer in enumerate([(9, 10), (11,), (12, 13, 14)])]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    folder = save_llama(tmp_path_factory.mktemp("llama") / "base", dtype=torch.float32)
    return TransformersEngine(Path(folder), EngineArgs(dtype="Float32"))


def loss(lent: Lent) -> float:
    with torch.no_grad():
        return float(answer_loss(lent, tuple(TARGETS), (1 / 3,) * 3))


def parameters_of(lent: Lent) -> list[str]:
    return [name for name, _ in lent.model.named_parameters()]


def adapted(engine: TransformersEngine, steps: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    draw = batches(TARGETS, [1.0] * 3, 3, np.random.default_rng(0))

    def work(lent: Lent) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return train(lent, NAMES, 4, draw, Law(steps, 0.05))

    return engine.lend(work)


def test_an_adapter_learns_and_the_engine_is_what_it_was(engine: TransformersEngine) -> None:
    before, parameters = (
        engine.checksum(),
        engine.lend(lambda lent: [name for name, _ in lent.model.named_parameters()]),
    )
    first = engine.lend(loss)
    factors, again = adapted(engine, 60), adapted(engine, 60)
    assert engine.checksum() == before
    assert engine.lend(parameters_of) == parameters
    assert sorted(factors) == sorted(NAMES[:2]), "the embedding is no linear layer"
    assert all(torch.equal(one, two) for name in factors for one, two in zip(factors[name], again[name], strict=True))

    own = dict(engine.lend(lambda lent: [(name, p.detach().clone()) for name, p in lent.model.named_parameters()]))
    tensors: Callable[..., Any] = lambda *_, **__: [(name, own[name]) for name in NAMES]  # noqa: E731
    session = SimpleNamespace(materialiser=SimpleNamespace(tensors=tensors), nothing=None)
    engine.load(list(merged(cast(Any, SimpleNamespace(session=session)), factors)))
    assert engine.lend(loss) < first - 0.3
    engine.load([(name, own[name]) for name in NAMES])
    assert engine.lend(loss) == first


@pytest.mark.parametrize("form", ["Gains", "Core"])
def test_every_number_of_a_genome_belongs_to_a_matrix(form: Any) -> None:
    layout = Layout(("a", "b"), (Matrix("v", (1, 2)), Matrix("w", (2, 0))), form=form)
    expected = [0, 1, 1, 0, 0] if form == "Gains" else [0] * 9 + [1] * 4
    assert matrix_of(layout).tolist() == expected
