"""What LmEval asks, how it scores, and what it refuses; registered names, and the harness's word, beside this."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd.api.run import Benchmark
from cycleqd.errors import BadData, BadManifest, CycleQDError, MissingInput, TemporaryError, UnsupportedHere
from cycleqd.manifest import load_manifest
from cycleqd.records import BROKEN
from cycleqd_runner.chat import Answer, Sampling
from cycleqd_runner.tasks.benchmark import open_benchmark
from tests.runner.tasks.lm_eval_tasks import (
    CAPITALS,
    CHOICES,
    GENERATION,
    MEAN,
    SUMS,
    Reader,
    asked,
    opened,
    save_task,
    scores,
)
from tests.runner.tasks.support import Scripted

datasets = pytest.importorskip("datasets", reason="lm-eval is not installed (cycleqd[benchmarks])")
pytest.importorskip("lm_eval", reason="lm-eval is not installed (cycleqd[benchmarks])")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def knows_capitals(context: str, continuation: str) -> float:
    right = any(
        f"of {one['q']} is" in context and continuation == f" {one['choices'][one['gold']]}" for one in CAPITALS
    )
    return -1.0 if right else -9.0


def adds(prompt: str, sampling: Sampling) -> str:
    a, b = prompt.rsplit("\n", 1)[-1].removesuffix("=").split("+")
    return f"That is #### {int(a) + int(b)}"


def test_items_are_the_documents_of_the_test_split_in_order(tmp_path: Path) -> None:
    evaluator = opened(save_task(tmp_path, CHOICES, CAPITALS, CAPITALS[::-1]))
    items = evaluator.items()
    assert [item.id for item in items] == [f"capitals-{i}" for i in range(4)]
    assert {(item.pool, item.group) for item in items} == {("any", "")}
    assert [item.payload for item in items] == [{"task": "capitals", "document": i} for i in range(4)]


def test_the_choice_that_is_likeliest_is_the_answer(tmp_path: Path) -> None:
    evaluator = opened(save_task(tmp_path, CHOICES, CAPITALS))
    evaluation, transcripts = asked(evaluator, Reader(knows_capitals))
    assert [outcome.score for outcome in evaluation.outcomes] == [1, 1, 1, 1]
    assert (transcripts[1].messages[0]["content"], transcripts[1].answer) == ("The capital of Italy is", " Rome")
    assert {outcome.reason for outcome in evaluation.outcomes} == {None}
    assert (evaluation.outcomes[0].prompt_tokens, evaluation.outcomes[3].prompt_tokens) == (30, 20)
    wrong = Reader(lambda context, continuation: -10.0 - knows_capitals(context, continuation))
    evaluation, transcripts = asked(evaluator, wrong)
    assert [(outcome.score, outcome.reason) for outcome in evaluation.outcomes] == [(0, "acc is 0")] * 4
    assert transcripts == []


@pytest.mark.parametrize(
    ("answer", "metric", "expected"),
    [
        pytest.param(adds, None, 1, id="gold"),
        pytest.param(adds, "exact_match,flexible", 1, id="gold, second filter"),
        pytest.param(lambda prompt, sampling: adds(prompt, sampling).replace("#### ", ""), None, 0, id="other form"),
        pytest.param(lambda p, s: adds(p, s).replace("#### ", ""), "exact_match,flexible", 1, id="which it takes"),
        pytest.param(lambda prompt, sampling: "", None, 0, id="empty"),
        pytest.param(lambda prompt, sampling: "\x00\ud800 ]]>{{7*7}} #### ٣" * 50, None, 0, id="garbage"),
    ],
)
def test_generated_answers_go_through_the_filter_to_the_metric(
    tmp_path: Path, answer: Callable[[str, Sampling], str], metric: str | None, expected: int
) -> None:
    reader = Reader(says=answer)
    assert scores(opened(save_task(tmp_path, GENERATION, SUMS), metric=metric), reader) == [expected] * len(SUMS)
    assert reader.asked[0] == ("1+2=", Sampling(12, 0.0, ("\n", "Q")))


def test_the_manifest_has_the_last_word_about_length_system_prompt_and_examples(tmp_path: Path) -> None:
    path = save_task(tmp_path, GENERATION, SUMS, [{"a": 2, "b": 2, "sum": "4"}, {"a": 5, "b": 2, "sum": "7"}])
    reader = Reader(says=adds)
    assert scores(opened(path, max_tokens=5, system_prompt="Add.", num_fewshot=1), reader) == [1] * len(SUMS)
    assert reader.asked[0][1].max_tokens == 5
    assert reader.asked[0][0] in {"Add.2+2= 4\n\n1+2=", "Add.5+2= 7\n\n1+2="}
    assert len({prompt.removesuffix("=").rsplit("\n", 1)[0] for prompt, _ in reader.asked}) == 2


def test_examples_are_the_same_each_time_a_task_is_opened(tmp_path: Path) -> None:
    examples = [{"a": a, "b": 1, "sum": str(a + 1)} for a in range(30)]
    path = save_task(tmp_path, GENERATION, SUMS, examples, num_fewshot=3)
    first, again = Reader(says=adds), Reader(says=adds)
    scores(opened(path), first)
    scores(opened(path), again)
    assert first.asked == again.asked
    assert first.asked[0][0].count("=") == 4


def test_a_group_has_the_items_of_all_its_tasks(tmp_path: Path) -> None:
    save_task(tmp_path, GENERATION, SUMS)
    save_task(tmp_path, CHOICES, CAPITALS)
    group = tmp_path / "both.yaml"
    group.write_text(yaml.safe_dump({"group": "both", "task": ["sums", "capitals"]}), encoding="utf-8")
    evaluator = opened(group)
    assert [item.id for item in evaluator.items()] == [
        *(f"sums-{i}" for i in range(4)),
        *(f"capitals-{i}" for i in range(4)),
    ]
    evaluation, _ = asked(evaluator, Reader(says=adds))
    assert [(outcome.group, outcome.score) for outcome in evaluation.outcomes] == [
        *[("sums", 1.0)] * 4,
        *[("capitals", 1.0 if one["gold"] == 0 else 0.0) for one in CAPITALS],
    ]


def test_what_the_task_wants_answered_several_times_is_drawn_several_times(tmp_path: Path) -> None:
    votes = [{"name": "vote", "filter": [{"function": "majority_vote"}, {"function": "take_first"}]}]
    drawn = {"do_sample": True, "temperature": 0.5, "until": ["\n"]}
    path = save_task(tmp_path, GENERATION, SUMS[:1], filter_list=votes, generation_kwargs=drawn, repeats=3)
    reader = Reader(says=lambda prompt, sampling: "3")
    evaluation, _ = asked(opened(path), reader, repeats=2)
    assert evaluation.outcomes[0].score == 1
    assert len({sampling.seed for _, sampling in reader.asked}) == 6
    greedy = Reader(says=lambda prompt, sampling: "3")
    path = save_task(tmp_path, GENERATION, SUMS[:1], filter_list=votes, repeats=3)
    assert scores(opened(path), greedy) == [1]
    assert len(greedy.asked) == 1


def test_broken_numbers_leave_an_item_without_a_score(tmp_path: Path) -> None:
    for path in (save_task(tmp_path, CHOICES, CAPITALS), save_task(tmp_path, GENERATION, SUMS)):
        evaluation, _ = asked(opened(path), Reader(knows_capitals, adds, finish="broken"))
        assert {(outcome.score, outcome.reason) for outcome in evaluation.outcomes} == {(None, BROKEN)}


def test_an_engine_that_is_down_leaves_an_item_without_a_score(tmp_path: Path) -> None:
    class Down(Reader):
        async def complete(self, prompt: str, sampling: Sampling) -> Answer:
            if prompt == "1+2=":
                raise TemporaryError("the engine is down")
            return await super().complete(prompt, sampling)

    evaluation, _ = asked(opened(save_task(tmp_path, GENERATION, SUMS)), Down(says=adds))
    assert [outcome.score for outcome in evaluation.outcomes] == [None, 1, 1, 1]
    assert evaluation.outcomes[0].reason == "not scored after 3 tries: the engine is down"


def test_a_prompt_that_lost_its_beginning_is_told(tmp_path: Path) -> None:
    evaluation, _ = asked(opened(save_task(tmp_path, GENERATION, SUMS)), Reader(says=adds, cut=9))
    assert {(outcome.score, outcome.reason) for outcome in evaluation.outcomes} == {
        (1, "the first 9 tokens of the prompt did not fit")
    }


def test_a_model_that_only_talks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedHere, match="Scripted answers conversations only"):
        scores(opened(save_task(tmp_path, GENERATION, SUMS)), Scripted("3"))


CODE = """
def out_of_range(doc, results):
    return {"exact_match": 12.5 * len(results[0])}

