"""What a run cost: worker seconds, GPU seconds and tokens, by kind of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cycleqd.records import Guidance, Result, Timings
from cycleqd.report import Cost

FINALIZE = "finalize"
"""Kind of work of :class:`FinalUsage`, beside those of :class:`~cycleqd.records.Timings`."""


@dataclass(frozen=True)
class FinalUsage:
    """What choosing and testing the final model used.

    Attributes:
        seconds: of workers.
        gpu_seconds: likewise, times the GPUs that they held.
        prompt_tokens, answer_tokens: read and written.
        evaluations: models evaluated on the validation or on the test splits.
        training_tokens: passed forward and backward to polish candidates.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    evaluations: int = 0
    training_tokens: int = 0


def search_cost(results: Sequence[Result]) -> Cost:
    """Return what the evaluations on the search splits cost, with breeding and all that surrounds them."""
    own = [(seconds_by_kind(result), result.gpus) for result in results]
    stops = [result.stop for result in results if result.stop]
    kinds = [field.removesuffix("_seconds") for field in Timings.model_fields]
    return Cost(
        seconds={kind: sum(seconds[kind] for seconds, _ in own) for kind in kinds},
        gpu_seconds={kind: sum(gpus * seconds[kind] for seconds, gpus in own) for kind in kinds},
        prompt_tokens=sum(result.tokens[0] for result in results),
        answer_tokens=sum(result.tokens[1] for result in results),
        training_tokens=sum(result.training_tokens for result in results),
        guidance=_most([result.guidance for result in results if result.guidance]),
        evaluations=sum(result.evaluation == 0 for result in results),
        stopped=len(stops),
        items_saved=sum(stop.saved for stop in stops),
        reevaluations=sum(result.evaluation > 0 for result in results),
    )


def _most(taken: Sequence[Guidance]) -> Guidance | None:
    """Return what guidance took of one child at most."""
    if not taken:
        return None
    return Guidance(
        seconds=max(one.seconds for one in taken),
        peak_bytes=max(one.peak_bytes for one in taken),
        on_gpu=any(one.on_gpu for one in taken),
    )


def total_cost(search: Cost, final: FinalUsage) -> Cost:
    """Return the cost of a finished run."""
    return search.model_copy(
        update={
            "seconds": {**search.seconds, FINALIZE: final.seconds},
            "gpu_seconds": {**search.gpu_seconds, FINALIZE: final.gpu_seconds},
            "training_tokens": search.training_tokens + final.training_tokens,
            "final_prompt_tokens": final.prompt_tokens,
            "final_answer_tokens": final.answer_tokens,
            "final_evaluations": final.evaluations,
        }
    )


def seconds_by_kind(result: Result) -> dict[str, float]:
    """Return where the worker's seconds went: the fields of the result's timings, without ``_seconds``."""
    return {field.removesuffix("_seconds"): seconds for field, seconds in result.timings}
