"""GSM8K, BBH and HellaSwag by their registered names: the harness's own tasks, scored as the harness scores them.

Their real data sets are on the Hub, where no test goes; see :mod:`.lm_eval_registered` for what stands in for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from cycleqd.api.tasks import LmEvalEvaluator
from cycleqd.errors import BadManifest, MissingInput
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.registry import make_evaluator
from tests.docs.pages import ROOT, spoken
from tests.runner.tasks.lm_eval_registered import by_the_harness, replies, save_in_cache
from tests.runner.tasks.lm_eval_tasks import Document, Reader, asked, opened, scores

datasets = pytest.importorskip("datasets", reason="lm-eval is not installed (cycleqd[benchmarks])")
pytest.importorskip("lm_eval", reason="lm-eval is not installed (cycleqd[benchmarks])")

from cycleqd_runner.tasks.lm_eval import catalogue  # noqa: E402 - only where the harness is installed


class Case(NamedTuple):
    """A question, the data set's answer, what a model says, and by hand the score behind each of the task's filters."""

    question: str
    target: str
    says: str
    scores: tuple[int, ...]


GSM8K = (
    Case("Ann has 9 eggs and buys 9. How many?", "9+9=<<9+9=18>>18\n#### 18", " 9 + 9 = 18.\n#### 18", (1, 1)),
    Case("Bo runs 7 miles. How many?", "#### 7", " The answer is 7.", (0, 1)),
    Case("Cy pays 540 twice. How much?", "540*2=1,080\n#### 1,080", "#### 1080", (1, 1)),
    Case("Di has 35 pens. How many?", "#### 35", "#### 35\nThat is 12 too many.", (1, 0)),
    Case("Ed has 3 cats. How many?", "#### 3", "#### 4", (0, 0)),
    Case("Flo saves a hundred. How much?", "#### 100", "She saves $100", (0, 1)),
    Case("Gus has 9 hens. How many?", "#### 9", "", (0, 0)),
)
NAVIGATE = (
    Case("Turn left. Take 2 steps.\nOptions:\n- Yes\n- No", "No", "We end at (0, 2). So the answer is No.", (1,)),
    Case("Turn around twice.\nOptions:\n- Yes\n- No", "Yes", "Yes", (0,)),
    Case("Take 3 steps. Turn around.\nOptions:\n- Yes\n- No", "No", "So the answer is no.", (0,)),
    Case("Take 0 steps.\nOptions:\n- Yes\n- No", "Yes", "So the answer is No.", (0,)),
    Case("Do nothing.\nOptions:\n- Yes\n- No", "Yes", "", (0,)),
)
_DATES = "\nOptions:\n(A) 01/01/2020\n(B) 02/01/2020\n(C) 03/01/2020"
DATES = (
    Case("It is the first of 2020." + _DATES, "(A)", "(A)", (1, 1)),
    Case("Yesterday was January 1, 2020." + _DATES, "(B)", "That makes it (B).", (0, 1)),
    Case("Tomorrow is January 4, 2020." + _DATES, "(C)", "03/01/2020, of course", (0, 1)),
    Case("Tomorrow is January 2, 2020." + _DATES, "(A)", "The answer: A", (0, 1)),
    Case("Yesterday was January 2, 2020." + _DATES, "(C)", "(B)", (0, 0)),
    Case("Who knows?" + _DATES, "(B)", "", (0, 0)),
)
COUNTING = (
    Case("I have a cat and a dog. How many animals?", "2", "2", (1, 1)),
    Case("I have five hens. How many animals?", "5", "You have five of them", (0, 1)),
    Case("I have an owl. How many animals?", "1", "There are 2", (0, 0)),
)


class Scene(NamedTuple):
    """What happens, its endings with how likely a model finds each, the right one, and by hand what that gives."""

    text: str
    endings: Mapping[str, float]
    right: int
    acc: int
    acc_norm: int


SHORT, LONG = "runs.", "walks slowly up the long hill to his friends."
HELLASWAG = (
    Scene("A man opens the door", {SHORT: -2, LONG: -40, "eats.": -9, "[title] flies.": -9}, 0, 1, 1),
    Scene("A boy closes a window", {"eats.": -9, SHORT: -6, LONG: -20, "flies.": -9}, 1, 1, 0),
    Scene("A dog jumps a fence", {"eats.": -9, "flies.": -9, SHORT: -6, LONG: -20}, 3, 0, 1),
    Scene("A cat sits on a box", {LONG: -40, "[step] eats.": -5, SHORT: -2, "flies.": -9}, 1, 0, 0),
)
"""The short ending is likelier as a whole in two scenes in which each of its letters is less so."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``HF_HOME`` with what was downloaded once."""
    home = tmp_path_factory.mktemp("huggingface")
    lessons = [{"question": f"What is {i} and {i}?", "answer": f"{i}+{i}={2 * i}\n#### {2 * i}"} for i in range(9)]
    told = [{"question": case.question, "answer": case.target} for case in GSM8K]
    save_in_cache(home, "openai/gsm8k", "main", {"train": lessons, "test": told})
    for subset, cases in (("navigate", NAVIGATE), ("date_understanding", DATES), ("object_counting", COUNTING)):
        lines = [{"input": case.question, "target": case.target} for case in cases]
        save_in_cache(home, "SaylorTwift/bbh", subset, {"test": lines})
    scenes = [_as_in_hellaswag(number, scene) for number, scene in enumerate(HELLASWAG)]
    splits = {"train": scenes, "validation": scenes, "test": [scene | {"label": ""} for scene in scenes]}
    save_in_cache(home, "Rowan/hellaswag", "default", splits)
    return home


