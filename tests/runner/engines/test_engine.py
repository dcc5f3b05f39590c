"""What every engine promises. Another engine joins by an entry in ``ENGINES_UNDER_TEST``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoModelForCausalLM, AutoTokenizer, TemperatureLogitsWarper, TopPLogitsWarper

from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd.errors import BadData, BadModel, PermanentError, TemporaryError
from cycleqd_runner.chat import Message, Sampling
from cycleqd_runner.engines import ENGINES, Engine
from tests.runner.engines.support import answers, ask, mixed, opened, save_chat_model, weights

ENGINES_UNDER_TEST = [
    EngineSpec(type="Transformers", args=EngineArgs(dtype="Float32")),
    EngineSpec(type="VLLM", args=EngineArgs(dtype="Float32")),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("models") / "other", seed=1)


DRAWS = 2000


def probabilities(folder: Path, messages: Sequence[Message], temperature: float, top_p: float) -> dict[str, float]:
    """Return how probable each text of one token is, by transformers' own model and filters."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    turns = [message._asdict() for message in messages]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        logits = model(**prompt).logits[:, -1].double()
    filters = [TemperatureLogitsWarper(temperature), *([TopPLogitsWarper(top_p)] if top_p < 1 else [])]
    for one in filters:
        logits = one(prompt["input_ids"], logits)
    found: Counter[str] = Counter()
    for token, share in enumerate(logits[0].softmax(-1).tolist()):
        found[tokenizer.decode([token], skip_special_tokens=True)] += share
    return {text: share for text, share in found.items() if share}


# First those that open and close engines: vLLM wants to be alone in a process.


@pytest.mark.parametrize("spec", ENGINES_UNDER_TEST, ids=lambda spec: spec.type)
def test_loaded_weights_answer_like_a_model_opened_with_them(spec: EngineSpec, folder: Path, other: Path) -> None:
    engine = opened(spec, folder)
    engine.load(weights(other))
    loaded = engine.checksum(), answers(engine, mixed())
    engine.close()
    fresh = opened(spec, other)
    assert loaded == (fresh.checksum(), answers(fresh, mixed()))
    fresh.close()


@pytest.mark.parametrize("spec", ENGINES_UNDER_TEST, ids=lambda spec: spec.type)
def test_closing_ends_those_who_wait(spec: EngineSpec, folder: Path) -> None:
    engine = opened(spec, folder)

    async def interrupted() -> list[object]:
        asked = [asyncio.ensure_future(engine.chat(*ask("hello" * i, 400))) for i in range(1, 4)]
        await asyncio.sleep(0.02)
        late = asyncio.ensure_future(engine.chat(*ask("late")))
        await asyncio.sleep(0)
        await asyncio.to_thread(engine.close)
        return await asyncio.gather(*asked, late, return_exceptions=True)

    assert all(isinstance(outcome, TemporaryError) for outcome in asyncio.run(interrupted()))
    with pytest.raises(TemporaryError, match="closed"):
        answers(engine, [ask("hello")])
    engine.close()


@pytest.fixture(scope="module", params=ENGINES_UNDER_TEST, ids=lambda spec: spec.type)
def warm_engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    engine = opened(request.param, folder)
    yield engine
    engine.close()


@pytest.fixture
def engine(warm_engine: Engine, folder: Path) -> Engine:
    """An engine with the weights of ``folder`` that has counted nothing yet."""
    warm_engine.load(weights(folder))
    warm_engine.batcher.batches = warm_engine.batcher.largest = 0  # type: ignore[attr-defined]
    return warm_engine


def test_answers_differ_between_questions_so_that_mixing_them_up_would_show(engine: Engine) -> None:
    assert len({answer.text for answer in answers(engine, mixed())}) > 8


def test_the_order_of_submission_changes_nothing(engine: Engine) -> None:
    questions = mixed()
    forward = answers(engine, questions)
    assert answers(engine, questions[::-1]) == forward[::-1]
    assert answers(engine, questions) == forward


def test_equal_questions_get_equal_answers(engine: Engine) -> None:
    same = answers(engine, [*mixed(4), *mixed(4)])
    assert same[:4] == same[4:]


def test_max_tokens_bounds_the_answer_and_is_reported(engine: Engine) -> None:
    short, long = answers(engine, [ask("hello", 3), ask("hello", 9)])
    assert (short.finish, short.answer_tokens) == ("length", 3)
    assert long.answer_tokens == 9
    assert long.text.startswith(short.text.rstrip("\ufffd"))


