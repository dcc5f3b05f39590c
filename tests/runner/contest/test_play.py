"""Whole comparisons on tiny models: what they measure, and what becomes of killed ones."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from cycleqd import keys
from cycleqd.errors import BadManifest, RunMismatch
from cycleqd.records import FinalEvaluation, read_result
from cycleqd.store import FolderStore
from cycleqd_runner.contest.entries import Part, load_contest
from cycleqd_runner.contest.estimates import scores_of
from cycleqd_runner.contest.publish import current
from cycleqd_runner.contest.trials import Point, Trial
from tests.runner.contest.playing import GUIDED, TRAINING, compete, contest_in, trials_in
from tests.runner.contest.support import Notes

pytestmark = pytest.mark.usefixtures("quick_sandbox")

FIXED_CYCLE = {"cycle": "Fixed", "mutation": {"type": "None"}}
STEPS = {"steps": [1, 2], "learningRates": [0.05], "batchItems": 2}
PROPOSING = ("random", "cma-es", "ties", "reg-mean", "guided", "layer-wise", "lora", "lora-training-data")
LEARNING = ("reg-mean", "guided", "layer-wise", "lora", "lora-training-data", "ours")
METHODS: list[dict[str, Any]] = [
    {"name": "random", "type": "RandomSearch"},
    {"name": "cma-es", "type": "CmaEs", "population": 4},
    {"name": "ties", "type": "Ties"},
    {"name": "reg-mean", "type": "RegMean"},
    {"name": "guided", "type": "Guided", **STEPS},
    {"name": "layer-wise", "type": "LayerWise", **STEPS},
    {"name": "lora", "type": "Lora", **STEPS},
    {"name": "lora-training-data", "type": "LoraOnTrainingData", **TRAINING},
    {"name": "paper", "type": "CycleQD"},
    {"name": "ours", "type": "CycleQD", "search": GUIDED},
    {
        "name": "fixed",
        "type": "CycleQD",
        "final": "Aggregate",
        "search": {"cycle": "Fixed", "mutation": {"type": "None"}},
    },
    {"name": "child-basis", "type": "CycleQD", "search": {"mutation": {"basis": "Child"}}},
    {"name": "racing", "type": "CycleQD", "search": {"racing": {"enabled": True, "threshold": 1.0, "minItems": 1}}},
]
FIXED = ("base", "a", "b", "average")
NAMES = (*FIXED, *(method["name"] for method in METHODS))
FEW = [method for method in METHODS if method["name"] in {"random", "guided", "paper"}]


@pytest.fixture(scope="module")
def played(models: Path, quick_sandbox: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of all methods."""
    folder = tmp_path_factory.mktemp("played")
    compete(contest_in(models, folder, METHODS))
    return folder


def test_every_method_ends_with_a_test_of_the_same_items(played: Path) -> None:
    trials = trials_in(played)
    assert set(trials) == {f"trials/{name}/{seed}.json" for name in NAMES for seed in (0, 1)}
    for seed in (0, 1):
        asked = {
            tuple((evaluation.task, outcome.item) for evaluation in one.test for outcome in evaluation.outcomes)
            for one in trials.values()
            if one.seed == seed
        }
        assert len(asked) == 1, "the methods of one seed are tested on the same items, in the same order"
    splits = [json.loads(FolderStore(played / f"comparison/seeds/{seed}/shared").get(keys.SPLITS)) for seed in (0, 1)]
    assert splits[0] != splits[1]
    tested = {outcome.item for one in trials.values() for e in one.test for outcome in e.outcomes if one.seed == 0}
    assert tested == {item for split in splits[0].values() for item in split["test"]}


def test_budgets_are_kept_and_used(played: Path) -> None:
    """Answers have at most 4 tokens, so no evaluation takes much more than the mean."""
    for key, one in trials_in(played).items():
        spending = one.spending
        if one.method in FIXED:
            assert spending.tokens == spending.limit == 0
            continue
        assert 0 < spending.tokens <= 1.05 * spending.limit, key
        assert (spending.validation > 0) == (one.method not in {"fixed", "reg-mean", "lora-training-data"}), key
        assert (spending.training > 0) == (one.method in LEARNING), key
        if one.method not in {"ties", *LEARNING} - {"ours"}:  # which end with their grid
            assert spending.tokens >= 0.8 * spending.limit, key
        assert one.curve[-1].evaluations == spending.evaluations
        assert one.curve[-1].tokens == spending.search + spending.training


def test_what_is_spent_is_what_the_evaluations_say(played: Path) -> None:
    """Random search never meets a model of another method, so that the shared evaluations can be told apart."""
    own = trials_in(played)["trials/paper/0.json"]
    run = FolderStore(played / "comparison/seeds/0/methods/paper")
    results = [json.loads(run.get(key)) for key in run.list(keys.RESULTS)]
    outcomes = [outcome for result in results for task in result["evaluations"] for outcome in task["outcomes"]]
    assert own.spending.search == sum(one["prompt_tokens"] + one["answer_tokens"] for one in outcomes)
    assert own.spending.evaluations == len(results)
    tried = [FinalEvaluation.model_validate_json(run.get(key)) for key in run.list("final/evaluations/validation/")]
    assert own.spending.validation == sum(one.tokens for one in tried)


