"""Tasks of lm-evaluation-harness: what they ask, and their own scoring. A model is not asked here.

With :mod:`.catalogue` the only module that knows the package; what goes wrong there is said with our errors.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lm_eval.api.filter import FilterEnsemble
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS, DEFAULT_OTHER_SEED
from lm_eval.models.utils import normalize_gen_kwargs

from cycleqd.api.tasks import LmEvalEvaluator
from cycleqd.errors import BadManifest, UnsupportedHere, near_misses
from cycleqd_runner.chat import Sampling
from cycleqd_runner.tasks.executable import one_line
from cycleqd_runner.tasks.lm_eval.catalogue import found, in_the_harness

Response = str | tuple[float, bool]
"""Text, or the log-likelihood of a continuation and whether it is the greedy one."""

_READABLE = {"loglikelihood", "generate_until"}
"""Requests that the harness makes of text and that can be scored document by document."""
_GREEDY_IS_DEAF_TO = {"top_p", "top_k", "min_p"}
"""Settings of generation that mean nothing at temperature 0."""


class Read(NamedTuple):
    """Asks how likely a continuation is."""

    context: str
    continuation: str


class Continue(NamedTuple):
    """Asks for the continuation of a text."""

    prompt: str
    sampling: Sampling


@dataclass(frozen=True)
class OpenTask:
    """A task with the requests of all its documents.

    Attributes:
        name: the harness's.
        group: the name again where the task is one of several; empty where it is alone.
        task: the harness's own object.
        metric: whose value for a document is its score.
        filter: the chain of the task's filters that responses go through first.
        max_tokens: longest answer, in tokens; None: the task's own.
        documents: the instances of each document of the evaluation split, by its number there, in order.
    """

    name: str
    group: str
    task: Task
    metric: str
    filter: str
    max_tokens: int | None
    documents: Mapping[int, Sequence[Instance]]

    @property
    def repeats(self) -> int:
        """How often the task itself wants each request answered."""
        return int(self.task.get_config("repeats") or 1)

    def requests(self, document: int) -> list[Read | Continue]:
        """Return what the model is asked about a document."""
        return [
            Read(*instance.args[:2])
            if instance.request_type == "loglikelihood"
            else Continue(instance.args[0], _sampling(self.name, instance.args[1], self.max_tokens))
            for instance in self.documents[document]
        ]

    def score(self, document: int, responses: Sequence[Sequence[Response]]) -> tuple[float | None, str | None]:
        """Return the metric of a document and what is to be said about it.

        There is no score where the task's own code cannot make one of these responses.

        Args:
            document: its number.
            responses: for each of its requests, one response a repeat.

        Raises:
            BadManifest: the metric is not a number in [0, 1].
            UnsupportedHere: the task's code needs a package that is not installed.
        """
        answered = [
            replace(instance, resps=list(own), filtered_resps={})
            for instance, own in zip(self.documents[document], responses, strict=True)
        ]
        chains = [chain for chain in _chains(self.task) if chain.name == self.filter]
        try:
            for chain in chains:
                chain.apply(answered)
            results = [one.filtered_resps[self.filter] for one in answered]
            value = self.task.process_results(answered[0].doc, results)[self.metric]
        except ImportError as error:
            raise UnsupportedHere(f"{self.name} needs a package to score answers ({error}): install it.") from error
        except Exception as error:  # noqa: BLE001 - anybody's code, and what a model answers must not end the run
            return None, one_line(f"{self.name} cannot score this answer: {type(error).__name__}: {error}")
        try:
            score = float(value)
        except (TypeError, ValueError):
            score = -1.0
        if not 0 <= score <= 1:
            raise BadManifest(
                f"The metric {self.metric} of {self.name} is {one_line(repr(value), 60)} for document {document}, "
                "expected a number in [0, 1]; set the evaluator's metric to another one."
            )
        return score, None if score == 1 else f"{self.metric} is {score:g}"

    def try_out(self) -> None:
        """Score an empty answer to one document: what :meth:`score` raises is raised before a model is asked."""
        document = next(iter(self.documents))
        empty: list[Response] = ["" if isinstance(one, Continue) else (-1.0, False) for one in self.requests(document)]
        self.score(document, [[response] * self.repeats for response in empty])


def open_tasks(spec: LmEvalEvaluator) -> list[OpenTask]:
    """Return a task of the harness, or all tasks of a group or tag, in the harness's order.

    Examples in prompts are drawn with the harness's own seed, so prompts are those of its published results.

    Raises:
        BadManifest, BadData, MissingInput, UnsupportedHere: see the package's factory.
    """
    # The harness and its data sets draw progress bars whatever one tells them.
    with contextlib.redirect_stderr(io.StringIO()), in_the_harness(spec.task), found(spec.task) as (manager, name):
        tasks = manager.load(name)["tasks"]
        is_several = tasks.keys() != {name}
        return [_opened(task, spec, task.task_name if is_several else "") for task in tasks.values()]


def _opened(task: Task, spec: LmEvalEvaluator, group: str) -> OpenTask:
    name = str(task.task_name)
    _check_kind(name, task)
    metric, chain = _metric(name, task, spec.metric)
    own = task.get_config("num_fewshot")
    if own == 0 and spec.num_fewshot:
        raise BadManifest(
            f"{name} allows no examples, but numFewshot is {spec.num_fewshot}: remove it, prompts hold what they need."
        )
    task.set_config(key="num_fewshot", value=own or 0 if spec.num_fewshot is None else spec.num_fewshot)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    task.build_all_requests(system_instruction=spec.system_prompt or None)
    documents: dict[int, list[Instance]] = defaultdict(list)
    for instance in sorted(task.instances, key=lambda one: (one.doc_id, one.idx)):
        if instance.request_type not in _READABLE:
            raise UnsupportedHere(_not_readable(name, instance.request_type))
        if instance.request_type == "generate_until":
            _sampling(name, instance.args[1], spec.max_tokens)
        documents[instance.doc_id].append(instance)
    opened = OpenTask(name, group, task, metric, chain, spec.max_tokens, documents)
    opened.try_out()
    return opened


def _check_kind(name: str, task: Task) -> None:
    if task.OUTPUT_TYPE not in {*_READABLE, "multiple_choice"}:
        raise UnsupportedHere(_not_readable(name, task.OUTPUT_TYPE))
    if getattr(task, "MULTIMODAL", False):
        raise UnsupportedHere(f"{name} asks about pictures or sounds, and engines read text: choose another task.")
    if getattr(task, "UNSAFE_CODE", False):
        raise UnsupportedHere(
            f"{name} runs what the model wrote inside the worker itself, which is refused: use an evaluator of type "
            "PythonTests, whose answers run in the sandbox."
        )


def _not_readable(name: str, kind: object) -> str:
    return (
        f"{name} makes requests of the kind {kind}, and LmEval can ask multiple_choice, loglikelihood and "
        "generate_until: choose another task."
    )


def _metric(name: str, task: Task, wanted: str | None) -> tuple[str, str]:
    """Return the metric, and the chain of filters before it, that ``METRIC`` or ``METRIC,FILTER`` means."""
    known = task.aggregation()
    chains = [chain.name for chain in _chains(task)]
    metric, _, chain = (wanted or next(iter(known))).partition(",")
    chain = chain or chains[0]
    if metric not in known:
        raise BadManifest(f"{name} has no metric {metric}{near_misses(metric, known)}: correct the evaluator's metric.")
    if chain not in chains:
        raise BadManifest(f"{name} has no filter {chain}{near_misses(chain, chains)}: correct the evaluator's metric.")
    # The score of a task is the plain mean over its items.
    usable = [
        one
        for one, aggregate in known.items()
        if getattr(aggregate, "__name__", "") == "mean" and task.higher_is_better()[one]
    ]
    if metric not in usable:
        hint = f"set the evaluator's metric to {' or '.join(usable)}" if usable else "choose another task"
        raise BadManifest(f"The metric {metric} of {name} is not a mean over items where more is better; {hint}.")
    return metric, chain


def _sampling(name: str, settings: Mapping[str, Any], max_tokens: int | None) -> Sampling:
    """Return how an answer is drawn. Raises UnsupportedHere for settings that engines do not have."""
    asked = normalize_gen_kwargs(dict(settings), DEFAULT_MAX_GEN_TOKS)
    is_drawn, heat = asked.pop("do_sample"), float(asked.pop("temperature", 0.0))
    temperature = heat if is_drawn else 0.0
    stop, longest = tuple(asked.pop("until")), int(asked.pop("max_gen_toks"))
    top_p = float(asked.pop("top_p", 1.0))
    unknown = asked.keys() - (set() if temperature > 0 else _GREEDY_IS_DEAF_TO)
    if unknown:
        raise UnsupportedHere(
            f"{name} generates with {', '.join(sorted(unknown))}, which engines do not have: choose another task."
        )
    return Sampling(max_tokens or longest, temperature, stop, top_p=top_p)


def _chains(task: Task) -> Sequence[FilterEnsemble]:
    """Return the chains of filters, of which the harness only offers to apply all to all documents."""
    chains: Sequence[FilterEnsemble] = task._filters  # noqa: SLF001 - see above
    return chains
