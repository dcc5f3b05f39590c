"""The start of guidance: least squares that numpy finds, too, and a model that answers as its experts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cycleqd.genome import Form, Genome, Layout, expert_genome
from cycleqd_runner.guide import regression
from cycleqd_runner.guide.overlay import Overlay
from cycleqd_runner.guide.regression import Grams, observe, regress
from tests.runner.guide.support import Scene, full, lora, open_scene, targets

SHOWN = [targets([(20, 4), (24, 7), (18, 4)], seed=1), targets([(22, 4), (25, 7), (28, 4)], seed=2)]


def experts_of(scene: Scene) -> list[Genome]:
    if scene.layout.form == "Gains":
        return [expert_genome(scene.layout, k) for k in range(2)]
    return scene.expert_cores()


def seen_by(scene: Scene, overlay: Overlay, expert: Genome, index: int) -> Grams:
    scene.hold(expert)
    return scene.engine.lend(lambda lent: observe(lent, overlay, SHOWN[index], 64))


@pytest.mark.parametrize("form", ["Gains", "Core"])
def test_the_regression_minimises_what_numpy_minimises(tmp_path: Path, form: Form) -> None:
    scene = open_scene(tmp_path, lora, form)
    experts = experts_of(scene)
    overlay = Overlay(scene.engine.lend(lambda lent: lent.model), scene.materialiser)
    seen = [seen_by(scene, overlay, expert, k) for k, expert in enumerate(experts)]
    merged = regress(scene.layout, experts, overlay, seen, gain=0.5)
    rng = torch.Generator().manual_seed(0)
    for index, factors in enumerate(overlay.factors):
        grams = [gram for own in seen if (gram := own[index]) is not None]
        if not grams:
            continue  # an embedding
        left, blocks = factors[0].double(), [block(scene.layout, expert, index) for expert in experts]
        best = block(scene.layout, merged, index)
        nudges = torch.randn(6, *best.shape, generator=rng, dtype=torch.double) * 0.05
        if form == "Gains":
            nudges = nudges * torch.eye(len(best))
        worse = [distance(left, best + nudge, blocks, grams) for nudge in nudges]
        assert min(worse) > distance(left, best, blocks, grams)


def block(layout: Layout, genome: Genome, index: int) -> torch.Tensor:
    """Return what stands between the factors of a matrix, (R, R) float64."""
    rank = sum(layout.matrices[index].ranks)
    if layout.form == "Core":
        return torch.from_numpy(genome.values[layout.core_of(index)]).view(rank, rank).double()
    own = [genome.values[layout.gains_of(k, index)] for k in range(len(layout.experts))]
    return torch.from_numpy(np.diag(np.concatenate(own))).double()


def distance(
    left: torch.Tensor, numbers: torch.Tensor, experts: list[torch.Tensor], grams: list[torch.Tensor]
) -> float:
    """Return the mean squared distance from the experts' outputs, summed over the experts."""
    off = [left @ (numbers - expert) for expert in experts]
    return sum(float(torch.einsum("ij,jk,ik", one, gram, one)) for one, gram in zip(off, grams, strict=True))


def test_what_an_expert_alone_sees_gives_the_expert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the other expert's layers see nothing, the first one's answers are all that counts."""
    monkeypatch.setattr(regression, "RIDGE", 1e-12)
    scene = open_scene(tmp_path, lora, "Core")
    experts = experts_of(scene)
    overlay = Overlay(scene.engine.lend(lambda lent: lent.model), scene.materialiser)
    seen = seen_by(scene, overlay, experts[0], 0)
    nothing = [None if gram is None else torch.zeros_like(gram) for gram in seen]
    merged = regress(scene.layout, experts, overlay, [seen, nothing], gain=0.0)
    for index, gram in enumerate(seen):
        if gram is not None:
            found, own = (block(scene.layout, genome, index) for genome in (merged, experts[0]))
            assert distance(overlay.factors[index][0].double(), found, [own], [gram]) < 1e-6


def test_inputs_are_counted_as_numpy_counts_them(tmp_path: Path) -> None:
    scene = open_scene(tmp_path, full)
    scene.hold_base()
    model = scene.engine.lend(lambda lent: lent.model)
    overlay = Overlay(model, scene.materialiser)
    index = next(i for i, m in enumerate(scene.layout.matrices) if m.name.endswith("layers.0.self_attn.q_proj.weight"))
    shown = [replace(target, tokens=target.tokens[3:]) for target in SHOWN[0]]  # no common beginning
    caught: list[torch.Tensor] = []
    hook = overlay.modules[index][0].register_forward_pre_hook(lambda _, given: caught.append(given[0].detach()[0]))
    found = scene.engine.lend(lambda lent: observe(lent, overlay, shown, 10_000))[index]
    hook.remove()
    inputs = torch.cat(caught).double().numpy() @ overlay.factors[index][1].double().numpy()
    assert found is not None
    np.testing.assert_allclose(
        found.numpy(), inputs.T @ inputs / sum(len(t.tokens) for t in shown), rtol=1e-4, atol=1e-7
    )
