"""Tasks and how they are scored. One task per expert, in cycle order."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from cycleqd.api.base import ApiModel, Name, Uri, placed

Count = Annotated[int, Field(ge=1, le=100_000)]


class SplitSizes(ApiModel):
    """How many items each split gets. The splits are disjoint and drawn once from the run's seed."""

    search: Count = 200
    """Items that every child is scored on; at least 48 are advised, fewer crown the lucky."""
    validation: Count = 100
    """Items on which finalize chooses among the candidate final models."""
    test: Count = 200
    """Items on which finalize reports; nothing else ever reads them."""
    reserve: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Further search items that only elites are asked, where ``search.noise`` has some evaluated again."""
    lessons: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Further search items that only the task's own expert is asked: its right answers guide children (``Guided``)."""


class SandboxLimits(ApiModel):
    """What one piece of model-written code may use."""

    timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 10
    """Wall-clock limit of one execution."""
    memory_mebibytes: Annotated[int, Field(ge=16, le=65536)] = 512
    """Address space of each process."""
    processes: Annotated[int, Field(ge=1, le=1024)] = 32
    """Processes and threads alive at one time."""
    output_kibibytes: Annotated[int, Field(ge=1, le=65536)] = 256
    """Standard output and standard error, each; what goes beyond is cut."""
    files_mebibytes: Annotated[int, Field(ge=1, le=4096)] = 16
    """Size of all files written."""


class EvaluatorBase(ApiModel):
    """What all evaluators share."""

    needs_machines: ClassVar[bool] = False
    """Whether its items need a sandbox with machines, so that a run without one is refused before it starts."""

    max_tokens: Annotated[int, Field(ge=1, le=32768)] | None = None
    """Longest answer, in tokens; the evaluator's own default if unset."""
    system_prompt: str | None = Field(default=None, max_length=8192)
    """Replaces the evaluator's system prompt; an empty string sends none."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Of the answers' tokens. 0 is greedy: then ``repeats`` ask for the same answer again. Above 0 each item and repeat
    has its own draw, the same for all individuals."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Where ``temperature`` is above 0: draw among the likeliest tokens that together have this probability."""

    @property
    def remark(self) -> str | None:
        """What every report must say about these scores; None: nothing."""
        return None


class ProceduralEvaluator(EvaluatorBase):
    """An evaluator that generates its items when no data is given."""

    data: Uri | None = None
    """Items file (JSON Lines); unset: generated from ``itemsSeed``."""
    items_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the item generator; independent of the run's seed, so runs with different seeds share items."""


class SqlEvaluator(ProceduralEvaluator):
    """Question and schema to SQL, executed on SQLite: SELECT judged by its rows, changes by the table's state."""

    type: Literal["Sql"]


class ShellEvaluator(ProceduralEvaluator):
    """Instruction to bash in a fresh directory tree, judged by output or by the tree's final state."""

    type: Literal["Shell"]


class PythonTestsEvaluator(ProceduralEvaluator):
    """Description to Python function, judged by unit tests. ``data`` may be MBPP's or EvalPlus' JSON Lines."""

    type: Literal["PythonTests"]
    extra_tests: bool = True
    """Also run the tests of the items' ``challenge_test_list``, ``plus_test_list`` or ``plus_input``, if any."""


class AgentBenchDbEvaluator(EvaluatorBase):
    """AgentBench's database task: multi-turn SQL against a server, judged by values, changes by the table's hash."""

    type: Literal["AgentBenchDB"]
    data: Uri
    """Items in the ``dbbench`` JSON Lines format. Changes without ``answer_md5`` are judged by the table's rows."""
    server: Literal["MySQL", "SQLite"] = "MySQL"
    """MySQL is the paper's protocol; SQLite is embedded and marked in every report as not the paper's protocol."""
    max_turns: Annotated[int, Field(ge=1, le=50)] = 5
    """Operations an episode may take."""

    @property
    def remark(self) -> str | None:
        """Say so where the database is not the paper's."""
        if self.server == "MySQL":
            return None
        return "AgentBenchDB ran on SQLite, which is not the paper's protocol (a MySQL server): compare with care."


class AgentBenchOsEvaluator(EvaluatorBase):
    """AgentBench's operating-system task: multi-turn bash in a fresh file system, judged by match or check scripts."""

    needs_machines: ClassVar[bool] = True
    type: Literal["AgentBenchOS"]
    data: Uri
    """Items in AgentBench's JSON format."""
    scripts: Uri | None = None
    """Folder with the check scripts that items name by file."""
    max_turns: Annotated[int, Field(ge=1, le=50)] = 5
    """Turns an episode may take: 5 in the paper, 8 in AgentBench."""


def _placed_if_file(task: str, info: ValidationInfo) -> str:
    return placed(task, info) if task.endswith(".yaml") else task


class LmEvalEvaluator(EvaluatorBase):
    """A task of lm-evaluation-harness, or a group of tasks."""

    type: Literal["LmEval"]
    task: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_placed_if_file)]
    """Name of the harness's task or group, for example ``gsm8k``, or a YAML file of your own: its URI or path."""
    metric: str | None = Field(default=None, max_length=100)
    """Metric in [0, 1] that is an item's score, or ``METRIC,FILTER``; the task's first metric and filter if unset."""
    num_fewshot: Annotated[int, Field(ge=0, le=100)] | None = None
    """Examples in the prompt; the task's own default if unset."""


def _placed_task(task: str, info: ValidationInfo) -> str:
    """Say where the file of a task leads, as for a :data:`~cycleqd.api.base.Uri`."""
    file, _, name = task.rpartition("@")
    return f"{placed(file, info)}@{name}" if file.endswith(".py") else task


class InspectEvaluator(EvaluatorBase):
    """A task of inspect-ai, run with the engine as its model provider."""

    type: Literal["Inspect"]
    task: Annotated[str, Field(min_length=1, max_length=400), AfterValidator(_placed_task)]
    """Registered name, or ``FILE.py@TASK``: a file of one's own, ``s3://``, ``file://`` or beside the manifest."""
    args: dict[str, str] = Field(default_factory=dict)
    """Arguments of the task, each as YAML has it: ``"2"`` is a number."""


class ContainerEvaluator(EvaluatorBase):
    """A program in any image: it gets an OpenAI-compatible URL and an items file, and writes a results file."""

    type: Literal["Container"]
    image: Annotated[str, Field(min_length=1, max_length=500)]
    """Image reference, by digest where results must be repeatable."""
    command: tuple[str, ...] = ()
    """Replaces the image's entry point; required on a cluster."""
    data: Uri
    """Items (JSON Lines): ``id``, and whatever the program needs."""


Evaluator = Annotated[
    SqlEvaluator
    | ShellEvaluator
    | PythonTestsEvaluator
    | AgentBenchDbEvaluator
    | AgentBenchOsEvaluator
    | LmEvalEvaluator
    | InspectEvaluator
    | ContainerEvaluator,
    Field(discriminator="type"),
]


class Task(ApiModel):
    """One skill: an evaluator, its items, and the expert that was trained for it."""

    name: Name
    """Name of the task in scores, archives and reports."""
    expert: Name
    """The expert whose singular directions mutate children while this task is active."""
    evaluator: Evaluator
    """What asks the model and judges its answers."""
    items: SplitSizes = SplitSizes()
    """Sizes of the search, validation and test splits."""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """How often each item is asked; its score is the mean. More than once wants a ``temperature`` above 0."""
    limits: SandboxLimits = SandboxLimits()
    """What one piece of model-written code may use."""