def test_who_learns_the_experts_training_data_pays_for_no_expert_and_says_how_much_was_shown(played: Path) -> None:
    for seed in (0, 1):
        trials = {name: trials_in(played)[f"trials/{name}/{seed}.json"] for name in ("lora", "lora-training-data")}
        assert trials["lora-training-data"].final == "4 steps, rate 0.05, 7 of 8 examples"
        own = trials["lora-training-data"].spending
        assert (own.evaluations, trials["lora"].spending.evaluations) == (1, 2 + 2)
        assert own.limit == trials["lora"].spending.limit
        shared = FolderStore(played / f"comparison/seeds/{seed}/shared")
        found = [
            FinalEvaluation.model_validate_json(shared.get(key)) for key in shared.list("final/evaluations/search/")
        ]
        (tried,) = (one for one in found if one.name == trials["lora-training-data"].final)
        assert own.tokens == tried.tokens + own.training


def test_the_test_split_is_read_once_and_the_choice_is_the_validation_splits(played: Path) -> None:
    for method in ("paper", "fixed", "child-basis"):
        run = FolderStore(played / "comparison/seeds/0/methods" / method)
        assert len(list(run.list("final/evaluations/test/"))) == 1
        tried = [FinalEvaluation.model_validate_json(run.get(key)) for key in run.list("final/evaluations/validation/")]
        if method == "fixed":
            assert tried == [], "the paper's aggregate is not chosen"
            continue
        chosen = trials_in(played)[f"trials/{method}/0.json"]
        assert sum(chosen.validation.values()) / 2 == max(one.mean for one in tried)
    shared = FolderStore(played / "comparison/seeds/0/shared")
    tested = len(list(shared.list("final/evaluations/test/")))
    assert tested <= len(FIXED) + len(PROPOSING), "each ends with one model, and some with the same"
    finalists = len(list(shared.list("final/evaluations/validation/")))
    assert finalists <= 2 * len(PROPOSING), "two finalists each"


def test_milestones_test_what_a_method_would_have_ended_with_there(models: Path, tmp_path: Path) -> None:
    """Half of the budget, and a second one that nobody has reached."""
    methods = [METHODS[NAMES.index(name) - len(FIXED)] for name in ("random", "paper", "fixed", "guided")]
    compete(contest_in(models, tmp_path, methods, seeds=[0], milestones=[0.5, 0.01], reference="base"))
    shared = FolderStore(tmp_path / "comparison/seeds/0/shared")
    for name in ("random", "paper", "fixed"):
        own = trials_in(tmp_path)[f"trials/{name}/0.json"]
        run = shared if name == "random" else FolderStore(tmp_path / "comparison/seeds/0/methods" / name)
        at = max(k for k, point in enumerate(own.curve) if point.tokens <= 0.5 * own.spending.limit)
        assert 0 < at < len(own.curve) - 1
        assert [k for k, point in enumerate(own.curve) if point.test is not None] == [at, len(own.curve) - 1]
        assert own.curve[-1].test == pytest.approx(mean(evaluation.score for evaluation in own.test))
        tested = [FinalEvaluation.model_validate_json(run.get(key)) for key in run.list("final/evaluations/test/")]
        assert own.curve[at].test in [one.mean for one in tested if one.name not in FIXED]
        if name == "paper":  # of whose children the best by search score stands for the run
            results = [read_result(run.get(key), key) for key in run.list(keys.RESULTS)]
            known = [result for result in results if result.id <= own.curve[at].evaluations - 1]
            best = max(known, key=lambda result: (mean(result.scores), result.id))
            assert own.curve[at].test == next(one.mean for one in tested if one.name == f"individual-{best.id}")
            assert own.curve[at].best == pytest.approx(mean(best.scores))


def test_what_is_shared_is_made_once(played: Path) -> None:
    shared = FolderStore(played / "comparison/seeds/0/shared")
    for method in ("paper", "fixed"):
        run = FolderStore(played / "comparison/seeds/0/methods" / method)
        for individual in (0, 1):
            assert run.get(keys.result(individual)) == shared.get(keys.result(individual))
        assert run.get(keys.SPLITS) == shared.get(keys.SPLITS)


def test_settings_of_a_method_reach_its_run(played: Path) -> None:
    run = FolderStore(played / "comparison/seeds/1/methods/fixed")
    results = [json.loads(run.get(key)) for key in run.list(keys.RESULTS)]
    assert {result["active_task"] for result in results[2:]} == {0}
    assert all(result["draws"]["mutationStep"] == 0.0 for result in results[2:])


