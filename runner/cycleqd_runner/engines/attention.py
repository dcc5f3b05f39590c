"""Keys and values of a batch in memory, and attention over them. Which tokens to compute is decided elsewhere.

Models run on *packed* tokens: one row of all tokens of all prompts (or, later, the newest token of every answer), so
that linear layers see no padding. Only attention needs to know who belongs to whom; Transformers hands it to
:func:`attend`, together with the step that is under way (its ``cycleqd_step`` argument).

Slots: each answer has a row of the key-value buffers, and the token at position p lies in column p of its row.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from cycleqd.errors import UnsupportedHere
from cycleqd_runner.engines.prefixes import Tree, alike

NAME = "cycleqd"
"""Name of this attention for ``attn_implementation``."""

_BLOCK_ELEMENTS = 2**24
"""Attention scores that one kernel call may have: bounds the memory of masks (32 MiB in bfloat16)."""


class Step(Protocol):
    """What attention needs to know about the tokens that are being computed."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, layer: int, scale: float | None, window: int | None) -> Tensor:
        """Store ``k`` and ``v`` (heads, tokens, size) and return what ``q`` sees: (tokens, query heads, size).

        ``window``: how far back a token sees, itself included; None: everything.
        """
        ...


class Slots:
    """Key-value buffers (rows, heads, columns, size), one pair a layer, made when the layer is first used."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows = rows
        self.columns = columns
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, index: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the buffers of a layer, shaped after ``k`` and ``v`` (heads, tokens, size)."""
        if index not in self.layers:
            # Zeros, because what is masked is still multiplied, and 0 x NaN of unset memory would be NaN.
            keys, values = (x.new_zeros(self.rows, x.shape[0], self.columns, x.shape[2]) for x in (k, v))
            self.layers[index] = keys, values
        return self.layers[index]

    def move(self, targets: Tensor, sources: Tensor, columns: int) -> None:
        """Copy rows ``sources`` over rows ``targets``, up to ``columns``."""
        for buffers in self.layers.values():
            for buffer in buffers:
                buffer[targets, :, :columns] = buffer[sources, :, :columns]


class Prefill:
    """The step that computes prompts: nodes of a prefix tree, whose rows begin at ``first_row``."""

    def __init__(self, slots: Slots, prompts: Tree, first_row: int, device: torch.device) -> None:
        self._slots = slots
        lengths = [len(path) for path in prompts.paths]
        rows = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)) + first_row
        columns = torch.cat([torch.arange(n) for n in lengths])
        nodes = torch.cat([torch.from_numpy(path) for path in prompts.paths])
        self._write = (rows.to(device), columns.to(device), nodes.to(device))
        own_lengths = [n - int(own) for n, own in zip(lengths, prompts.own, strict=True)]
        self._blocks: list[tuple[Tensor, Tensor, Tensor, int]] = []
        for group in alike(own_lengths):
            longest = max(lengths[i] for i in group)
            width = max(own_lengths[i] for i in group)
            at_once = max(1, _BLOCK_ELEMENTS // (width * longest))
            for begin in range(0, len(group), at_once):
                members = group[begin : begin + at_once]
                # A short row repeats its last own token; computing it twice gives the same value twice.
                own = [torch.from_numpy(prompts.paths[i])[prompts.own[i] :] for i in members]
                query = torch.stack([_stretch(nodes_of_row, width) for nodes_of_row in own])
                seen = torch.from_numpy(prompts.positions)[query]
                block_rows = torch.tensor(members) + first_row
                self._blocks.append((block_rows.to(device), query.to(device), seen.to(device), longest))
        self._masks: dict[tuple[int, int | None, int, torch.dtype], Tensor] = {}

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, layer: int, scale: float | None, window: int | None) -> Tensor:
        """See :class:`Step`."""
        keys, values = self._slots.layer(layer, k, v)
        rows, columns, nodes = self._write
        keys[rows, :, columns] = k[:, nodes].transpose(0, 1)
        values[rows, :, columns] = v[:, nodes].transpose(0, 1)
        shared = q.shape[0] // k.shape[0]
        out = q.new_empty(q.shape[1], q.shape[0], v.shape[2])
        for block, (block_rows, query, _, longest) in enumerate(self._blocks):
            n, width = query.shape
            # Query heads that share a key head become further queries of it: no copy of keys and values per query head.
            grouped = q[:, query].transpose(0, 1).reshape(n, k.shape[0], shared * width, q.shape[2])
            mask = self._mask(block, window, shared, q.dtype)
            result = scaled_dot_product_attention(
                grouped, keys[block_rows, :, :longest], values[block_rows, :, :longest], attn_mask=mask, scale=scale
            )
            out[query] = result.reshape(n, q.shape[0], width, v.shape[2]).transpose(1, 2)
        return out

    def _mask(self, block: int, window: int | None, shared: int, dtype: torch.dtype) -> Tensor:
        key = (block, window, shared, dtype)
        if key not in self._masks:
            _, _, seen, longest = self._blocks[block]
            self._masks[key] = _hidden(seen, longest, window, dtype)[:, None].repeat(1, 1, shared, 1)
        return self._masks[key]


