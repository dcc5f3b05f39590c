"""Blocks of vLLM's cache begin with zeros, whoever had them before. In the scheduler's process and in every worker's.

vLLM hands out blocks as they were left, and attention reads them as a whole: what it masks is multiplied by 0, and
0 x NaN is NaN. So an answer of broken numbers would break whoever gets its blocks, of whatever individual. vLLM wipes
new blocks itself for a few kinds of caches (its ``needs_kv_cache_zeroing``); here it does so for all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.platforms import current_platform
from vllm.v1.kv_cache_interface import KVCacheConfig


def install() -> None:
    """Have vLLM wipe new blocks in this process."""
    KVCacheConfig.needs_kv_cache_zeroing = property(lambda _: True)
    if current_platform.is_cpu():
        from vllm.v1.worker.cpu_model_runner import CPUModelRunner  # noqa: PLC0415 - only there

        CPUModelRunner._zero_block_ids = _wipe  # noqa: SLF001 - vLLM's own leaves out layers with sliding windows


def _wipe(runner: Any, blocks: list[int]) -> None:  # noqa: ANN401 - vLLM's classes have no types
    for cache in runner.kv_caches:
        if isinstance(cache, Tensor):
            cache.index_fill_(0, torch.tensor(blocks), 0)