def test_tables_and_pictures_are_there(played: Path) -> None:
    found = FolderStore(played / "comparison")
    assert {"comparison.json", "comparison.md", "searches.png", "tests.png"} <= set(found.list())
    page = found.get("comparison.md").decode()
    assert all(f"| {name} |" in page or f"| **{name}** |" in page for name in NAMES)
    assert "Not finished" not in page
    standings = current(load_contest(played / "compare.yaml"))
    assert [row.method for row in standings.rows] == list(NAMES)


def test_a_finished_comparison_does_nothing(played: Path) -> None:
    before = {key: FolderStore(played / "comparison").get(key) for key in FolderStore(played / "comparison").list()}
    notes = compete(played / "compare.yaml")
    assert (notes.left, notes.begun) == ([], [])
    after = {key: FolderStore(played / "comparison").get(key) for key in FolderStore(played / "comparison").list()}
    assert {key for key in before if before[key] != after[key]} == set()


class Killed(BaseException):
    """As sudden as SIGKILL: nobody catches it."""


class KillingNotes(Notes):
    """An observer whose process does not survive an evaluation."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def goes_on(self, point: Point) -> None:
        super().goes_on(point)
        if self.evaluations == self._after:
            raise Killed


def test_a_comparison_that_is_killed_again_and_again_ends_like_one_that_is_not(models: Path, tmp_path: Path) -> None:
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    for folder in (calm, stormy):
        folder.mkdir()
        contest_in(models, folder, FEW, seeds=[0])
    compete(calm / "compare.yaml")
    kills, written = 0, dict[str, Trial]()
    while True:
        notes = KillingNotes(after=3 + kills)
        try:
            compete(stormy / "compare.yaml", notes)
            break
        except* Killed:
            kills += 1
        assert all(trials_in(stormy)[key] == one for key, one in written.items()), "what was written stays"
        assert not {(one.method, one.seed) for one in written.values()} & set(notes.begun), "and is not made again"
        written = trials_in(stormy)
    assert kills >= 4
    volatile = ("seconds", "finished_at", "fingerprint")  # the storage is part of a fingerprint
    outcomes = {"test": {"__all__": {"outcomes": {"__all__": {"seconds"}}}}}
    once, again = (
        {
            key.removeprefix("trials/"): one.model_dump(
                exclude={**dict.fromkeys(volatile, True), **outcomes, "fingerprint": True}
            )
            for key, one in trials_in(folder).items()
        }
        for folder in (calm, stormy)
    )
    assert once == again


def test_records_of_other_settings_are_not_mixed_in(models: Path, tmp_path: Path) -> None:
    few: list[dict[str, Any]] = [{"name": "random", "type": "RandomSearch"}]
    compete(contest_in(models, tmp_path, few, seeds=[0], reference="average"))
    few[0]["high"] = 2.0
    with pytest.raises(RunMismatch, match=r"trials/random/0.json .* was made with another .* settings of random"):
        compete(contest_in(models, tmp_path, few, seeds=[0], reference="average"))
    more: list[dict[str, Any]] = [
        {"name": "random", "type": "RandomSearch"},
        {"name": "wider", "type": "RandomSearch", "high": 2.0},
    ]
    notes = compete(contest_in(models, tmp_path, more, seeds=[0], reference="average"))
    assert notes.begun == [("wider", 0)], "a method can be added"


def test_the_best_by_search_are_finalists_and_the_best_of_these_on_validation_is_final(
    models: Path, tmp_path: Path
) -> None:
    compete(contest_in(models, tmp_path, METHODS[:1], seeds=[0], reference="average"))
    shared = FolderStore(tmp_path / "comparison/seeds/0/shared")
    found = {
        split: {
            key.rpartition("/")[2]: FinalEvaluation.model_validate_json(shared.get(key)).mean
            for key in shared.list(f"final/evaluations/{split}/")
        }
        for split in ("search", "validation", "test")
    }
    finalists = found["validation"]
    assert len(finalists) == 2
    assert min(found["search"][one] for one in finalists) >= sorted(found["search"].values())[-2]
    final = trials_in(tmp_path)["trials/random/0.json"]
    assert sum(final.validation.values()) / 2 == max(finalists.values())
    assert any(finalists[one] == max(finalists.values()) for one in finalists.keys() & found["test"].keys())


def test_parts_make_the_same_records_as_the_whole(played: Path, models: Path, tmp_path: Path) -> None:
    file = contest_in(models, tmp_path, METHODS)
    compete(file, part=Part(("random", "base"), (1,)))
    assert set(trials_in(tmp_path)) == {"trials/random/1.json", "trials/base/1.json"}
    compete(file, part=Part(("paper",)))
    own, whole = trials_in(tmp_path), trials_in(played)
    assert len(own) == 4
    assert all(scores_of(one.test) == scores_of(whole[key].test) for key, one in own.items())


@pytest.mark.parametrize("part", [Part(("nobody",)), Part((), (7,))], ids=["method", "seed"])
def test_a_part_that_is_not_there_is_refused(models: Path, tmp_path: Path, part: Part) -> None:
    with pytest.raises(BadManifest, match=r"nobody|Seed 7"):
        compete(contest_in(models, tmp_path, FEW), part=part)
