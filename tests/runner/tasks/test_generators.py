from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import pytest

from cycleqd.errors import BadData
from cycleqd_runner.tasks.generate.pools import Dice, Pool, draw_pool, held_out, is_training_prompt
from cycleqd_runner.tasks.generate.python import UNSEEN_NAMES, generate_python
from cycleqd_runner.tasks.generate.schemas import SEEN_SCHEMAS, UNSEEN_SCHEMAS
from cycleqd_runner.tasks.generate.shell import SEEN_VOCABULARY, UNSEEN_VOCABULARY, Vocabulary, generate_shell
from cycleqd_runner.tasks.generate.sql import generate_sql
from cycleqd_runner.tasks.items import Question

Generator = Callable[..., list[Question]]
GENERATORS = [
    pytest.param(generate_sql, id="sql"),
    pytest.param(generate_shell, id="shell"),
    pytest.param(generate_python, id="python"),
]


@pytest.mark.parametrize("generate", GENERATORS)
def test_pools_are_large_and_their_prompts_distinct(generate: Generator) -> None:
    for pool, least in (("seen", 400), ("unseen", 300)):
        items = generate(0, pool)
        assert len(items) >= least
        assert len({item.prompt for item in items}) == len({item.id for item in items}) == len(items)
        assert {item.pool for item in items} == {pool}
        assert all(item.gold for item in items)


@pytest.mark.parametrize("generate", GENERATORS)
def test_no_prompt_of_training_is_asked_in_a_run_of_any_seed(generate: Generator) -> None:
    trained = {item.prompt for item in generate(0, "train", 600)}
    for seed in (0, 1):
        for pool in ("seen", "unseen"):
            assert not trained & {item.prompt for item in generate(seed, pool)}


PINNED = [
    pytest.param(generate_sql, "2fc5a7699e4946aa", id="sql"),
    pytest.param(generate_shell, "4a27d5a77b1f0f8c", id="shell"),
    pytest.param(generate_python, "a7d2fa282a45e56d", id="python"),
]


@pytest.mark.parametrize(("generate", "expected"), PINNED)
def test_items_are_the_same_on_every_machine(generate: Generator, expected: str) -> None:
    # A change of these digests changes what the committed experts were trained on and every run's items.
    lines = [item.model_dump_json() for pool in ("seen", "unseen") for item in generate(0, pool, 50)]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == expected


@pytest.mark.parametrize("generate", GENERATORS)
def test_seeds_give_different_items(generate: Generator) -> None:
    assert [item.prompt for item in generate(0, "seen", 20)] != [item.prompt for item in generate(1, "seen", 20)]


def test_sql_test_items_ask_about_tables_of_their_own() -> None:
    seen, unseen = {schema.table for schema in SEEN_SCHEMAS}, {schema.table for schema in UNSEEN_SCHEMAS}
    assert not seen & unseen
    tables_of: dict[Pool, set[str]] = {"train": seen, "seen": seen, "unseen": unseen}
    for pool, tables in tables_of.items():
        assert {item.prompt.split("(")[0] for item in generate_sql(3, pool)} == tables


def test_shell_test_items_have_paths_of_their_own() -> None:
    for field in ("folders", "stems", "endings", "words"):
        assert not set(getattr(SEEN_VOCABULARY, field)) & set(getattr(UNSEEN_VOCABULARY, field))
    words_of: dict[Pool, Vocabulary] = {"train": SEEN_VOCABULARY, "seen": SEEN_VOCABULARY, "unseen": UNSEEN_VOCABULARY}
    for pool, words in words_of.items():
        folders = {path.split("/")[0] for item in generate_shell(3, pool) for path in item.files}
        assert folders == set(words.folders)


def test_python_test_items_have_names_and_combinations_of_their_own() -> None:
    def combinations(pool: Pool) -> set[str]:
        asked = {item.prompt.split("returns ")[1] for item in generate_python(3, pool)}
        return {re.sub(r"\b(\d+|[a-z])\b|[-+/]", "#", words) for words in asked}

    named = {item.prompt.split("(")[0].removeprefix("Write ") for item in generate_python(3, "unseen")}
    assert named == set(UNSEEN_NAMES)
    assert not combinations("unseen") & (combinations("train") | combinations("seen"))


def test_what_is_held_out_does_not_depend_on_the_process() -> None:
    assert [held_out("even", name) for name in ("sum", "list", "sorted", "largest", "set", "distinct")] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert [is_training_prompt(text) for text in "abcdef"] == [True, False, True, True, False, True]


def test_dice_are_pinned() -> None:
    dice = Dice("pinned")
    assert [dice.below(100) for _ in range(5)] == [36, 90, 59, 69, 52]
    assert dice.several("abcde", 5) != list("abcde")


def test_an_exhausted_generator_says_so() -> None:
    with pytest.raises(BadData, match=r"The toy generator has only [123] distinct seen items of 40: ask for fewer\."):
        draw_pool("toy", 0, "seen", 40, draft=lambda dice, _pool, _n: dice.pick("abcdef"), prompt_of=str)
