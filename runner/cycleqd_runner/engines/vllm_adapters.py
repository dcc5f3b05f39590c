"""How LoRA adapters are applied on CPUs: many tokens of an adapter at once. On GPUs vLLM has kernels for that.

vLLM's own way for CPUs copies an adapter's matrices once a token, which takes longer than all the rest of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform

TILE = 64
"""Most rows of a tile: more would waste work on adapters with few, fewer would copy matrices more often."""


@dataclass(frozen=True)
class Tiles:
    """The rows of a batch, in tiles of one adapter each.

    Attributes:
        adapter: of each tile, (tiles,).
        rows: in each tile, (tiles, height); what a tile lacks is filled up with anything.
        chosen: the rows that have an adapter, (n,).
        places: where these are among all rows of all tiles, (n,).
    """

    adapter: Tensor
    rows: Tensor
    chosen: Tensor
    places: Tensor

    @classmethod
    def of(cls, adapters: Tensor) -> Tiles:
        """Lay out a batch whose rows have these adapters, (rows,), -1: none."""
        own = {
            int(adapter): np.flatnonzero(adapters.numpy() == adapter) for adapter in np.unique(adapters) if adapter >= 0
        }
        height = min(TILE, max((len(rows) for rows in own.values()), default=1))
        tiles = [(adapter, rows[i : i + height]) for adapter, rows in own.items() for i in range(0, len(rows), height)]
        filled = np.zeros((len(tiles), height), np.int64)
        for tile, (_, rows) in zip(filled, tiles, strict=True):
            tile[: len(rows)] = rows
        places = [n * height + i for n, (_, rows) in enumerate(tiles) for i in range(len(rows))]
        chosen = [row for _, rows in tiles for row in rows]
        adapter = [adapter for adapter, _ in tiles]
        return cls(torch.tensor(adapter), torch.from_numpy(filled), torch.tensor(chosen), torch.tensor(places))

    def add(self, y: Tensor, x: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], scale: float) -> None:
        """Add ``scale * x Aᵀ Bᵀ``, with each row's own adapter, to a layer's output.

        Args:
            y: (rows, outputs of all parts), changed in place.
            x: (rows, inputs).
            a: for each part of a fused layer (adapters, 1, rank, inputs).
            b: likewise (adapters, 1, outputs, rank).
            scale: of all adapters.
        """
        if not len(self.chosen):
            return
        own = x[self.rows]
        parts = [
            torch.bmm(torch.bmm(own, down[self.adapter, 0].mT).mul_(scale), up[self.adapter, 0].mT)
            for down, up in zip(a, b, strict=True)
        ]
        change = torch.cat(parts, 2).flatten(0, 1)[self.places]
        y[:, : change.shape[1]].index_add_(0, self.chosen, change)


class TiledAdapters(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM's classes have no types
    """Adds adapters to the linear layers' outputs, tile by tile.

    Attributes:
        of_tokens: the tiles of the present batch.
        of_logits: those of its rows whose next token is asked.
    """

    of_tokens: Tiles
    of_logits: Tiles

    def update_metadata(
        self, mapping: LoRAMapping, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int
    ) -> None:
        """Learn which adapter each token of the next batch has; see the base class."""
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size)
        self.of_tokens, self.of_logits = Tiles.of(self.token_lora_indices), Tiles.of(self.sampler_indices)

    def add_lora_linear(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: Sequence[Tensor],
        lora_b_stacked: Sequence[Tensor],
        scale: float,
        output_slices: Sequence[int],  # noqa: ARG002 - the sizes of lora_b_stacked
    ) -> None:
        """Add the adapters to a linear layer's output; see :meth:`Tiles.add`."""
        self.of_tokens.add(y, x, lora_a_stacked, lora_b_stacked, scale)

    def add_lora_logits(
        self, y: Tensor, x: Tensor, lora_a_stacked: Tensor, lora_b_stacked: Tensor, scale: float
    ) -> None:
        """Add the adapters to the logits; see :meth:`Tiles.add`.

        Logits of a prompt that is read, not answered, are those of one request, which vLLM does not name. No adapter
        that is read changes the output head (:meth:`.vllm_steps.Steps.add`).
        """
        if len(x) == len(self.sampler_indices):
            self.of_logits.add(y, x, [lora_a_stacked], [lora_b_stacked], scale)


def install() -> None:
    """Have vLLM apply adapters like this in this process, where it runs on CPUs."""
    if current_platform.is_cpu():
        name = f"{TiledAdapters.__module__}.{TiledAdapters.__name__}"
        type(current_platform).get_punica_wrapper = classmethod(lambda _: name)