def pair(doc, results):
    return {"exact_match": (1, 0)}

def needs_more(doc, results):
    import a_package_that_nobody_has

def fails(doc, results):
    return {"exact_match": float(results[0])}
"""


def save_judged(folder: Path, function: str) -> Path:
    """Save a task that a function of the user's own scores."""
    path = save_task(folder, GENERATION, SUMS, filter_list=None)
    (folder / "judge.py").write_text(CODE, encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"process_results: !function judge.{function}\n")
    return path


def test_a_metric_outside_0_to_1_is_refused_when_it_shows(tmp_path: Path) -> None:
    with pytest.raises(
        BadManifest, match=r"exact_match of sums is 12\.5 for document \d, expected a number in \[0, 1\]"
    ):
        scores(opened(save_judged(tmp_path, "out_of_range")), Reader(says=lambda prompt, sampling: "!"))


def test_what_the_tasks_code_can_never_score_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match=r"exact_match of sums is \(1, 0\) for document 0"):
        opened(save_judged(tmp_path, "pair"))
    with pytest.raises(UnsupportedHere, match=r"sums needs a package to score answers .*a_package_that_nobody_has"):
        opened(save_judged(tmp_path, "needs_more"))


def test_an_answer_that_the_tasks_code_stumbles_over_does_not_end_the_run(tmp_path: Path) -> None:
    reader = Reader(says=lambda prompt, sampling: "none" if prompt == "1+2=" else "1")
    evaluation, _ = asked(opened(save_judged(tmp_path, "fails")), reader)
    assert [outcome.score for outcome in evaluation.outcomes] == [None, 1, 1, 1]
    assert str(evaluation.outcomes[0].reason).startswith("sums cannot score this answer: ValueError: could not convert")


