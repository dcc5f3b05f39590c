"""What the harness's registered tasks need to be opened without the Hub, and the harness's own word about answers.

The data sets are stand-ins: a few documents of ours in the columns of the real ones, in the cache of ``datasets``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cycleqd_runner.chat import Sampling
from tests.runner.tasks.lm_eval_tasks import Document, Reader


def save_in_cache(home: Path, data_set: str, subset: str, splits: Mapping[str, Sequence[Document]]) -> None:
    """Leave in ``home`` (``HF_HOME``) what ``datasets.load_dataset(data_set, subset)`` leaves there of a download."""
    import datasets  # noqa: PLC0415 - only where the harness is installed

    class Download(datasets.GeneratorBasedBuilder):  # type: ignore[misc]  # untyped
        def _info(self) -> datasets.DatasetInfo:
            return datasets.DatasetInfo(features=datasets.Dataset.from_list(next(iter(splits.values()))).features)

        def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
            return [datasets.SplitGenerator(split, {"documents": own}) for split, own in splits.items()]

        def _generate_examples(self, documents: Sequence[Document]) -> Iterator[tuple[int, Document]]:
            yield from enumerate(documents)

    Download(
        cache_dir=str(home / "datasets"),
        repo_id=data_set,
        dataset_name=data_set.rpartition("/")[2],
        config_name=subset,
        hash="0" * 40,  # where the commit stands
    ).download_and_prepare()


class Said(NamedTuple):
    """What the harness says about a model's answers to one task.

    Attributes:
        samples: its records, one for each document and chain of filters.
        asked: prompts, and how the answers are to be made.
        read: contexts and continuations.
    """

    samples: Sequence[Mapping[str, Any]]
    asked: Sequence[tuple[str, Mapping[str, Any]]]
    read: Sequence[tuple[str, str]]

    def scores(self, metric: str, chain: str) -> list[float]:
        """Return a metric of all documents, in order."""
        own = [one for one in self.samples if one["filter"] == chain]
        return [float(one[metric]) for one in sorted(own, key=lambda one: int(one["doc_id"]))]


def by_the_harness(task: str, reader: Reader, fewshot: int | None = None) -> Said:
    """Return what ``simple_evaluate`` makes of a task when it gets the answers that ``reader`` gives."""
    import lm_eval  # noqa: PLC0415 - only where the harness is installed
    from lm_eval.api.model import LM  # noqa: PLC0415 - likewise

    from cycleqd_runner.tasks.lm_eval.catalogue import found  # noqa: PLC0415 - likewise

    asked: list[tuple[str, Mapping[str, Any]]] = []
    read: list[tuple[str, str]] = []

    class Same(LM):  # type: ignore[misc]  # untyped
        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            asked.extend(one.args for one in requests)
            return [reader.says(one.args[0], Sampling(1)) for one in requests]

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            read.extend(one.args for one in requests)
            return [(reader.likes(*one.args), False) for one in requests]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            raise AssertionError("no task here asks for it")

    with found(task) as (manager, name):
        results = lm_eval.simple_evaluate(
            Same(), tasks=[name], num_fewshot=fewshot, task_manager=manager, bootstrap_iters=0
        )
    return Said(results["samples"][name], asked, read)


Answer = Callable[[str, Sampling], str]


def replies(answers: Mapping[str, str]) -> Answer:
    """Return what gives to the last of these questions in a prompt its answer."""

    def say(prompt: str, sampling: Sampling) -> str:
        return answers[max(answers, key=prompt.rfind)]

    return say
