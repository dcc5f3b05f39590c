"""Who plays which part in a run of benchmarks: a base model that acts in vain, and experts that know how.

All are tables of reflexes (:mod:`tests.runner.reflexes`). The base model opens every database and every machine, looks,
and gives up. Experts have learnt their own task; what they say in the end follows from what server or machine shows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from cycleqd.api.run import RunSpec
from cycleqd.records import TaskEvaluation
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.agentbench_db.items import DbItem
from cycleqd_runner.tasks.agentbench_os.items import OsItem
from cycleqd_runner.tasks.benchmark import open_benchmark
from cycleqd_runner.tasks.contract import Item
from cycleqd_runner.tasks.registry import make_evaluator
from tests.runner.reflexes import Reflexes, save_model, words_of
from tests.runner.tasks.db_plays import answer, operation
from tests.runner.tasks.os_problems import think, type_

AT_A_LOSS = "I cannot tell"
OS_PRINTED = "The output of the OS:\n\n"
OS_NUMBERS = range(100)
"""What an expert may find in a machine and answer."""
OS_UNFORESEEN = {"os-8-": "disk usage", "os-13-": "processors", "os-22-": "no number", "os-23-": "threads"}
"""Items, by the beginning of their ids, whose answer depends on where the machine is, or is none of the numbers."""


@dataclass(frozen=True)
class Part:
    """How the items of one task are played.

    Attributes:
        tries: reflexes of the base model.
        learnt: further ones of an expert.
        known: ids of items that the base model solves.
        solved: ids of those that whoever has learnt it solves.
        unforeseen: ids of items that may end either way.
        shows: by id, how that begins which the base model's first action prints, and whoever's who has learnt it.
    """

    tries: Reflexes
    learnt: Reflexes
    known: frozenset[str] = frozenset()
    solved: frozenset[str] = frozenset()
    unforeseen: frozenset[str] = frozenset()
    shows: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def _first_row(question: DbItem) -> str:
    """Return how the server's answer to a SELECT of the whole table begins."""
    return f"[{tuple(None if cell is None else str(cell) for cell in question.rows[0])}"


def _coding(items: Sequence[Item]) -> Part:
    prompts = [str(item.payload["prompt"]) for item in items]
    return Part(
        tries=dict.fromkeys(prompts, "```python\npass\n```"),
        learnt={prompt: f"```python\n{item.payload['gold']}\n```" for prompt, item in zip(prompts, items, strict=True)},
        solved=frozenset(item.id for item in items),
    )


def _database(items: Sequence[Item]) -> Part:
    tries, learnt = {"[(": answer(AT_A_LOSS)}, {"[]": answer("done")}
    shows = {}
    for item in items:
        question = DbItem.model_validate(item.payload)
        table = f"`{question.table_name}`"
        tries[question.prompt] = operation(f"SELECT COUNT(*) FROM {table}")
        if question.category == "SELECT":
            learnt[question.prompt] = operation(f"SELECT * FROM {table}")
            learnt[_first_row(question)] = answer(*question.label)
        else:
            (learnt[question.prompt],) = map(operation, question.label)
        printed = _first_row(question) if question.category == "SELECT" else "[]"
        shows[item.id] = f"[({len(question.rows)},)]", printed
    return Part(tries, learnt, solved=frozenset(item.id for item in items), shows=shows)


def _machine(items: Sequence[Item]) -> Part:
    problems = {item.id: OsItem.model_validate(item.payload) for item in items}
    tries = {problem.description: type_("id -un") for problem in problems.values()}
    solvable = {name: problem for name, problem in problems.items() if problem.match is None}
    learnt = {p.description: type_(p.example.code) for p in solvable.values() if p.example is not None}
    learnt |= {f"{OS_PRINTED}{number}\n": think(f"answer({number})") for number in OS_NUMBERS}
    return Part(
        tries | {OS_PRINTED: think(f"answer({AT_A_LOSS})")},
        learnt | {"The output of the OS is empty.": think("finish")},
        solved=frozenset(solvable),
        unforeseen=frozenset(name for name in problems if name.startswith(tuple(OS_UNFORESEEN))),
        shows=dict.fromkeys(problems, (f"{OS_PRINTED}root\n", "The output of the OS")),
    )