PERPLEXITY = {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}
LAST_WORD = {"output_type": "loglikelihood", "doc_to_target": "{{sum}}", "generation_kwargs": None, "filter_list": None}
REFUSED: list[Any] = [
    pytest.param(
        {}, {"metric": "exact"}, BadManifest, "sums has no metric exact .did you mean exact_match", id="metric"
    ),
    pytest.param({}, {"metric": "exact_match,strct"}, BadManifest, "no filter strct .did you mean strict", id="filter"),
    pytest.param(
        LAST_WORD | {"metric_list": [PERPLEXITY, {"metric": "acc", **MEAN}]},
        {},
        BadManifest,
        "metric perplexity of sums is not a mean over items where more is better; set the evaluator's metric to acc",
        id="perplexity",
    ),
    pytest.param(
        {"metric_list": [{"metric": "exact_match", **MEAN, "higher_is_better": False}]},
        {},
        BadManifest,
        "choose another task",
        id="less is better",
    ),
    pytest.param(
        {"output_type": "loglikelihood_rolling", "metric_list": None, "filter_list": None, "generation_kwargs": None},
        {},
        UnsupportedHere,
        "sums makes requests of the kind loglikelihood_rolling",
        id="rolling",
    ),
    pytest.param({"unsafe_code": True}, {}, UnsupportedHere, "inside the worker itself", id="code"),
    pytest.param({"doc_to_image": "a"}, {}, UnsupportedHere, "pictures or sounds", id="pictures"),
    pytest.param(
        {"generation_kwargs": {"until": ["\n"], "num_beams": 4}},
        {},
        UnsupportedHere,
        "generates with num_beams",
        id="beams",
    ),
    pytest.param({"num_fewshot": 0}, {"num_fewshot": 3}, BadManifest, "allows no examples", id="no examples"),
    pytest.param({}, {"num_fewshot": 90}, BadData, "cannot open .*correct the task or numFewshot", id="examples"),
    pytest.param({"doc_to_text": "{{a"}, {}, BadData, "cannot open .*TemplateSyntaxError", id="template"),
    pytest.param({"test_split": None}, {}, BadData, "cannot open ", id="no documents"),
]


@pytest.mark.parametrize(("changes", "fields", "error", "says"), REFUSED)
def test_what_cannot_be_scored_is_refused_before_anything_is_asked(
    tmp_path: Path, changes: dict[str, Any], fields: dict[str, Any], error: type[CycleQDError], says: str
) -> None:
    path = save_task(tmp_path, GENERATION, SUMS)
    task = {**yaml.safe_load(path.read_text(encoding="utf-8")), **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in task.items() if value is not None}), encoding="utf-8")
    with pytest.raises(error, match=says) as told:
        opened(path, **fields)
    assert "\n" not in str(told.value)


def test_files_that_are_not_there_or_are_no_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"The task file .*none\.yaml does not exist"):
        opened(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(BadData, match=r"list\.yaml is not a task of lm-evaluation-harness"):
        opened(tmp_path / "list.yaml")
    path = save_task(tmp_path, GENERATION, SUMS)
    (tmp_path / "sums-test.jsonl").unlink()
    with pytest.raises(MissingInput, match=r"The data of .*sums\.yaml cannot be had"):
        opened(path)


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("catalogue", "evaluator", "harness"):
        monkeypatch.delitem(sys.modules, f"cycleqd_runner.tasks.lm_eval.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(UnsupportedHere, match=r"need the package lm-eval .*: install cycleqd\[benchmarks\]\.$"):
        opened(tmp_path / "sums.yaml")


def test_a_task_in_a_file_lies_beside_the_manifest(tmp_path: Path) -> None:
    manifest = yaml.safe_load((Path(__file__).parents[3] / "examples/lora/run.yaml").read_text(encoding="utf-8"))
    names = {"local": "tasks/capitals.yaml", "registered": "gsm8k", "stored": "s3://data/sums.yaml"}
    manifest["spec"]["report"] = {
        "benchmarks": [{"name": name, "evaluator": {"type": "LmEval", "task": task}} for name, task in names.items()]
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(manifest), encoding="utf-8")
    found = {one.name: getattr(one.evaluator, "task", "") for one in load_manifest(path).spec.report.benchmarks}
    assert found == names | {"local": str(tmp_path / "tasks" / "capitals.yaml")}


def test_a_benchmark_of_the_report_asks_some_of_the_documents(tmp_path: Path) -> None:
    path = save_task(tmp_path, CHOICES, CAPITALS)
    spec = Benchmark.model_validate({"name": "c", "evaluator": {"type": "LmEval", "task": str(path)}, "items": 2})
    assert len(open_benchmark(spec, seed=1).items) == 2
