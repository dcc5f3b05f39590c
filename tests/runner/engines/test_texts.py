"""Plain text, in every engine, against an oracle: the model itself in float64, one text at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd.errors import BadData, BadModel
from cycleqd_runner.chat import Answer, Finish, Likelihood, Sampling
from cycleqd_runner.engines import Engine, decoding
from cycleqd_runner.engines.conversation import Conversations
from tests.runner.engines.support import answers, mixed, opened, save_chat_model, weights
from tests.runner.engines.test_engine import ENGINES_UNDER_TEST

Pair = tuple[str, str]

PAIRS: list[Pair] = [
    *(("Which of these is a fruit? Answer:", choice) for choice in (" an apple", " a stone", " a", " a pear tree")),
    *(("Short:", choice) for choice in (" A", " B", " C", " D")),
    ("A context that ends with blanks  ", "x"),
    ("", "a text from its beginning on"),
    ("x" * 300, "y" * 40),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module", params=ENGINES_UNDER_TEST, ids=lambda spec: spec.type)
def warm_engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    engine = opened(request.param, folder)
    yield engine
    engine.close()


@pytest.fixture
def engine(warm_engine: Engine, folder: Path) -> Engine:
    warm_engine.load(weights(folder))
    warm_engine.batcher.batches = warm_engine.batcher.largest = 0  # type: ignore[attr-defined]
    return warm_engine


def likelihoods(engine: Engine, pairs: Sequence[Pair]) -> list[Likelihood]:
    async def everything() -> list[Likelihood]:
        return await asyncio.gather(*(engine.log_likelihood(*pair) for pair in pairs))

    return asyncio.run(everything())


def completions(engine: Engine, asked: Sequence[tuple[str, Sampling]]) -> list[Answer]:
    async def everything() -> list[Answer]:
        return await asyncio.gather(*(engine.complete(*one) for one in asked))

    return asyncio.run(everything())


def expected(folder: Path, pairs: Sequence[Pair]) -> list[Likelihood]:
    """Return what the model says in float64. Its tokens are bytes, and <|end|> (257) stands for the beginning."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for context, continuation in pairs:
        ids = [*([] if context else [257]), *tokenizer(context + continuation)["input_ids"]]
        start = len(context.rstrip()) or 1
        with torch.no_grad():
            shares = model(torch.tensor([ids])).logits[0].log_softmax(-1)[start - 1 : -1]
        own = torch.tensor(ids[start:])
        total = float(shares.gather(1, own[:, None]).sum())
        found.append(Likelihood(total, bool((shares.argmax(-1) == own).all()), start, len(own)))
    return found


def matches(found: Sequence[Likelihood], wanted: Sequence[Likelihood]) -> bool:
    """Return whether all counts and flags are the same, and sums as close as float32 keeps them."""
    sums = [one.log_probability for one in wanted]
    return [one.log_probability for one in found] == pytest.approx(sums, rel=1e-5, abs=1e-4) and [
        replace(one, log_probability=0) for one in found
    ] == [replace(one, log_probability=0) for one in wanted]


def test_likelihoods_are_those_of_the_model_in_float64(engine: Engine, folder: Path) -> None:
    found = likelihoods(engine, PAIRS)
    assert matches(found, expected(folder, PAIRS))
    assert len({one.log_probability for one in found}) == len(PAIRS)
    assert matches(likelihoods(engine, PAIRS[::-1]), found[::-1])


def test_what_a_model_would_say_itself_is_greedy_and_more_likely_than_anything_else(engine: Engine) -> None:
    prompts = [f"{i} and then" for i in range(12)]
    said = completions(engine, [(prompt, Sampling(1)) for prompt in prompts])
    prompt, best = next(
        (prompt, answer.text)
        for prompt, answer in zip(prompts, said, strict=True)
        if len(answer.text) == 1 and " " < answer.text <= "~"
    )
    others = [chr(code) for code in range(33, 127) if chr(code) != best]
    first, *rest = likelihoods(engine, [(prompt, text) for text in (best, *others, best + "a")])
    assert first.is_greedy
    assert not any(one.is_greedy for one in rest)
    assert first.log_probability > max(one.log_probability for one in rest)