def test_prompt_tokens_count_the_whole_conversation(engine: Engine) -> None:
    text = "<|turn|>user\nhello<|end|>\n<|turn|>assistant\n"
    (answer,) = answers(engine, [((Message("user", "hello"),), Sampling(1))])
    assert answer.prompt_tokens == len(text) - len("<|turn|>") * 2 - len("<|end|>") + 3


def test_a_stop_string_ends_the_answer_before_it(engine: Engine) -> None:
    (free,) = answers(engine, [ask("hello", 40)])
    for stop in (free.text[3:5], free.text[7:10]):
        (answer,) = answers(engine, [ask("hello", 40, stop=("never", stop))])
        assert answer.finish == "stop"
        assert answer.text == free.text[: free.text.index(stop)]
        assert answer.answer_tokens < free.answer_tokens


def test_the_first_of_several_stop_strings_counts(engine: Engine) -> None:
    (free,) = answers(engine, [ask("hello", 40)])
    (answer,) = answers(engine, [ask("hello", 40, stop=(free.text[10:13], free.text[2:4]))])
    assert answer.text == free.text[: free.text.index(free.text[2:4])]


def test_drawn_answers_depend_on_the_seed_and_on_nothing_else_in_the_batch(engine: Engine) -> None:
    warm = [ask("hello", 12, temperature=1.0, seed=seed) for seed in range(5)]
    together = answers(engine, warm + mixed(6))[:5]
    assert len({answer.text for answer in together}) == 5
    assert answers(engine, warm[2:3])[0] == together[2]
    assert answers(engine, warm[::-1])[::-1] == together


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.0, 1.0), (1.5, 0.7)], ids=str)
def test_single_tokens_are_drawn_as_the_softmax_says(
    engine: Engine, folder: Path, temperature: float, top_p: float
) -> None:
    draws = [ask("hello", 1, temperature=temperature, top_p=top_p, seed=seed) for seed in range(DRAWS)]
    found = Counter(answer.text for answer in answers(engine, draws))
    expected = probabilities(folder, draws[0][0], temperature, top_p)
    assert set(found) <= set(expected), "nothing outside of the nucleus is drawn"
    often = [text for text, share in expected.items() if share * DRAWS >= 5]
    assert len(often) > 3, "else this shows little"
    rare = DRAWS - sum(found[text] for text in often), DRAWS * (1 - sum(expected[text] for text in often))
    counts = [(found[text], DRAWS * expected[text]) for text in often] + ([rare] if rare[1] >= 5 else [])
    observed, wanted = np.array(counts).T
    assert chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3


def test_a_low_temperature_is_nearly_greedy(engine: Engine) -> None:
    greedy, cold = answers(engine, [ask("hello"), ask("hello", temperature=1e-4, seed=3)])
    assert cold.text == greedy.text


def test_a_small_nucleus_is_greedy(engine: Engine) -> None:
    greedy, narrow = answers(engine, [ask("hello"), ask("hello", temperature=1.0, top_p=1e-6, seed=3)])
    assert narrow.text == greedy.text


def test_greedy_answers_do_not_see_seeds_or_who_draws_beside_them(engine: Engine) -> None:
    questions = mixed(6)
    alone = answers(engine, questions)
    seeded = [(messages, replace(sampling, seed=2**63 - 1 - i)) for i, (messages, sampling) in enumerate(questions)]
    warm = [ask("hello", 9, temperature=1.0, seed=2**63 - 1 - i) for i in range(6)]
    assert answers(engine, [*seeded, *warm])[:6] == alone


def test_drawing_leaves_the_global_generators_alone(engine: Engine) -> None:
    before = torch.random.get_rng_state()
    answers(engine, [ask("hello", temperature=1.0)])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_concurrent_conversations_share_a_batch(engine: Engine) -> None:
    answers(engine, mixed(12))
    assert engine.batcher.largest == 12  # type: ignore[attr-defined]
    assert engine.batcher.batches == 1  # type: ignore[attr-defined]


