"""What runs the model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cycleqd.api.base import ApiModel, Fraction


class EngineArgs(ApiModel):
    """Settings of the engine. Those that an engine does not know are refused by it, not ignored."""

    dtype: Literal["Auto", "Float32", "BFloat16"] = "Auto"
    """Arithmetic. Auto: BFloat16 on GPUs and on CPUs with AMX, Float32 elsewhere."""
    max_model_len: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    """Longest prompt plus answer, in tokens; the model's own limit if unset."""
    max_batch_tokens: Annotated[int, Field(ge=256)] = 16384
    """Prompt and answer tokens that one batch may hold."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of one worker; unset: the machine's cores divided by the workers, 1 in strict runs."""
    gpu_memory_utilization: Annotated[Fraction, Field(gt=0.0)] = 0.9
    """Share of the GPU's memory that the engine may take (VLLM)."""
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs per worker (VLLM)."""
    concurrent_children: Annotated[int, Field(ge=1, le=64)] = 1
    """LoRA children evaluated together in one batch (VLLM)."""


class EngineSpec(ApiModel):
    """Which engine answers, and its settings."""

    type: Literal["Auto", "VLLM", "Transformers"] = "Auto"
    """Auto: VLLM where a GPU and vllm are present, Transformers elsewhere."""
    args: EngineArgs = EngineArgs()
    """Settings of the engine."""
