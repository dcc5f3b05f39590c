"""The engine's parts that need no model: prefix trees, batches, stop strings."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from cycleqd.api.engine import EngineSpec
from cycleqd_runner import engines
from cycleqd_runner.chat import Sampling
from cycleqd_runner.engines.batching import Asked, Reading, Request, split
from cycleqd_runner.engines.prefixes import alike, chunks, tree
from cycleqd_runner.engines.text import GrowingText

prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12)


@given(prompts.map(sorted))
def test_a_tree_holds_every_prompt_and_each_shared_prefix_once(ordered: list[list[int]]) -> None:
    result = tree(ordered)
    for prompt, path in zip(ordered, result.paths, strict=True):
        assert result.tokens[path].tolist() == prompt
        assert result.positions[path].tolist() == list(range(len(prompt)))
    assert len(result.tokens) == len({tuple(p[: i + 1]) for p in ordered for i in range(len(p))})


@given(prompts)
def test_a_tree_of_unordered_prompts_is_right_if_larger(unordered: list[list[int]]) -> None:
    result = tree(unordered)
    assert [result.tokens[path].tolist() for path in result.paths] == unordered


@given(prompts.map(sorted), st.integers(1, 20))
def test_chunks_cover_all_prompts_and_keep_the_limit(ordered: list[list[int]], limit: int) -> None:
    parts = chunks(ordered, limit)
    assert [i for part in parts for i in part] == list(range(len(ordered)))
    for part in parts:
        assert len(part) == 1 or len(tree([ordered[i] for i in part]).tokens) <= limit


@given(st.lists(st.integers(0, 200), max_size=40))
def test_alike_groups_all_but_zeros_with_little_padding(sizes: list[int]) -> None:
    groups = alike(sizes)
    assert sorted(i for group in groups for i in group) == [i for i, size in enumerate(sizes) if size]
    for group in groups:
        members = [sizes[i] for i in group]
        assert max(members) <= 1.25 * min(members) + 8


tokens = st.lists(st.integers(0, 3), min_size=1, max_size=9).map(tuple)
requests: st.SearchStrategy[list[Asked]] = st.lists(
    st.builds(Request, tokens, st.builds(Sampling, st.integers(1, 20))) | st.builds(Reading, tokens, tokens),
    min_size=1,
    max_size=20,
)


def written(asked: Asked) -> tuple[int, ...]:
    return asked.text if isinstance(asked, Reading) else asked.prompt


@given(requests, st.integers(1, 120), st.randoms(use_true_random=False))
def test_batches_are_a_function_of_the_set_of_requests(
    waiting: list[Asked], limit: int, shuffler: random.Random
) -> None:
    batches = [[waiting[i] for i in batch] for batch in split(waiting, limit)]
    shuffled = shuffler.sample(waiting, len(waiting))
    assert [[shuffled[i] for i in batch] for batch in split(shuffled, limit)] == batches
    assert sum(map(len, batches)) == len(waiting)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(r.reserved for r in batch) <= limit
        assert [written(r) for r in batch] == sorted(written(r) for r in batch)
        assert len({type(r) for r in batch}) == 1


@pytest.fixture(scope="module")
def byte_tokenizer() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.mark.parametrize(
    ("text", "stop", "before"),
    [
        ("select 1;\nselect 2;", ("\n",), "select 1;"),
        ("ab```c", ("```", "``"), "ab"),
        ("größe über alles", ("über",), "größe "),
        ("grüße 🚀 los", ("🚀",), "grüße "),
        ("aaab", ("aab",), "a"),
        ("abc", ("",), None),
        ("abc", ("x", "abcd"), None),
    ],
)
def test_an_answer_is_cut_before_the_first_stop_string(
    text: str, stop: tuple[str, ...], before: str | None, byte_tokenizer: Tokenizer
) -> None:
    growing = GrowingText(byte_tokenizer, stop)
    cuts = [growing.push(token) for token in byte_tokenizer.encode(text).ids]
    found = [cut for cut in cuts if cut is not None]
    assert found[:1] == ([] if before is None else [before])


def test_the_oldest_shared_path_is_kept_for_repeated_prompts() -> None:
    result = tree([[5, 6], [5, 6], [5, 6, 7]])
    assert result.own.tolist() == [0, 2, 2]
    assert np.array_equal(result.paths[0], result.paths[1])


@pytest.mark.parametrize(
    ("gpu", "package", "expected"),
    [
        pytest.param(True, True, "VLLM", id="GPU and vllm"),
        pytest.param(True, False, "Transformers", id="GPU only"),
        pytest.param(False, True, "Transformers", id="vllm only"),
        pytest.param(False, False, "Transformers", id="neither"),
    ],
)
def test_auto_is_vllm_where_a_gpu_and_the_package_are(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, package: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(engines, "find_spec", lambda name: object() if package and name == "vllm" else None)
    assert engines.engine_type(EngineSpec()) == expected
    assert engines.engine_type(EngineSpec(type="VLLM")) == "VLLM"
