"""What a run cost: worker seconds, GPU seconds and tokens, by kind of work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from cycleqd.records import FinalEvaluation, Guidance, Result, Timings
from cycleqd.report import Cost

FINALIZE, BENCHMARKS = "finalize", "benchmarks"
"""Kinds of work of :class:`FinalUsage`, beside those of :class:`~cycleqd.records.Timings`."""


@dataclass(frozen=True)
class Usage:
    """What some evaluations of finalize used.

    Attributes:
        seconds: of workers.
        gpu_seconds: likewise, times the GPUs that they held.
        prompt_tokens, answer_tokens: read and written.
        evaluations: how many there were.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    evaluations: int = 0

    @classmethod
    def of(cls, evaluations: Collection[FinalEvaluation]) -> Self:
        """Return what these have used together."""
        outcomes = [outcome for one in evaluations for own in one.evaluations for outcome in own.outcomes]
        return cls(
            seconds=sum(one.seconds for one in evaluations),
            gpu_seconds=sum(one.gpus * one.seconds for one in evaluations),
            prompt_tokens=sum(outcome.prompt_tokens for outcome in outcomes),
            answer_tokens=sum(outcome.answer_tokens for outcome in outcomes),
            evaluations=len(evaluations),
        )


@dataclass(frozen=True)
class FinalUsage:
    """What finalize used.

    Attributes:
        choosing: models evaluated on the validation or on the test splits.
        benchmarks: models evaluated on benchmarks of the report.
        training_tokens: passed forward and backward to polish candidates.
        polishing: what each polished candidate took, as far as it is known.
    """

    choosing: Usage = Usage()
    benchmarks: Usage = Usage()
    training_tokens: int = 0
    polishing: tuple[Guidance, ...] = ()


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
    """Return what guidance took at most."""
    if not taken:
        return None
    return Guidance(
        seconds=max(one.seconds for one in taken),
        peak_bytes=max(one.peak_bytes for one in taken),
        on_gpu=any(one.on_gpu for one in taken),
    )


def total_cost(search: Cost, final: FinalUsage) -> Cost:
    """Return the cost of a finished run."""
    choosing, benchmarks = final.choosing, final.benchmarks
    return search.model_copy(
        update={
            "seconds": {**search.seconds, FINALIZE: choosing.seconds, BENCHMARKS: benchmarks.seconds},
            "gpu_seconds": {**search.gpu_seconds, FINALIZE: choosing.gpu_seconds, BENCHMARKS: benchmarks.gpu_seconds},
            "training_tokens": search.training_tokens + final.training_tokens,
            "polishing": _most(final.polishing),
            "final_prompt_tokens": choosing.prompt_tokens,
            "final_answer_tokens": choosing.answer_tokens,
            "final_evaluations": choosing.evaluations,
            "benchmark_prompt_tokens": benchmarks.prompt_tokens,
            "benchmark_answer_tokens": benchmarks.answer_tokens,
            "benchmark_evaluations": benchmarks.evaluations,
        }
    )


def seconds_by_kind(result: Result) -> dict[str, float]:
    """Return where the worker's seconds went: the fields of the result's timings, without ``_seconds``."""
    return {field.removesuffix("_seconds"): seconds for field, seconds in result.timings}
