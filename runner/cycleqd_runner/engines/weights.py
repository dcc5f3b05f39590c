"""Replacing and summing up the parameters of a model in memory. Where new values come from is not known here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from cycleqd.errors import BadModel, PermanentError, near_misses

Check = Callable[[Iterable[tuple[str, Tensor]]], Iterator[tuple[str, Tensor]]]
"""Gives tensors on that fit."""


class Intake:
    """What may be loaded into one model, and what a failed load has left of it.

    Attributes:
        names: of all parameters.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """``shapes``: of all parameters, by all their names: tied parameters have several."""
        self.names = frozenset(shapes)
        self._shapes = shapes
        self._torn: set[str] = set()

    @contextmanager
    def loading(self) -> Iterator[Check]:
        """Begin one load, and give what passes on its tensors, each checked as it comes; those of a ``Sequence`` first.

        It may be called for one part of the load after the other. What a load that fails has given out counts as torn
        until it is loaded again.

        Raises:
            BadModel: unknown name, other shape, or a name twice.
        """
        given: set[str] = set()
        try:
            yield partial(self._checked, given)
        except BaseException:
            # Whatever stopped the load, what it has changed so far is a mixture of two models.
            self._torn |= given
            raise
        self._torn -= given

    def require_known(self, names: Iterable[str]) -> None:
        """Raise BadModel, with all names that the model does not have, if there are any."""
        unknown = [name for name in names if name not in self._shapes]
        if unknown:
            raise BadModel(
                f"The model has no parameter {', '.join(map(repr, unknown))}{self._hint(unknown[0])}; "
                "give weights of the same model."
            )

    def _checked(self, given: set[str], tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        if isinstance(tensors, Sequence):
            self.require_known(name for name, _ in tensors)
            for name, tensor in tensors:
                self._require_fitting(name, tensor)
        return self._each_checked(given, tensors)

    def _each_checked(self, given: set[str], tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in tensors:
            self._require_fitting(name, tensor)
            if name in given:
                raise BadModel(f"Parameter {name!r} came twice in one load; give each parameter once.")
            given.add(name)
            yield name, tensor

    def _require_fitting(self, name: str, tensor: Tensor) -> None:
        self.require_known([name])
        if tuple(tensor.shape) != self._shapes[name]:
            raise BadModel(
                f"Parameter {name!r} should have the shape {self._shapes[name]} and has {tuple(tensor.shape)}; "
                "give weights of the same architecture."
            )

    def _hint(self, name: str) -> str:
        hint = near_misses(name, self._shapes)
        # Hundreds of names help nobody.
        return hint if hint.startswith(" (did") else f" (it has {len(self._shapes)}, like {next(iter(self._shapes))!r})"

    def check(self) -> None:
        """Raise :class:`~cycleqd.errors.PermanentError` if a load has failed half-way and was not repeated."""
        if self._torn:
            raise PermanentError(
                f"A load of weights failed after changing {len(self._torn)} parameters; "
                "load these parameters again before asking the model."
            )


class LiveWeights:
    """The parameters of one model, by all their names: tied parameters have several."""

    def __init__(self, model: nn.Module) -> None:
        self._by_name = dict(model.named_parameters(remove_duplicate=False))
        self._own_names = [name for name, _ in model.named_parameters()]
        self._intake = Intake({name: tuple(parameter.shape) for name, parameter in self._by_name.items()})

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Copy tensors into the parameters of their names; see :meth:`cycleqd_runner.engines.contract.Engine.load`."""
        first_names: dict[int, str] = {}
        with self._intake.loading() as checked:
            for name, tensor in checked(tensors):
                self._load_one(name, tensor, first_names)

    @torch.no_grad()
    def _load_one(self, name: str, tensor: Tensor, first_names: dict[int, str]) -> None:
        parameter = self._by_name[name]
        first = first_names.setdefault(id(parameter), name)
        if first == name:
            parameter.copy_(tensor)
        elif not torch.equal(parameter, tensor.to(parameter)):
            raise BadModel(
                f"Parameters {first!r} and {name!r} are tied in this model but came with different values; "
                "give equal values or only one of them."
            )

    def check(self) -> None:
        """Raise :class:`~cycleqd.errors.PermanentError` if a load has failed half-way and was not repeated."""
        self._intake.check()

    def checksum(self) -> str:
        """Return the SHA-256 (hex) of names, dtypes, shapes and values; a tied parameter counts once."""
        return checksum((name, self._by_name[name]) for name in sorted(self._own_names))


def checksum(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 (hex) of names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()
