"""Weights that follow a genome's numbers: the model as materialised, and a gradient that finite differences find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from cycleqd.errors import BadManifest
from cycleqd.genome import Form
from cycleqd_runner.engines.attention import Whole
from cycleqd_runner.engines.prefixes import tree
from cycleqd_runner.guide import descent
from cycleqd_runner.guide.descent import answer_loss
from cycleqd_runner.guide.overlay import Overlay
from tests.runner.guide.support import Scene, full, lora, open_scene, targets

TARGETS = targets([(9, 4), (12, 7), (5, 4), (30, 8)])
WEIGHTS = (0.4, 0.3, 0.2, 0.1)

Save = Callable[[Path, Path, int], Path]
KINDS = [
    pytest.param(lora, "Gains", id="LoRA experts"),
    pytest.param(lora, "Core", id="LoRA experts, cores"),
    pytest.param(full, "Gains", id="full-rank experts, truncated"),
]


def guided_loss(scene: Scene, values: Tensor) -> Tensor:
    """Return the loss of a genome's numbers as guidance computes it."""
    scene.hold_base()
    overlay = Overlay(scene.engine.lend(lambda lent: lent.model), scene.materialiser)
    with overlay.attached():
        overlay.follow(values)
        return scene.engine.lend(lambda lent: answer_loss(lent, TARGETS, WEIGHTS))


@pytest.mark.parametrize(("save", "form"), KINDS)
def test_the_overlay_is_the_materialised_model(tmp_path: Path, save: Save, form: Form) -> None:
    scene = open_scene(tmp_path, save, form)
    genome = scene.genome()
    expected = guided_loss(scene, torch.from_numpy(genome.values)).detach()
    scene.hold(genome)
    found = scene.engine.lend(lambda lent: answer_loss(lent, TARGETS, WEIGHTS)).detach()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    scene.hold_base()
    base = scene.engine.lend(lambda lent: answer_loss(lent, TARGETS, WEIGHTS)).detach()
    assert abs(base - expected) > 1e-3, "the genome changes something"


@pytest.mark.parametrize(("save", "form"), KINDS)
def test_the_gradient_is_that_of_finite_differences(tmp_path: Path, save: Save, form: Form) -> None:
    scene = open_scene(tmp_path, save, form)
    values = torch.from_numpy(scene.genome().values).requires_grad_()
    guided_loss(scene, values).backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = torch.from_numpy(rng.standard_normal(len(values)).astype(np.float32))
        step = 3e-3 * direction
        with torch.no_grad():
            slope = (guided_loss(scene, values + step) - guided_loss(scene, values - step)) / 6e-3
        torch.testing.assert_close(slope, values.grad @ direction, rtol=3e-2, atol=3e-3)


def test_packed_sequences_are_scored_as_each_alone_by_transformers(tmp_path: Path) -> None:
    scene = open_scene(tmp_path, lora)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32, attn_implementation="eager")
    expected = torch.zeros(())
    with torch.no_grad():
        for target, weight in zip(TARGETS, WEIGHTS, strict=True):
            tokens = torch.tensor(target.tokens)
            logits = model(tokens[None]).logits[0]
            expected += weight * cross_entropy(logits[target.start - 1 : -1], tokens[target.start :])
        found = scene.engine.lend(lambda lent: answer_loss(lent, TARGETS, WEIGHTS))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 3], ids=["full attention", "sliding window"])
def test_tokens_see_what_is_before_them_on_their_path(window: int | None) -> None:
    nodes = tree(sorted(target.tokens for target in TARGETS))
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(heads, len(nodes.tokens), 8, generator=generator) for heads in (4, 2, 2))
    found = Whole(nodes, torch.device("cpu")).attend(q, k, v, layer=0, scale=0.5, window=window)
    for path in nodes.paths:
        for position, node in enumerate(path):
            seen = path[max(0, position + 1 - (window or len(path))) : position + 1]
            for head in range(4):
                weights = torch.softmax(q[head, node] @ k[head // 2, seen].T * 0.5, dim=0)
                torch.testing.assert_close(found[node, head], weights @ v[head // 2, seen], rtol=1e-4, atol=1e-5)


def test_shared_beginnings_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = open_scene(tmp_path, lora)
    model = scene.engine.lend(lambda lent: lent.model)
    seen: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"].numel()), with_kwargs=True
    )
    monkeypatch.setattr(descent, "cross_entropy", lambda *_, **__: torch.zeros(sum(9 - 4 for _ in range(2))))
    scene.engine.lend(lambda lent: answer_loss(lent, targets([(9, 4), (9, 4)]), (0.5, 0.5)))
    hook.remove()
    assert seen == [9 + 6]


def test_factors_larger_than_the_model_are_refused(tmp_path: Path) -> None:
    scene = open_scene(tmp_path, full, rank=None)
    with pytest.raises(BadManifest, match=r"set search\.basis\.rank"):
        Overlay(scene.engine.lend(lambda lent: lent.model), scene.materialiser)
