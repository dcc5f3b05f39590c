"""Engines: what holds a model in memory and answers. The table below says which there are; each has its own module."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd_runner.engines.contract import Engine

__all__ = ["ENGINES", "Engine", "engine_type", "open_engine"]


def _transformers(folder: Path, args: EngineArgs, adapter_rank: int) -> Engine:  # noqa: ARG001 - as all openers
    # Importing transformers takes seconds: only when it is used.
    from cycleqd_runner.engines.transformers import TransformersEngine  # noqa: PLC0415 - see above

    return TransformersEngine(folder, args)


def _vllm(folder: Path, args: EngineArgs, adapter_rank: int) -> Engine:
    from cycleqd_runner.engines.vllm import VllmEngine  # noqa: PLC0415 - see above

    return VllmEngine(folder, args, adapter_rank)


ENGINES: dict[str, Callable[[Path, EngineArgs, int], Engine]] = {"Transformers": _transformers, "VLLM": _vllm}
"""Type in the manifest to what opens it."""


def open_engine(spec: EngineSpec, folder: Path, adapter_rank: int = 0) -> Engine:
    """Open the engine of ``spec`` on the Hugging Face checkpoint in ``folder``.

    Args:
        spec: of the manifest.
        folder: of the checkpoint.
        adapter_rank: largest rank of individuals that are served together as LoRA adapters; 0: none are.

    Raises:
        ~cycleqd.errors.BadModel: the checkpoint cannot be used by this engine.
        ~cycleqd.errors.BadManifest: settings that the engine or the model does not have.
        ~cycleqd.errors.UnsupportedHere: this machine or this build has no such engine.
    """
    _import_generation()
    return ENGINES[engine_type(spec)](folder, spec.args, adapter_rank)


def _import_generation() -> None:
    """Import what Transformers generates with as if scikit-learn were not installed, whose import takes seconds, too.

    Benchmarks brought it; Transformers uses it for assisted decoding only, which no engine does.
    """
    from transformers import utils  # noqa: PLC0415 - see above

    with mock.patch.object(utils, "is_sklearn_available", return_value=False):
        import_module("transformers.generation.candidate_generator")


def engine_type(spec: EngineSpec) -> str:
    """Return which engine ``spec`` means on this machine: of Auto, VLLM where a GPU and vllm are present."""
    if spec.type != "Auto":
        return spec.type
    import torch  # noqa: PLC0415 - see above

    return "VLLM" if torch.cuda.is_available() and find_spec("vllm") else "Transformers"
