"""Reports of made-up searches, for tests: real archives, no models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from cycleqd.affinity import Affinity, Pair
from cycleqd.api import RunSpec
from cycleqd.fold import Entry, Population, fold
from cycleqd.records import ItemOutcome, Result, TaskEvaluation, Timings
from cycleqd.report import (
    OWN_EXPERTS,
    Candidate,
    Change,
    Cost,
    Difference,
    FailedWork,
    Individual,
    Interval,
    Report,
)
from cycleqd_runner.report.beside import FinishedRun
from cycleqd_runner.report.build import progress, view_archive

SKILLS = ("sql", "shell", "python", "maths", "french")
ITEMS = 100


def run_spec(n_tasks: int = 3, children: int = 200, **archive: Any) -> RunSpec:
    """Return a spec with that many tasks, and an expert for each; ``archive`` as in manifests."""
    names = SKILLS[:n_tasks]
    return RunSpec.model_validate(
        {
            "baseModel": {"uri": "hf://example/base"},
            "experts": [{"name": f"{name}-expert", "uri": f"hf://example/{name}"} for name in names],
            "tasks": [{"name": name, "expert": f"{name}-expert", "evaluator": {"type": "Sql"}} for name in names],
            "search": {"children": children, "archive": archive},
            "storage": {"uri": "s3://runs/demo"},
        }
    )


def demo_report(n_tasks: int = 3, children: int = 200, seed: int = 0, **archive: Any) -> Report:
    """Return the report of a search in which children are a little better than their parents' mean."""
    spec, rng = run_spec(n_tasks, children, **archive), np.random.default_rng(seed)
    individuals = search(n_tasks, children, rng)
    population = population_of(individuals, spec)
    ranked = np.argsort(population.scores.mean(axis=1))[::-1]
    members = [int(population.ids[row]) for row in ranked[:3]]
    best = population.scores[ranked[0]]
    experts = [expert.name for expert in spec.experts]
    levels = {"base": np.full(n_tasks, 0.1)}
    levels |= {name: population.scores[k] for k, name in enumerate(experts)}
    levels |= {"average": population.scores[:n_tasks].mean(axis=0), "merged": best}
    tasks = SKILLS[:n_tasks]
    others = {experts[0]: levels[experts[0]], "average": levels["average"], OWN_EXPERTS: np.full(n_tasks, 0.8)}
    return Report(
        run="demo",
        uid="0c0ffee0-0000-4000-8000-000000000000",
        tasks=tasks,
        experts=tuple(experts),
        scores={
            name: {task: interval(float(score)) for task, score in zip(tasks, own, strict=True)}
            for name, own in levels.items()
        },
        means={name: interval(float(own.mean()), 0.05, ITEMS * n_tasks) for name, own in levels.items()},
        differences=tuple(difference(name, best - other) for name, other in others.items()),
        own_experts=dict(zip(tasks, experts, strict=True)),
        affinity=Affinity(
            sizes=dict.fromkeys(experts, 0.008),
            pairs=tuple(
                Pair(first=one, second=two, distance=0.0112, cosine=-0.04, spectra=0.987, overlap=0.81)
                for one, two in combinations(experts, 2)
            ),
        ),
        candidates=(
            Candidate(name="aggregate", weights={members[2]: 1.0}, validation=dict.fromkeys(tasks, 0.5)),
            Candidate(
                name="greedy-1",
                weights=dict(zip(members, (0.5, 0.25, 0.25), strict=True)),
                validation={task: float(score) for task, score in zip(tasks, best, strict=True)},
                chosen=True,
            ),
        ),
        individuals=individuals,
        archives=tuple(view_archive(archive, spec) for archive in population.archives),
        progress=progress(population, [result_of(one, tasks) for one in individuals]),
        cost=Cost(
            seconds={"breed": 31.0, "load": 620.5, "evaluate": 52_300.0, "wait": 12.0, "finalize": 900.0},
            gpu_seconds={"breed": 62.0, "load": 1241.0, "evaluate": 104_600.0, "wait": 24.0, "finalize": 1800.0},
            prompt_tokens=12_345_678,
            answer_tokens=2_345_678,
            evaluations=children + n_tasks,
            final_prompt_tokens=1_000_000,
            final_answer_tokens=100_000,
            final_evaluations=14,
        ),
        quarantined=(17,),
        failures=(FailedWork(role="breed", message="The worker was killed: it needed more memory.", count=3),),
        versions={"cycleqd": "0.1.0", "torch": "2.8.0", "device": "NVIDIA H100", "sandbox": "Landlock"},
        manifest=spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        notes=("Model-written code ran without a sandbox (spec.sandbox: Unsafe).",),
        finished_at=1_790_000_000.0,
    )