class Decode:
    """The step that computes the newest token of the first ``len(positions)`` rows."""

    def __init__(self, slots: Slots, positions: Tensor, longest: int) -> None:
        """``positions``: (rows,) column of each row's newest token; ``longest``: columns in use."""
        self._slots = slots
        self._positions = positions
        self._rows = torch.arange(len(positions), device=positions.device)
        self._longest = longest
        self._masks: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, layer: int, scale: float | None, window: int | None) -> Tensor:
        """See :class:`Step`."""
        keys, values = self._slots.layer(layer, k, v)
        keys[self._rows, :, self._positions] = k.transpose(0, 1)
        values[self._rows, :, self._positions] = v.transpose(0, 1)
        n, shared = len(self._rows), q.shape[0] // k.shape[0]
        grouped = q.view(k.shape[0], shared, n, q.shape[2]).permute(2, 0, 1, 3)
        if (window, q.dtype) not in self._masks:
            self._masks[window, q.dtype] = _hidden(self._positions[:, None], self._longest, window, q.dtype)[:, None]
        result = scaled_dot_product_attention(
            grouped,
            keys[:n, :, : self._longest],
            values[:n, :, : self._longest],
            attn_mask=self._masks[window, q.dtype].expand(n, k.shape[0], shared, self._longest),
            scale=scale,
        )
        return result.reshape(n, q.shape[0], v.shape[2])


class Whole:
    """The step that computes whole sequences and keeps nothing, so that it can be differentiated.

    As in :class:`Prefill`, sequences are paths in a prefix tree and those of similar length share a block. A row
    shorter than its block is filled up with its last token, which nobody before it sees.
    """

    def __init__(self, sequences: Tree, device: torch.device) -> None:
        """``sequences``: their nodes are the tokens that the model computes."""
        paths = [torch.from_numpy(path) for path in sequences.paths]
        self._blocks: list[Tensor] = []
        back = torch.empty(len(sequences.tokens), dtype=torch.long)
        offset = 0
        for group in alike([len(path) for path in paths]):
            width = max(len(paths[i]) for i in group)
            for row, i in enumerate(group):
                back[paths[i]] = torch.arange(len(paths[i])) + offset + row * width
            self._blocks.append(torch.stack([_stretch(paths[i], width) for i in group]).to(device))
            offset += len(group) * width
        self._back = back.to(device)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        layer: int,  # noqa: ARG002 - nothing is kept, so all layers are alike
        scale: float | None,
        window: int | None,
    ) -> Tensor:
        """See :class:`Step`."""
        # On CPUs the kernel's backward pass is far slower in bfloat16 than in float32 (benchmarks/gradient.py).
        dtype = torch.float32 if q.device.type == "cpu" else q.dtype
        inputs, results = [x.to(dtype) for x in (q, k, v)], []
        for block in self._blocks:
            width = block.shape[1]
            mask = None
            if window is not None and window < width:
                mask = _hidden(torch.arange(width, device=q.device)[None], width, window, dtype)
            queries, keys, values = (x[:, block].transpose(0, 1) for x in inputs)
            out = scaled_dot_product_attention(
                queries,
                keys,
                values,
                attn_mask=mask,
                is_causal=mask is None,
                scale=scale,
                enable_gqa=q.shape[0] != k.shape[0],
            )
            results.append(out.transpose(1, 2).flatten(0, 1))
        return torch.cat(results)[self._back].to(q.dtype)


def _stretch(own: Tensor, width: int) -> Tensor:
    return torch.cat([own, own[-1:].expand(width - len(own))])


def _hidden(positions: Tensor, columns: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """Return (rows, queries, columns): 0 where the query at a position sees a column, -inf elsewhere.

    Additive, because kernels turn a boolean mask into this form again in every layer.
    """
    distance = positions[..., None] - torch.arange(columns, device=positions.device)
    unseen = distance < 0
    if window is not None:
        unseen |= distance >= window
    return torch.zeros(unseen.shape, dtype=dtype, device=positions.device).masked_fill_(unseen, float("-inf"))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  (Transformers makes none for attention that it does not know)
    *,
    cycleqd_step: Step,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention in the form that Transformers calls: (1, heads, tokens, size) to (1, tokens, heads, size)."""
    if softcap is not None or s_aux is not None:
        raise UnsupportedHere(
            "The Transformers engine computes plain softmax attention, but this model caps its attention scores or "
            "has attention sinks; use the VLLM engine for it."
        )
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    out = cycleqd_step.attend(query[0], key[0], value[0], layer=layer, scale=scaling, window=sliding_window)
    return out[None], None


def register() -> None:
    """Make this attention known to Transformers. May be repeated."""
    AttentionInterface.register(NAME, attend)
