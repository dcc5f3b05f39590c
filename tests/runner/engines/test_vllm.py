"""What is special about the vLLM engine: fused and tied weights, LoRA individuals side by side, gradients beside it."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd.errors import BadManifest, BadModel, OutOfMemory, PermanentError, UnsupportedHere
from cycleqd.genome import combine
from cycleqd_runner.basis import Basis
from cycleqd_runner.chat import Answer, ChatModel, Likelihood, Sampling, TextModel
from cycleqd_runner.checkpoints import Checkpoint
from cycleqd_runner.compatibility import open_expert
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.factorise import factorise
from cycleqd_runner.individual import Individual, Sources
from cycleqd_runner.layouts import expert_genomes, layout_of
from tests.runner.engines.support import answers, mixed, opened, save_chat_model, weights
from tests.runner.models import fine_tune, save_adapter

QUESTIONS = mixed()


@contextmanager
def engine_of(folder: Path, kind: str = "VLLM", rank: int = 0, **args: Any) -> Iterator[Any]:
    engine = opened(EngineSpec(type=kind, args=EngineArgs(dtype="Float32", **args)), folder, rank)
    try:
        yield engine
    finally:
        engine.close()


def individuals(
    work: Path, save: Callable[[Path, Path, int], Path], mixes: Sequence[tuple[float, float]]
) -> list[Individual]:
    """Return mixtures of two experts that ``save`` makes."""
    folder = save_chat_model(work / "base", initializer_range=0.2)
    base, bases, experts = Checkpoint(folder), [], []
    for k in range(2):
        experts.append(save(folder, work / f"expert{k}", k))
        factorise(f"expert{k}", open_expert(experts[k]), base, work / f"basis{k}")
        bases.append(Basis(work / f"basis{k}", open_expert(experts[k])))
    layout = layout_of([basis.manifest for basis in bases], "Gains")
    sources = Sources(folder, tuple(experts), tuple(basis.folder for basis in bases), layout)
    return [Individual(sources, combine(expert_genomes(bases, layout), mix)) for mix in mixes]


def lora(base: Path, folder: Path, seed: int) -> Path:
    """Save a LoRA expert that changes a part of a fused projection only."""
    return save_adapter(base, folder, seed, target_modules=["q_proj", "down_proj"])


def said_by(models: Sequence[ChatModel]) -> list[list[Answer]]:
    """Ask all models everything at once."""

    async def everything() -> list[list[Answer]]:
        return await asyncio.gather(*(asyncio.gather(*(model.chat(*q) for q in QUESTIONS)) for model in models))

    return asyncio.run(everything())


def read_by(models: Sequence[TextModel]) -> list[list[float]]:
    """Return how likely all models find what all of them read at once."""
    pairs = [("The answer is", f" {letter}") for letter in "ABC"]

    async def everything() -> list[list[Likelihood]]:
        return await asyncio.gather(
            *(asyncio.gather(*(model.log_likelihood(*pair) for pair in pairs)) for model in models)
        )

    return [[one.log_probability for one in own] for own in asyncio.run(everything())]


def by_transformers(children: Sequence[Individual]) -> list[list[Answer]]:
    """Return what the Transformers engine answers as each of them."""
    with engine_of(children[0].sources.base, "Transformers") as engine:
        return [said_by(engine.serve([child]))[0] for child in children]


MIXES = [(1.0, 0.0), (0.5, 0.5), (0.0, 1.5), (0.0, 0.0)]


@pytest.mark.parametrize("save", [fine_tune, lora])
def test_individuals_answer_as_with_transformers(tmp_path: Path, save: Callable[[Path, Path, int], Path]) -> None:
    children = individuals(tmp_path, save, MIXES)
    expected = by_transformers(children)
    with engine_of(children[0].sources.base) as engine:
        assert [said_by(engine.serve([child]))[0] for child in children] == expected
    assert len({str(one) for one in expected}) == len(MIXES)


def test_individuals_that_are_served_together_answer_as_each_alone(tmp_path: Path) -> None:
    children = individuals(tmp_path, lora, MIXES)
    expected = by_transformers(children)
    with engine_of(children[0].sources.base, rank=children[0].adapter_rank, concurrent_children=3) as engine:
        assert said_by(engine.serve(children[:3])) == expected[:3]
        held = engine.checksum()
        assert answers(engine, QUESTIONS) == expected[0]
        # The same numbers mean others now, and nothing that was kept of the first answers for them.
        assert said_by(engine.serve(children[:0:-1])) == expected[:0:-1]
        assert said_by(engine.serve(children[3:])) == expected[3:]
        assert engine.checksum() != held
        engine.serve(children[:3])
        assert engine.checksum() == held
        with pytest.raises(UnsupportedHere, match="holds 3 individuals at a time, not 4"):
            engine.serve(children)


def test_individuals_that_are_served_together_read_as_each_alone(tmp_path: Path) -> None:
    children = individuals(tmp_path, lora, MIXES[:3])
    with engine_of(children[0].sources.base, "Transformers") as engine:
        expected = [read_by(engine.serve([child]))[0] for child in children]
    with engine_of(children[0].sources.base, rank=children[0].adapter_rank, concurrent_children=3) as engine:
        together = read_by(engine.serve(children))
        assert together == [pytest.approx(own, abs=1e-3) for own in expected]
        assert asyncio.run(engine.complete("Once", Sampling(5))) == asyncio.run(
            engine.serve(children)[0].complete("Once", Sampling(5))
        )
    assert len({own[0] for own in together}) == len(children)


def test_only_adapters_can_be_served_together(tmp_path: Path) -> None:
    (child,) = individuals(tmp_path, fine_tune, [(0.5, 0.5)])
    with pytest.raises(BadManifest, match=r"for runs whose children are LoRA adapters.* Set it to 1"):
        _ = child.adapter_rank


def test_the_parts_of_a_fused_projection_are_kept_apart(tmp_path: Path) -> None:
    folder, other = save_chat_model(tmp_path / "a"), dict(weights(save_chat_model(tmp_path / "b", seed=1)))
    query, key = (f"model.layers.1.self_attn.{part}_proj.weight" for part in "qk")
    with engine_of(folder, "Transformers") as engine:
        engine.load([(query, other[query])])
        expected = answers(engine, QUESTIONS)
    with engine_of(folder) as engine:
        before = engine.checksum()
        engine.load(iter([(query, other[query])]))
        assert answers(engine, QUESTIONS) == expected
        with pytest.raises(BadModel, match=f"{key}.* came without .*{query}"):
            engine.load([(key, other[key])])
        engine.load(weights(folder))
        assert engine.checksum() == before


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path / "a", tie_word_embeddings=True)
    embeddings = dict(weights(save_chat_model(tmp_path / "b", seed=1)))["model.embed_tokens.weight"]
    with engine_of(folder, "Transformers") as engine:
        engine.load([("model.embed_tokens.weight", embeddings)])
        expected = answers(engine, QUESTIONS)
    with engine_of(folder) as engine:
        engine.load([("model.embed_tokens.weight", embeddings)])
        assert answers(engine, QUESTIONS) == expected


@pytest.mark.long  # three processes import vLLM
@pytest.mark.timeout(900)
def test_shards_make_their_weights_themselves_and_say_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = individuals(tmp_path, fine_tune, MIXES[:2])
    base = children[0].sources.base
    expected = by_transformers(children)
    with engine_of(base, tensor_parallel_size=2, threads=1) as engine:
        before = engine.checksum()
        assert [said_by(engine.serve([child]))[0] for child in children] == expected
        with pytest.raises(BadModel, match=r"no parameter 'visual\.head', 'visual\.patches'"):
            engine.load([(name, torch.zeros(1)) for name in ("visual.patches", "visual.head")])
        assert answers(engine, QUESTIONS) == expected[1]
        # Streams, which only this process can make, come tensor by tensor.
        monkeypatch.setattr("cycleqd_runner.engines.vllm._PART_BYTES", 1)
        engine.load(iter(weights(base)))
        assert engine.checksum() == before
        with pytest.raises(BadModel, match="no parameter 'unknown'"):
            engine.load(iter([*weights(base)[:4], ("unknown", torch.zeros(1))]))
        with pytest.raises(PermanentError, match="changing 4 parameters"):
            answers(engine, QUESTIONS)


def test_a_cache_that_does_not_fit_is_refused_with_both_sizes(tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path)
    message = r"memory for the model in .* with vLLM: another 953\.7 GiB was needed and [\d.,]+ GiB were free; lower"
    with pytest.raises(OutOfMemory, match=message), engine_of(folder, max_batch_tokens=10**9):
        pass


def test_gradients_are_computed_beside_it_with_the_weights_that_are_given(tmp_path: Path) -> None:
    folder, other = save_chat_model(tmp_path / "a"), save_chat_model(tmp_path / "b", seed=1)

    def slope(lent: Lent) -> float:
        head = lent.model.get_parameter("lm_head.weight")
        with torch.enable_grad():
            head.square().sum().backward()  # type: ignore[no-untyped-call]
        assert head.grad is not None
        return float(head.grad.norm())

    with engine_of(folder) as engine:
        before = answers(engine, QUESTIONS)
        expected = 2 * float(dict(weights(other))["lm_head.weight"].norm())
        assert engine.lend(slope, weights(other)) == pytest.approx(expected)
        assert answers(engine, QUESTIONS) == before


def test_an_architecture_that_vllm_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps(config | {"architectures": ["PerceptronForCausalLM"]}), encoding="utf-8"
    )
    with pytest.raises(BadModel, match=r"vLLM cannot use the model in .*PerceptronForCausalLM"):
        opened(EngineSpec(type="VLLM"), folder)


def test_a_checkpoint_with_parameters_that_it_does_not_know_is_refused_with_all_of_them(tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path)
    # vLLM stops at the first of these, and leaves the second out without a word.
    unknown = "model.layers.0.self_attn.sinks", "model.layers.1.mlp.router.bias"
    constant = "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_file(
        dict(weights(folder)) | {name: torch.zeros(4) for name in (*unknown, constant)}, folder / "model.safetensors"
    )
    with pytest.raises(BadModel, match=f"no place for 2 of the parameters: {unknown[0]}, {unknown[1]};"):
        opened(EngineSpec(type="VLLM"), folder)


def test_a_broken_individual_leaves_those_beside_it_alone(tmp_path: Path) -> None:
    children = individuals(tmp_path, lora, [(1.0, 0.0), (math.nan, 0.0), (0.5, 0.5)])
    good = by_transformers([children[0], children[2]])
    # A cache of few blocks, so that each soon has those that the broken one had.
    few: dict[str, Any] = {"max_batch_tokens": 512, "concurrent_children": 3}
    with engine_of(children[0].sources.base, rank=children[0].adapter_rank, **few) as engine:
        served = engine.serve(children)
        for _ in range(4):
            first, broken, last = said_by(served)
            assert {answer.finish for answer in broken} == {"broken"}
            assert [first, last] == good