def test_completions_are_those_of_generate_on_the_bare_text(engine: Engine, folder: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    for prompt in ("Once upon a time", "def f(x):", "<|turn|>user\nhi<|end|>"):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        out = model.generate(ids, max_new_tokens=9, do_sample=False)[0, ids.shape[1] :].tolist()
        finish: Finish = "stop" if out[-1] == 257 else "length"
        (answer,) = completions(engine, [(prompt, Sampling(9))])
        assert answer == Answer(tokenizer.decode(out, skip_special_tokens=True), ids.shape[1], len(out), finish)


def test_a_stop_string_ends_a_completion_before_it(engine: Engine) -> None:
    (free,) = completions(engine, [("Once", Sampling(40))])
    (answer,) = completions(engine, [("Once", Sampling(40, stop=(free.text[4:6],)))])
    assert (answer.text, answer.finish) == (free.text[: free.text.index(free.text[4:6])], "stop")


def test_an_empty_prompt_is_the_beginning_of_a_text(engine: Engine) -> None:
    (answer,) = completions(engine, [("", Sampling(3))])
    assert (answer.prompt_tokens, answer.answer_tokens) == (1, 3)


def test_texts_and_conversations_are_answered_side_by_side(engine: Engine) -> None:
    async def everything() -> list[Any]:
        chats = [engine.chat(*question) for question in mixed(3)]
        texts = [engine.complete("Once", Sampling(5))]
        return await asyncio.gather(*chats, *(engine.log_likelihood(*pair) for pair in PAIRS), *texts)

    together = asyncio.run(everything())
    assert engine.batcher.largest >= len(PAIRS)  # type: ignore[attr-defined]
    assert together[:3] == answers(engine, mixed(3))
    assert matches(together[3:-1], likelihoods(engine, PAIRS))
    assert together[-1:] == completions(engine, [("Once", Sampling(5))])


def test_what_does_not_fit_loses_its_beginning(engine: Engine, folder: Path) -> None:
    context, continuation = "abcdefgh" * 80, " and on"
    (found,) = likelihoods(engine, [(context, continuation)])
    kept = 512 - 1 - len(continuation)
    (same,) = expected(folder, [(context[-kept:], continuation)])
    assert found.cut_tokens == len(context) - kept
    assert (found.context_tokens, found.continuation_tokens) == (kept, len(continuation))
    assert found.log_probability == pytest.approx(same.log_probability, abs=1e-3)
    long, short = completions(engine, [(context, Sampling(100)), (context[-412:], Sampling(100))])
    assert (long.text, long.prompt_tokens, long.cut_tokens) == (short.text, 412, len(context) - 412)
    assert short.cut_tokens == 0
    (endless,) = completions(engine, [(context, Sampling(5000))])
    assert (endless.prompt_tokens, endless.cut_tokens) == (256, len(context) - 256)
    assert endless.answer_tokens <= 256


def test_a_continuation_without_tokens_or_without_room_is_refused(engine: Engine) -> None:
    with pytest.raises(BadData, match=r"A continuation has 511 tokens, expected 1 to 510; .*maxModelLen"):
        likelihoods(engine, [("a", "x" * 511)])
    with pytest.raises(BadData, match="A continuation has 0 tokens"):
        likelihoods(engine, [("a", "")])


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        pytest.param("model.norm.weight", math.nan, id="NaN"),
        pytest.param("model.layers.0.self_attn.q_proj.weight", math.inf, id="infinity"),
        pytest.param("model.layers.0.mlp.down_proj.weight", 1e30, id="overflow that a norm makes zeros of"),
    ],
)
def test_numbers_that_break_are_told(engine: Engine, folder: Path, name: str, factor: float) -> None:
    engine.load([(name, dict(weights(folder))[name] * factor)])
    found = likelihoods(engine, PAIRS[:5])
    assert {(one.is_broken, one.is_greedy, math.isnan(one.log_probability)) for one in found} == {(True, False, True)}
    assert {answer.finish for answer in completions(engine, [("Once", Sampling(5))])} == {"broken"}
    engine.load(weights(folder))
    assert not any(one.is_broken for one in likelihoods(engine, PAIRS))


@pytest.mark.parametrize("tokens", [1, 50, 300])
def test_texts_read_in_several_passes_are_as_likely(tokens: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_READ_TOKENS", tokens)
    monkeypatch.setattr(decoding, "_SOFTMAX_ROWS", 3)
    engine = opened(EngineSpec(type="Transformers", args=EngineArgs(dtype="Float32", max_batch_tokens=400)), folder)
    assert matches(likelihoods(engine, PAIRS), expected(folder, PAIRS))
    engine.close()


def marked(folder: Path) -> Conversations:
    """Return the conversations of a model whose tokenizer begins every text with <|turn|> (256), as Llama's does."""
    save_chat_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.bos_token = "<|turn|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|turn|> $A", special_tokens=[("<|turn|>", 256)]
    )
    tokenizer.save_pretrained(folder)
    return Conversations(folder, None)


def test_a_text_begins_with_the_tokenizers_mark_once(tmp_path: Path) -> None:
    said = marked(tmp_path)
    a, b = (said.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "ab")
    assert said.completion("a", Sampling(1)).prompt == (256, a)
    assert said.completion("<|turn|>a", Sampling(1)).prompt == (256, a)
    assert said.completion("", Sampling(1)).prompt == (256,)
    for context, continuation, before, own in [
        ("a", "b", (256, a), (b,)),
        ("<|turn|>a", "b", (256, a), (b,)),
        ("", "ab", (256,), (a, b)),
        ("", "<|turn|>ab", (256,), (a, b)),
    ]:
        reading = said.reading(context, continuation)
        assert (reading.context, reading.continuation) == (before, own)


def test_a_tokenizer_without_any_mark_cannot_begin_a_text(tmp_path: Path) -> None:
    said = marked(tmp_path)
    said.tokenizer.bos_token = said.tokenizer.eos_token = None
    with pytest.raises(BadModel, match="neither bos_token nor eos_token"):
        said.reading("", "a")
