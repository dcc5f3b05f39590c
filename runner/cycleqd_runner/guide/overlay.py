"""A lent model whose weights follow the numbers of a genome, differentiably. What it is trained on is not known here.

    y = W x  =  W0 x + L diag(g) R^T x       (``Gains``),    y = W0 x + L M R^T x    (``Core``)

for each matrix of the layout: exact for LoRA experts, and for full-rank experts whose bases were truncated. The model
keeps the base's weights; hooks add the low-rank part, so nothing of the size of a matrix is ever differentiated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from cycleqd.errors import BadManifest, UnsupportedHere
from cycleqd_runner.materialise import Materialiser


class Overlay:
    """Adds the low-rank part of a genome's matrices to a model that holds the base's.

    Attributes:
        modules: per matrix of the layout, the modules that it is the weight of.
        factors: per matrix, L (m, R) and R (n, R) in the model's dtype.
    """

    def __init__(self, model: nn.Module, materialiser: Materialiser) -> None:
        """Find the modules of every matrix and the factors that belong to them.

        Raises:
            BadManifest: the factors of full-rank experts would take more memory than the model.
            UnsupportedHere: a matrix belongs to a module that is neither linear nor an embedding.
        """
        self._layout = materialiser.layout
        parameter = next(model.parameters())
        self.modules = _modules(model, [matrix.name for matrix in self._layout.matrices])
        _check_size(materialiser, sum(p.numel() for p in model.parameters()))
        self.factors = [
            tuple(factor.to(parameter.device, parameter.dtype) for factor in materialiser.factors(index))
            for index in range(len(self._layout.matrices))
        ]
        self._numbers: list[Tensor] = []

    def follow(self, values: Tensor) -> None:
        """Take the numbers of a genome, (layout.size,) float32 on the model's device, for the passes that follow."""
        layout, dtype = self._layout, self.factors[0][0].dtype
        if layout.form == "Core":
            sizes = [sum(matrix.ranks) ** 2 for matrix in layout.matrices]
            blocks = torch.split(values.to(dtype), sizes)
            self._numbers = [block.view(round(len(block) ** 0.5), -1) for block in blocks]
            return
        n = len(layout.experts)
        sizes = [matrix.ranks[k] for k in range(n) for matrix in layout.matrices]
        pieces = torch.split(values.to(dtype), sizes)
        stride = len(layout.matrices)
        self._numbers = [torch.cat([pieces[k * stride + i] for k in range(n)]) for i in range(stride)]

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Change what the model computes for as long as the context lasts."""
        hooks = [
            module.register_forward_hook(partial(self._add, index))
            for index, modules in enumerate(self.modules)
            for module in modules
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _add(self, index: int, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        left, right = self.factors[index]
        numbers = self._numbers[index]
        if isinstance(module, nn.Embedding):  # W is (vocabulary, width), and a token picks a row of it
            rows = left[inputs[0]]
            return output + (rows @ numbers if numbers.dim() > 1 else rows * numbers) @ right.T
        inside = inputs[0] @ right
        return output + (inside @ numbers.T if numbers.dim() > 1 else inside * numbers) @ left.T


def _modules(model: nn.Module, names: list[str]) -> list[list[nn.Module]]:
    """Return the modules whose weight each parameter is: tied parameters have several."""
    by_name = dict(model.named_parameters(remove_duplicate=False))
    users: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            users.setdefault(id(module.weight), []).append(module)
    unknown = [name for name in names if name not in by_name or id(by_name[name]) not in users]
    if unknown:
        raise UnsupportedHere(
            f"Guided search knows linear layers and embeddings, but {unknown[0]} (and {len(unknown) - 1} more) belongs "
            "to something else: set search.emitter.type to Paper."
        )
    return [users[id(by_name[name])] for name in names]


def _check_size(materialiser: Materialiser, model_numbers: int) -> None:
    layout, base = materialiser.layout, materialiser.base
    numbers = sum(sum(matrix.ranks) * sum(base.shape(matrix.name)) for matrix in layout.matrices)
    if numbers > model_numbers:
        raise BadManifest(
            f"Guided search would keep {numbers / 1e6:.0f} million numbers of factors beside a model of "
            f"{model_numbers / 1e6:.0f} million: set search.basis.rank, for example to 64, or search.emitter.type to "
            "Paper."
        )