def _judged(items: Sequence[Item]) -> Part:
    questions = {str(item.payload["question"]): str(item.payload["answer"]) for item in items}
    return Part(dict.fromkeys(questions, AT_A_LOSS), questions, solved=frozenset(item.id for item in items))


_PARTS: Mapping[str, Callable[[Sequence[Item]], Part]] = {
    "PythonTests": _coding,
    "AgentBenchDB": _database,
    "AgentBenchOS": _machine,
    "Container": _judged,
}
"""By the type of a task's evaluator."""


def _half_known(items: Sequence[Item]) -> Part:
    """Return the part of one-line questions of which the base model knows every second one."""
    learnt = {str(item.payload["prompt"]): str(item.payload["gold"]) for item in items}
    known = items[::2]
    return Part(
        tries={prompt: learnt[prompt] for prompt in (str(item.payload["prompt"]) for item in known)},
        learnt=learnt,
        known=frozenset(item.id for item in known),
        solved=frozenset(item.id for item in items),
    )


@dataclass
class Cast:
    """The models of a run and what they are able to.

    Attributes:
        parts: by the name of the task or benchmark.
        teachers: by the same, the expert that has learnt it.
    """

    parts: dict[str, Part] = field(default_factory=dict)
    teachers: dict[str, str] = field(default_factory=dict)

    def score(self, task: str, item: str, experts: Collection[str]) -> float | None:
        """Return what an item scores for whoever descends from these experts; None: either."""
        part = self.parts[task]
        if item in part.unforeseen:
            return None
        return float(item in part.known or (self.teachers[task] in experts and item in part.solved))

    def mean(self, benchmark: str, experts: Collection[str]) -> float:
        """Return the mean of all items of a benchmark, as :meth:`score`."""
        items = self.parts[benchmark].solved
        return sum(self.score(benchmark, item, experts) or 0.0 for item in items) / len(items)

    def surprises(self, evaluation: TaskEvaluation, experts: Collection[str]) -> list[str]:
        """Return what of an evaluation of whoever descends from these experts is not as it should be."""
        wanted = {one.item: self.score(evaluation.task, one.item, experts) for one in evaluation.outcomes}
        who = f"{evaluation.task} by {'+'.join(experts) or 'base'}"
        return [
            f"{who}: {one.item} scored {one.score} ({one.reason}), expected {wanted[one.item]}"
            for one in evaluation.outcomes
            if one.score is None or wanted[one.item] not in (None, one.score)
        ]

    def save(self, folder: Path) -> None:
        """Save all models in folders of their names."""
        base = dict(chain.from_iterable(part.tries.items() for part in self.parts.values()))
        words = words_of(*(table for part in self.parts.values() for table in (part.tries, part.learnt)))
        save_model(folder / "base", words, base)
        for expert in sorted(set(self.teachers.values())):
            own = [self.parts[task].learnt.items() for task, teacher in self.teachers.items() if teacher == expert]
            save_model(folder / expert, words, base, dict(chain.from_iterable(own)))


def cast_of(spec: RunSpec, benchmarks: Mapping[str, str]) -> Cast:
    """Return the cast of a run.

    Args:
        spec: its items are read from where it says.
        benchmarks: of the report, with the expert that gets better at each.
    """
    cast = Cast(teachers={task.name: task.expert for task in spec.tasks} | dict(benchmarks))
    for task in spec.tasks:
        cast.parts[task.name] = _PARTS[task.evaluator.type](make_evaluator(task.evaluator, read_data).items())
    for benchmark in spec.report.benchmarks:
        cast.parts[benchmark.name] = _half_known(open_benchmark(benchmark, spec.search.seed).items)
    return cast
