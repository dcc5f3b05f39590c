"""Steps that lower the loss of what they see, leave the model alone and are repeatable."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.guide import descent
from cycleqd_runner.guide.descent import Descended, Law, descend
from cycleqd_runner.guide.overlay import Overlay
from cycleqd_runner.guide.targets import Batch, batches
from tests.runner.guide.support import Scene, lora, open_scene, targets

ITEMS = targets([(9, 4), (12, 7), (5, 4), (30, 8)])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return open_scene(tmp_path_factory.mktemp("scene"), lora)


def steps(scene: Scene, law: Law, start: torch.Tensor | None = None) -> Descended:
    values = torch.zeros(scene.layout.size) if start is None else start
    scene.hold_base()

    def work(lent: Lent) -> Descended:
        draw = batches(ITEMS, [1.0], len(ITEMS), np.random.default_rng(0))
        return descend(lent, Overlay(lent.model, scene.materialiser), values, draw, law)

    return scene.engine.lend(work)


def test_steps_lower_the_loss_and_leave_the_weights_alone(scene: Scene) -> None:
    scene.hold_base()
    before = scene.engine.checksum()
    done = steps(scene, Law(steps=8, learning_rate=0.05))
    assert done.losses[-1] < done.losses[0] - 0.02
    assert scene.engine.checksum() == before
    assert done.tokens == 8 * sum(len(target.tokens) for target in ITEMS)


def test_the_log_says_how_far_they_are(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = itertools.count(0, 20)
    monkeypatch.setattr(descent, "time", SimpleNamespace(monotonic=clock.__next__))
    with caplog.at_level(logging.INFO, "cycleqd_runner"):
        done = steps(scene, Law(steps=5, learning_rate=0.05))
    assert caplog.messages == [
        f"Gradient step 2 of 5, loss {done.losses[1]:.3f}, about 1.0 min left",
        f"Gradient step 4 of 5, loss {done.losses[3]:.3f}, about 0.3 min left",
    ]


def test_what_no_batch_had_was_not_shown(scene: Scene) -> None:
    scene.hold_base()
    sourced = [replace(target, source=10 + i) for i, target in enumerate(ITEMS)]

    def work(lent: Lent) -> Descended:
        draw = batches(sourced, [1.0], 1, np.random.default_rng(0))
        return descend(
            lent, Overlay(lent.model, scene.materialiser), torch.zeros(scene.layout.size), draw, Law(3, 0.05)
        )

    shown = scene.engine.lend(work).shown
    assert len(shown) == 3
    assert shown < {10, 11, 12, 13}


def test_the_same_steps_give_the_same_bits(scene: Scene) -> None:
    law = Law(steps=3, learning_rate=0.05)
    assert torch.equal(steps(scene, law).values, steps(scene, law).values)


def test_small_passes_add_up_to_the_gradient_of_the_whole(scene: Scene) -> None:
    whole, divided = (steps(scene, Law(2, 0.05, batch_tokens)) for batch_tokens in (10_000, 16))
    torch.testing.assert_close(whole.losses[0], divided.losses[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.values, divided.values, rtol=0, atol=5e-3)


def test_what_is_learned_may_be_smaller_than_the_genome(scene: Scene) -> None:
    """One coefficient per expert, as in merging by coefficients."""
    owner = torch.zeros(scene.layout.size, dtype=torch.long)
    owner[scene.layout.gains_of(1)] = 1
    scene.hold_base()

    def work(lent: Lent) -> Descended:
        overlay = Overlay(lent.model, scene.materialiser)
        batch = Batch(ITEMS, (0.25,) * 4)
        return descend(lent, overlay, torch.zeros(2), lambda _: batch, Law(4, 0.05), lambda two: two[owner])

    done = scene.engine.lend(work)
    assert done.learned.shape == (2,)
    assert torch.equal(done.values, done.learned[owner])
    assert done.losses[-1] < done.losses[0]


def test_a_genome_keeps_the_coefficients_that_it_started_from(scene: Scene) -> None:
    start = scene.genome()
    done = steps(scene, Law(1, 0.05), torch.from_numpy(start.values))
    assert done.genome(start).coefficients is start.coefficients
    assert done.genome(start).values.dtype == np.float32
