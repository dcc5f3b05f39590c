"""The Transformers engine against an oracle: what ``generate`` answers to each prompt alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from cycleqd.api.engine import EngineArgs
from cycleqd.errors import BadManifest, BadModel, UnsupportedHere
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.engines import decoding
from cycleqd_runner.engines.transformers import TransformersEngine, dtype_of
from tests.runner.engines.support import TEMPLATE, Question, answers, ask, mixed, save_chat_model, weights


def open_plain(folder: Path, **args: Any) -> TransformersEngine:
    return TransformersEngine(folder, EngineArgs(**{"dtype": "Float32"} | args))


def generated(folder: Path, questions: list[Question]) -> list[Answer]:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for messages, sampling in questions:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        out = model.generate(prompt, max_new_tokens=sampling.max_tokens, do_sample=False)[0, prompt.shape[1] :].tolist()
        ended = out[-1] == tokenizer.eos_token_id
        said = str(tokenizer.decode(out, skip_special_tokens=True))
        expected.append(Answer(said, prompt.shape[1], len(out), "stop" if ended else "length"))
    return expected


def save_windowed(folder: Path) -> Path:
    """Save a Mistral whose tokens see only the 7 tokens before them and themselves."""
    save_chat_model(folder)
    config = MistralConfig(
        vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.4, sliding_window=8, eos_token_id=257,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(2)
        MistralForCausalLM(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


MODELS: dict[str, Callable[[Path], Path]] = {
    "grouped-heads": save_chat_model,
    "equal-heads": lambda folder: save_chat_model(folder, num_key_value_heads=4),
    "one-key-head": lambda folder: save_chat_model(folder, num_key_value_heads=1),
    "tied": lambda folder: save_chat_model(folder, tie_word_embeddings=True),
    "sliding-window": save_windowed,
}


@pytest.mark.parametrize("save", MODELS.values(), ids=MODELS.keys())
def test_greedy_answers_are_those_of_generate_token_for_token(save: Callable[[Path], Path], tmp_path: Path) -> None:
    save(tmp_path)
    questions = [*mixed(16), *mixed(2), ask("much longer than the others " * 6, 60)]
    engine = open_plain(tmp_path)
    assert answers(engine, questions) == generated(tmp_path, questions)
    engine.close()


@pytest.mark.parametrize("tokens", [1, 60, 200])
def test_prompts_computed_in_several_passes_answer_the_same(
    tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_chat_model(tmp_path)
    monkeypatch.setattr(decoding, "_PREFILL_TOKENS", tokens)
    engine = open_plain(tmp_path)
    assert answers(engine, mixed()) == generated(tmp_path, mixed())


def test_batches_hold_no_more_tokens_than_allowed(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    engine = open_plain(tmp_path, max_batch_tokens=512)
    assert answers(engine, mixed()) == generated(tmp_path, mixed())
    assert engine.batcher.batches > 1


def letter(text: str) -> str:
    """Return the first character whose token is sure: a printable one of ASCII, neither first nor unfinished bytes."""
    return next(c for c in text[1:] if " " < c <= "~" and c != text[0])


def test_the_end_token_ends_an_answer_and_is_not_part_of_its_text(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    engine = open_plain(tmp_path)
    (free,) = answers(engine, [ask("hello", 20)])
    # Where the model says this letter, let the end token be more likely: it gets the letter's weights, enlarged.
    said = engine.conversations.tokenizer(letter(free.text))["input_ids"][0]
    head = dict(weights(tmp_path))["lm_head.weight"]
    head[257] = head[said] * 1.5
    engine.load([("lm_head.weight", head)])
    (answer,) = answers(engine, [ask("hello", 20)])
    assert answer.finish == "stop"
    assert answer.answer_tokens < 20
    assert letter(free.text) not in answer.text
    assert free.text.startswith(answer.text.rstrip("\ufffd"))
    assert "end" not in answer.text


def test_generation_config_names_further_end_tokens(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    engine = open_plain(tmp_path)
    (free,) = answers(engine, [ask("hello", 20)])
    said = engine.conversations.tokenizer(letter(free.text))["input_ids"][0]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [257, said]}), encoding="utf-8")
    (answer,) = answers(open_plain(tmp_path), [ask("hello", 20)])
    assert (answer.text, answer.finish) == (free.text.split(letter(free.text))[0], "stop")


def test_tied_weights_stay_tied_whichever_name_they_come_by(tmp_path: Path) -> None:
    save_chat_model(tmp_path, tie_word_embeddings=True)
    engine = open_plain(tmp_path)
    new = torch.randn(258, 32, generator=torch.Generator().manual_seed(0))
    sums = set()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        engine.load(weights(tmp_path))
        engine.load([(name, new)])
        assert torch.equal(engine._model.lm_head.weight, new)
        assert engine._model.lm_head.weight is engine._model.model.embed_tokens.weight
        sums.add(engine.checksum())
    assert len(sums) == 1
    engine.load([("model.embed_tokens.weight", new), ("lm_head.weight", new.clone())])
    with pytest.raises(BadModel, match="tied in this model but came with different values"):
        engine.load([("model.embed_tokens.weight", new), ("lm_head.weight", new + 1)])


def test_a_parameter_may_come_only_once(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    with pytest.raises(BadModel, match="came twice"):
        open_plain(tmp_path).load([("model.norm.weight", torch.ones(32)), ("model.norm.weight", torch.zeros(32))])


def test_an_answer_that_breaks_does_not_break_its_neighbours(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    engine = open_plain(tmp_path)
    whole = answers(engine, mixed())
    # The token is in no prompt; whoever says it feeds infinity into the model at its next step.
    said = [c for a in whole for c in a.text[:-1] if "A" <= c <= "Z" and c not in "AW"]
    fatal = next(c for c in said if any(c not in a.text for a in whole))
    embeddings = dict(weights(tmp_path))["model.embed_tokens.weight"]
    embeddings[engine.conversations.tokenizer(fatal)["input_ids"]] = float("inf")
    engine.load([("model.embed_tokens.weight", embeddings)])
    broken = [fatal in answer.text[:-1] for answer in whole]
    assert any(broken)
    assert not all(broken)
    for now, before, hit in zip(answers(engine, mixed()), whole, broken, strict=True):
        assert now == before if not hit else now.finish == "broken" and now.text.endswith(fatal)


def test_a_prompt_that_breaks_is_reported(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    engine = open_plain(tmp_path)
    embeddings = dict(weights(tmp_path))["model.embed_tokens.weight"]
    embeddings[engine.conversations.tokenizer("~")["input_ids"]] = float("inf")
    engine.load([("model.embed_tokens.weight", embeddings)])
    (broken,) = answers(engine, [ask("a~b")])
    assert (broken.text, broken.finish, broken.answer_tokens) == ("", "broken", 0)


def test_bfloat16_is_deterministic_too(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    engine = open_plain(tmp_path, dtype="BFloat16")
    first = answers(engine, mixed())
    assert answers(engine, mixed()[::-1]) == first[::-1]
    before = engine.checksum()
    engine.load(weights(tmp_path))
    assert engine.checksum() == before
    assert answers(engine, mixed()) == first


def test_auto_is_bfloat16_only_where_it_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert dtype_of("Auto", cpu) is torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert dtype_of("Auto", cpu) is torch.float32
    assert dtype_of("Auto", torch.device("cuda")) is torch.bfloat16
    assert dtype_of("Float32", torch.device("cuda")) is torch.float32


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"max_model_len": 513}, "maxModelLen is 513, but the model has only 512 positions"),
        ({"tensor_parallel_size": 2}, "tensorParallelSize is 2, a setting that the Transformers engine does not have"),
        ({"concurrent_children": 4}, "concurrentChildren is 4"),
    ],
)
def test_settings_it_does_not_have_are_refused(args: dict[str, int], says: str, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match=says):
        open_plain(save_chat_model(tmp_path), **args)


def test_max_model_len_shortens_the_context(tmp_path: Path) -> None:
    engine = open_plain(save_chat_model(tmp_path), max_model_len=100)
    (answer,) = answers(engine, [((Message("user", "hello"),), Sampling(500))])
    assert answer.prompt_tokens + answer.answer_tokens <= 100


def test_opening_an_engine_does_without_the_packages_of_benchmarks(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from cycleqd.api.engine import EngineSpec\n"
        "from cycleqd_runner.engines import open_engine\n"
        "open_engine(EngineSpec(type='Transformers'), pathlib.Path(sys.argv[1])).close()\n"
        "sys.exit(', '.join({'lm_eval', 'pandas', 'sklearn'} & sys.modules.keys()) or None)"
    )
    command = [sys.executable, "-c", program, str(save_chat_model(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"each worker would spend seconds on importing {done.stderr}"


def test_a_checkpoint_that_cannot_be_talked_to_is_refused(tmp_path: Path) -> None:
    save_chat_model(tmp_path / "model")
    with pytest.raises(BadModel, match="cannot be read"):
        open_plain(tmp_path / "nothing")
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(BadModel, match="has no chat template"):
        open_plain(tmp_path / "model")


def test_roles_that_the_template_refuses_are_named(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    (tmp_path / "chat_template.jinja").write_text(refusing, encoding="utf-8")
    with pytest.raises(BadModel, match=r"roles system, user: no system; .*systemPrompt"):
        answers(open_plain(tmp_path), [ask("hello")])


def test_capped_attention_scores_are_refused_when_the_engine_opens(tmp_path: Path) -> None:
    save_chat_model(tmp_path)
    Gemma2ForCausalLM(  # type: ignore[no-untyped-call]
        Gemma2Config(
            vocab_size=258,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=512,
        )
    ).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedHere, match="caps its attention scores"):
        open_plain(tmp_path)