def test_questions_that_need_some_turns_of_the_event_loop_still_share_the_batch(engine: Engine) -> None:
    async def late(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await engine.chat(*ask("hello"))

    async def everybody() -> None:
        await asyncio.gather(*(late(turns) for turns in (0, 3, 1, 6, 0)))

    asyncio.run(everybody())
    assert engine.batcher.batches == 1  # type: ignore[attr-defined]


def test_questions_asked_while_a_batch_runs_are_answered_by_the_next(engine: Engine) -> None:
    async def episodes() -> list[str]:
        async def episode(content: str) -> str:
            first = await engine.chat(*ask(content))
            turns = (*ask(content)[0], Message("assistant", first.text), Message("user", "again"))
            return (await engine.chat(turns, Sampling(8))).text

        return await asyncio.gather(*(episode(c) for c in ("a", "bb", "ccc")))

    assert asyncio.run(episodes()) == asyncio.run(episodes())


def test_the_event_loop_is_free_while_the_model_computes(engine: Engine) -> None:
    async def ticks() -> int:
        asking = asyncio.ensure_future(engine.chat(*ask("hello", 60)))
        count = 0
        while not asking.done():
            await asyncio.sleep(0.0005)
            count += 1
        return count

    assert asyncio.run(ticks()) > 5


def test_load_swaps_weights_and_swaps_them_back_exactly(engine: Engine, folder: Path, other: Path) -> None:
    questions = mixed()
    before, sum_before = answers(engine, questions), engine.checksum()
    engine.load(weights(other))
    assert engine.checksum() != sum_before
    assert answers(engine, questions) != before
    engine.load(iter(weights(folder)))
    assert engine.checksum() == sum_before
    assert answers(engine, questions) == before


def test_a_part_of_the_parameters_can_be_loaded(engine: Engine, other: Path) -> None:
    before = engine.checksum()
    engine.load([pair for pair in weights(other) if "mlp" in pair[0]])
    assert engine.checksum() != before


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("model.layers.0.mlp.up_proj.weights", (48, 32), "did you mean model.layers.0.mlp.up_proj.weight"),
        ("visual.patches", (1,), "no parameter 'visual.patches'"),
        ("model.norm.weight", (31,), r"shape \(32,\) and has \(31,\)"),
    ],
    ids=["misspelt", "unknown", "shape"],
)
def test_what_does_not_fit_is_refused_before_anything_changes(
    engine: Engine, other: Path, name: str, shape: tuple[int, ...], says: str
) -> None:
    before = engine.checksum()
    with pytest.raises(BadModel, match=says):
        engine.load([*weights(other), (name, torch.zeros(shape))])
    assert engine.checksum() == before
    assert answers(engine, [ask("hello")])


def test_a_stream_that_fails_in_its_middle_is_not_answered_from(engine: Engine, folder: Path, other: Path) -> None:
    before = answers(engine, mixed(3))
    with pytest.raises(BadModel):
        engine.load(iter([*weights(other)[:4], ("unknown", torch.zeros(1))]))
    with pytest.raises(PermanentError, match="changing 4 parameters"):
        answers(engine, mixed(3))
    engine.load(iter(weights(folder)))
    assert answers(engine, mixed(3)) == before


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        pytest.param("model.norm.weight", float("nan"), id="NaN"),
        pytest.param("model.layers.0.self_attn.q_proj.weight", float("inf"), id="infinity"),
        pytest.param("model.layers.0.mlp.down_proj.weight", 1e38, id="overflow"),
        pytest.param("model.layers.0.mlp.down_proj.weight", 1e30, id="overflow that a norm makes zeros of"),
    ],
)
def test_numbers_that_break_end_the_answer(engine: Engine, folder: Path, name: str, factor: float) -> None:
    engine.load([(name, dict(weights(folder))[name] * factor)])
    found = answers(engine, mixed(4))
    assert {(answer.finish, answer.answer_tokens) for answer in found} == {("broken", 0)}
    engine.load(weights(folder))
    assert "broken" not in {answer.finish for answer in answers(engine, mixed(4))}


def test_a_prompt_that_does_not_fit_is_the_items_fault_at_first_and_the_models_later(engine: Engine) -> None:
    with pytest.raises(BadData, match=r"together may have 512; .*maxModelLen"):
        answers(engine, [ask("x" * 600)])
    turns = (Message("user", "go"), Message("assistant", "x" * 600), Message("user", "on"))
    (answer,) = answers(engine, [(turns, Sampling(5))])
    assert (answer.text, answer.finish, answer.answer_tokens) == ("", "length", 0)


def test_an_answer_ends_where_the_context_ends(engine: Engine) -> None:
    (answer,) = answers(engine, [ask("x" * 400, 5000)])
    assert answer.finish in ("length", "stop")
    assert answer.prompt_tokens + answer.answer_tokens <= 512


def test_every_type_of_the_manifest_has_an_opener() -> None:
    kinds = get_args(EngineSpec.model_fields["type"].annotation)
    assert set(kinds) - {"Auto"} == set(ENGINES)