def _as_in_hellaswag(number: int, scene: Scene) -> Document:
    return {
        "ind": number,
        "activity_label": "Sports",
        "ctx_a": f"{scene.text}. [header]",
        "ctx_b": "then he",
        "ctx": f"{scene.text}. [header] then he",
        "endings": [*scene.endings],
        "source_id": f"activitynet~v_{number}",
        "split": "val",
        "split_type": "indomain",
        "label": str(scene.right),
    }


@pytest.fixture(autouse=True)
def _offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what ``HF_HOME`` and ``HF_HUB_OFFLINE=1`` set in a process that starts."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def likes(context: str, continuation: str) -> float:
    """Find the endings of a scene as likely as its table says, whatever the brackets in them."""
    scene = next(scene for scene in HELLASWAG if scene.text in context)
    plain = {ending.rpartition("] ")[2].strip(): weight for ending, weight in scene.endings.items()}
    return plain[continuation.strip(" .") + "."]


@pytest.mark.parametrize(
    ("task", "chains", "cases"),
    [
        pytest.param("gsm8k", ("strict-match", "flexible-extract"), GSM8K, id="GSM8K"),
        pytest.param("bbh_cot_fewshot_navigate", ("get-answer",), NAVIGATE, id="BBH with examples"),
        pytest.param("bbh_zeroshot_date_understanding", ("strict-match", "flexible-extract"), DATES, id="BBH letters"),
        pytest.param("bbh_zeroshot_object_counting", ("strict-match", "flexible-extract"), COUNTING, id="BBH numbers"),
    ],
)
def test_generated_answers_score_what_the_harness_says(task: str, chains: Sequence[str], cases: Sequence[Case]) -> None:
    says = replies({case.question: case.says for case in cases})
    said = by_the_harness(task, Reader(says=says))
    for place, chain in enumerate(chains):
        reader = Reader(says=says)
        got = scores(opened(task, metric=f"exact_match,{chain}"), reader)
        assert got == said.scores("exact_match", chain)
        assert got == [case.scores[place] for case in cases]
        assert [prompt for prompt, _ in reader.asked] == [prompt for prompt, _ in said.asked]
        for (_, ours), (_, theirs) in zip(reader.asked, said.asked, strict=True):
            assert (ours.temperature, ours.stop) == (0, tuple(theirs["until"]))
            assert ours.max_tokens == theirs.get("max_gen_toks", 256)


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_the_likeliest_ending_is_the_one_that_the_harness_takes(metric: str) -> None:
    reader = Reader(likes)
    said = by_the_harness("hellaswag", reader)
    got = scores(opened("hellaswag", metric=metric), reader)
    assert got == said.scores(metric, "none")
    assert got == [getattr(scene, metric) for scene in HELLASWAG]
    assert reader.read == list(said.read)
    assert reader.read[0] == ("Sports: A man opens the door. Then he", f" {SHORT}")


