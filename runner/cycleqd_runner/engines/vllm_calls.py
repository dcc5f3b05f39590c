"""Calls from vLLM's owner to its workers (``collective_rpc``) whose errors keep their class.

With tensor parallelism workers are other processes, and vLLM lets errors cross as texts only. So ours are results.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import vllm

from cycleqd.errors import CycleQDError
from cycleqd_runner.engines.memory import memory_for

Given = ParamSpec("Given")
Result = TypeVar("Result")


class _Refused(NamedTuple):
    """What a worker's method could not do."""

    error: CycleQDError


def called(method: Callable[Given, Result]) -> Callable[Given, Result | _Refused]:
    """Let a worker's method be called by :func:`call`; memory that runs out in it becomes an error of ours."""

    @wraps(method)
    def told(*args: Given.args, **kwargs: Given.kwargs) -> Result | _Refused:
        advice = "lower engine.args.gpuMemoryUtilization, maxModelLen or maxBatchTokens"
        try:
            with memory_for("an individual beside the model in vLLM", advice):
                return method(*args, **kwargs)
        except CycleQDError as error:
            return _Refused(error)

    return told


def call(llm: vllm.LLMEngine, method: str, *args: object) -> list[Any]:
    """Call a method of every worker and return what they return. Raises the first error of a worker."""
    results: list[Any] = llm.collective_rpc(method, args=args)
    for result in results:
        if isinstance(result, _Refused):
            raise result.error
    return results
