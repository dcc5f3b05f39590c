"""Which numbers of a genome a crossover treats alike, by the names that real checkpoints have."""

from __future__ import annotations

import numpy as np
import pytest

from cycleqd.genome import Layout, Matrix
from cycleqd.groups import groups_of, layer_of, module_of

LAYOUT = Layout(
    experts=("a", "b"),
    matrices=(
        Matrix("model.embed_tokens.weight", (1, 1)),
        Matrix("model.layers.0.q_proj.weight", (2, 1)),
        Matrix("model.layers.1.q_proj.weight", (1, 2)),
    ),
    others=("model.layers.0.q_proj.bias", "model.layers.1.norm.weight", "model.norm.weight"),
)


@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        ("model.layers.7.self_attn.q_proj.weight", "model.layers.7", "model.layers.7.self_attn.q_proj"),
        ("model.layers.7.mlp.experts.3.w1.weight", "model.layers.7", "model.layers.7.mlp.experts.3.w1"),
        ("transformer.h.11.ln_1.bias", "transformer.h.11", "transformer.h.11.ln_1"),
        ("decoder.block.0.layer.1.weight", "decoder.block.0", "decoder.block.0.layer.1"),
        ("model.embed_tokens.weight", "", "model.embed_tokens"),
        ("lm_head.weight", "", "lm_head"),
        ("bias", "", ""),
    ],
)
def test_layers_and_modules_are_read_off_names(name: str, layer: str, module: str) -> None:
    assert (layer_of(name), module_of(name)) == (layer, module)


def test_layers_hold_all_experts_numbers_of_their_tensors() -> None:
    groups = groups_of(LAYOUT, "Layer")
    assert groups.count == 3
    # By expert, matrix, direction: embeddings, layer 0, layer 1; the other tensors follow their layer.
    assert groups.values.tolist() == [0, 1, 1, 2, 0, 1, 2, 2]
    assert groups.coefficients.tolist() == [1, 2, 0]


def test_a_bias_goes_with_its_matrix() -> None:
    groups = groups_of(LAYOUT, "Module")
    assert groups.count == 5
    assert groups.values.tolist() == [0, 1, 1, 2, 0, 1, 2, 2]
    assert groups.coefficients.tolist() == [1, 3, 4]


def test_cores_are_groups_as_a_whole() -> None:
    groups = groups_of(Layout(LAYOUT.experts, LAYOUT.matrices, LAYOUT.others, "Core"), "Module")
    assert groups.values.tolist() == [0] * 4 + [1] * 9 + [2] * 9


def test_directions_are_all_numbers_one_by_one() -> None:
    groups = groups_of(LAYOUT, "Direction")
    everything = np.concatenate([groups.values, groups.coefficients.ravel()])
    assert everything.tolist() == list(range(LAYOUT.size + 6)) == list(range(groups.count))


@pytest.mark.parametrize("granularity", ["Model", "Layer", "Module", "Direction"])
def test_labels_fit_genomes_without_matrices_or_without_others(granularity: str) -> None:
    for layout in (Layout(("a", "b"), (), ("bias",)), Layout(("a", "b"), LAYOUT.matrices)):
        groups = groups_of(layout, granularity)
        np.broadcast_to(groups.values, (layout.size,))
        np.broadcast_to(groups.coefficients, (2, len(layout.others)))