def empty_report() -> Report:
    """Return the report of a run of which nothing is known."""
    return Report(run="nothing", uid="", tasks=(), experts=(), scores={}, means={})


def finished(name: str, children: int = 200, right: float = 0.6, seed: int = 0, **search: Any) -> FinishedRun:
    """Return a run of three tasks whose merged model answered the first items of each test rightly.

    Args:
        name: of the run.
        children: that it bred.
        right: share of the items in [0, 1].
        seed: of the search.
        search: other fields of the search, as in manifests.
    """
    spec = run_spec(3, children)
    fields = spec.model_dump(mode="json", by_alias=True)
    fields["search"] |= {"seed": seed, **search}
    test = tuple(
        TaskEvaluation(
            task=task,
            split="test",
            outcomes=tuple(ItemOutcome(item=f"{k}", score=float(k < round(right * ITEMS))) for k in range(ITEMS)),
        )
        for task in SKILLS[:3]
    )
    report = demo_report(3, children).model_copy(update={"run": name})
    return FinishedRun(report, RunSpec.model_validate(fields), test)


def interval(mean: float, half: float = 0.08, items: int = ITEMS) -> Interval:
    """Return an interval that stays in [0, 1]."""
    return Interval(mean=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), items=items)


def difference(against: str, changes: npt.NDArray[np.float64], half: float = 0.05) -> Difference:
    """Return a difference with symmetric intervals, of one change per task."""
    own = {
        task: Change(mean=one, low=one - half, high=one + half)
        for task, one in zip(SKILLS, changes.tolist(), strict=False)
    }
    mean = float(changes.mean())
    return Difference(against=against, mean=mean, low=mean - half, high=mean + half, tasks=own)


def result_of(individual: Individual, tasks: Sequence[str]) -> Result:
    """Return the result that says so, made in 100 seconds with 1,100 tokens a task."""
    scores = individual.scores or (0.0,) * len(tasks)
    return Result(
        id=individual.id,
        genome_sha256="0" * 64,
        evaluations=tuple(
            TaskEvaluation(
                task=task,
                split="search",
                outcomes=(ItemOutcome(item="0", score=score, prompt_tokens=1000, answer_tokens=100),),
            )
            for task, score in zip(tasks, scores, strict=True)
        ),
        timings=Timings(breed_seconds=1.0, evaluate_seconds=99.0),
    )


def search(n_tasks: int, children: int, rng: np.random.Generator) -> tuple[Individual, ...]:
    """Return experts that can one thing each, and children of good parents."""
    scores = [np.where(np.arange(n_tasks) == k, 0.8, 0.1) for k in range(n_tasks)]
    people = [Individual(id=k, scores=tuple(map(float, own))) for k, own in enumerate(scores)]
    for child in range(n_tasks, n_tasks + children):
        shares = np.exp(12 * np.array([own.mean() for own in scores]))
        parents = rng.choice(child, 2, replace=False, p=shares / shares.sum())
        own = np.clip((scores[parents[0]] + scores[parents[1]]) / 2 + rng.normal(0.01, 0.06, n_tasks), 0.0, 1.0)
        scores.append(own)
        people.append(
            Individual(
                id=child,
                parents=(int(parents[0]), int(parents[1])),
                active_task=(child - n_tasks + 1) % n_tasks,
                emitter="Paper",
                scores=tuple(map(float, own)),
            )
        )
    return tuple(people)


def population_of(individuals: tuple[Individual, ...], spec: RunSpec) -> Population:
    """Return the fold of the individuals' scores."""
    entries = [Entry(id=individual.id, evaluation=0, scores=individual.scores) for individual in individuals]
    return fold(entries, len(spec.experts), spec.search.archive)