def test_the_task_of_the_docs_is_asked_with_its_examples() -> None:
    (block,) = (text for text in spoken(ROOT / "docs" / "evaluators.md", "LmEval") if text.startswith("evaluator:"))
    spec = LmEvalEvaluator.model_validate(yaml.safe_load(block)["evaluator"])
    reader = Reader(says=replies({case.question: case.says for case in GSM8K}))
    evaluation, _ = asked(make_evaluator(spec, read_data), reader)
    assert [outcome.item for outcome in evaluation.outcomes] == [f"gsm8k-{i}" for i in range(len(GSM8K))]
    assert [outcome.score for outcome in evaluation.outcomes] == [case.scores[1] for case in GSM8K]
    said = by_the_harness("gsm8k", reader, spec.num_fewshot)
    assert {prompt.count("Question: What is") for prompt, _ in said.asked} == {spec.num_fewshot} == {5}
    assert [prompt for prompt, _ in reader.asked] == [prompt for prompt, _ in said.asked]


def test_all_of_bbh_is_a_group_told_apart_by_task(home: Path) -> None:
    with catalogue.found("bbh_cot_fewshot") as (manager, name):
        group = Path(str(manager.task_index[name].yaml_path))
    names = yaml.safe_load(group.read_text(encoding="utf-8"))["task"]
    subsets = [name.removeprefix("bbh_cot_fewshot_") for name in names]
    for subset in subsets:
        if not (home / "datasets" / "SaylorTwift___bbh" / subset).exists():
            save_in_cache(home, "SaylorTwift/bbh", subset, {"test": [{"input": f"Is it {subset}?", "target": "(A)"}]})
    evaluator = opened("bbh_cot_fewshot")
    items = evaluator.items()
    assert {item.group for item in items} == {*names}
    assert len(items) == len(names) - 3 + len(NAVIGATE) + len(DATES) + len(COUNTING)
    evaluation, _ = asked(evaluator, Reader(says=lambda prompt, sampling: "So the answer is (A)."))
    by_group = {outcome.group: outcome.score for outcome in evaluation.outcomes if outcome.item.endswith("-0")}
    assert by_group == {name: float(not name.endswith(("_navigate", "_object_counting"))) for name in names}


def test_data_that_were_never_downloaded_are_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(MissingInput, match=r"^The data of gsm8k cannot be had .*openai/gsm8k.*data set in HF_HOME"):
        opened("gsm8k")


def test_an_unknown_name_lists_near_misses() -> None:
    with pytest.raises(BadManifest, match=r"^lm-evaluation-harness has no task gsm8kk \(did you mean gsm8k"):
        opened("gsm8kk")
    with pytest.raises(BadManifest, match=r"has no task qqqqqqqqqqqqqqqq: correct the evaluator's task\.$"):
        opened("q" * 16)


def test_examples_are_refused_where_the_task_allows_none() -> None:
    with pytest.raises(BadManifest, match="bbh_zeroshot_object_counting allows no examples, but numFewshot is 2"):
        opened("bbh_zeroshot_object_counting", num_fewshot=2)
