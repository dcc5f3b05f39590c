"""Replacing and summing up the parameters of a model in memory. Where new values come from is not known here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from cycleqd.errors import BadModel, PermanentError, near_misses


class LiveWeights:
    """The parameters of one model, by all their names: tied parameters have several."""

    def __init__(self, model: nn.Module) -> None:
        self._by_name = dict(model.named_parameters(remove_duplicate=False))
        self._own_names = [name for name, _ in model.named_parameters()]
        self._torn: set[int] = set()

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Copy tensors into the parameters of their names; see :meth:`cycleqd_runner.engines.contract.Engine.load`."""
        if isinstance(tensors, Sequence):
            for name, tensor in tensors:
                self._fitting(name, tensor)
        done: dict[int, str] = {}
        try:
            for name, tensor in tensors:
                self._load_one(name, tensor, done)
        except BaseException:
            # Whatever stopped the stream, what it has changed so far is a mixture of two models.
            self._torn |= done.keys()
            raise
        self._torn -= done.keys()

    @torch.no_grad()
    def _load_one(self, name: str, tensor: Tensor, done: dict[int, str]) -> None:
        parameter = self._fitting(name, tensor)
        first = done.get(id(parameter))
        if first == name:
            raise BadModel(f"Parameter {name!r} came twice in one load; give each parameter once.")
        if first is None:
            done[id(parameter)] = name
            parameter.copy_(tensor)
        elif not torch.equal(parameter, tensor.to(parameter)):
            raise BadModel(
                f"Parameters {first!r} and {name!r} are tied in this model but came with different values; "
                "give equal values or only one of them."
            )

    def _fitting(self, name: str, tensor: Tensor) -> nn.Parameter:
        if name not in self._by_name:
            raise BadModel(f"The model has no parameter {name!r}{self._hint(name)}; give weights of the same model.")
        parameter = self._by_name[name]
        if tensor.shape != parameter.shape:
            raise BadModel(
                f"Parameter {name!r} should have the shape {tuple(parameter.shape)} and has {tuple(tensor.shape)}; "
                "give weights of the same architecture."
            )
        return parameter

    def _hint(self, name: str) -> str:
        hint = near_misses(name, self._by_name)
        # Hundreds of names help nobody.
        return hint if hint.startswith(" (did") else f" (it has {len(self._by_name)}, like {self._own_names[0]!r})"

    def check(self) -> None:
        """Raise :class:`~cycleqd.errors.PermanentError` if a load has failed half-way and was not repeated."""
        if self._torn:
            raise PermanentError(
                f"A load of weights failed after changing {len(self._torn)} parameters; "
                "load these parameters again before asking the model."
            )

    def checksum(self) -> str:
        """Return the SHA-256 (hex) of names, dtypes, shapes and values; a tied parameter counts once."""
        digest = hashlib.sha256()
        for name in sorted(self._own_names):
            parameter = self._by_name[name].detach()
            digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
            digest.update(parameter.contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
        return digest.hexdigest()
