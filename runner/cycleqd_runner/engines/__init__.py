"""Engines: what holds a model in memory and answers. The table below says which there are; each has its own module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd.errors import UnsupportedHere
from cycleqd_runner.engines.contract import Engine

__all__ = ["ENGINES", "Engine", "open_engine"]


def _transformers(folder: Path, args: EngineArgs) -> Engine:
    # Importing transformers takes seconds: only when it is used.
    from cycleqd_runner.engines.transformers import TransformersEngine  # noqa: PLC0415 - see above

    return TransformersEngine(folder, args)


def _vllm(folder: Path, args: EngineArgs) -> Engine:  # noqa: ARG001
    raise UnsupportedHere("This build of cycleqd has no VLLM engine; set engine.type to Transformers.")


ENGINES: dict[str, Callable[[Path, EngineArgs], Engine]] = {"Transformers": _transformers, "VLLM": _vllm}
"""Type in the manifest to what opens it."""


def open_engine(spec: EngineSpec, folder: Path) -> Engine:
    """Open the engine of ``spec`` on the Hugging Face checkpoint in ``folder``.

    Raises:
        ~cycleqd.errors.BadModel: the checkpoint cannot be used by this engine.
        ~cycleqd.errors.BadManifest: settings that the engine or the model does not have.
        ~cycleqd.errors.UnsupportedHere: this machine or this build has no such engine.
    """
    return ENGINES[_type(spec)](folder, spec.args)


def _type(spec: EngineSpec) -> str:
    if spec.type != "Auto":
        return spec.type
    # Auto stays with Transformers until the VLLM engine exists.
    return "Transformers"
