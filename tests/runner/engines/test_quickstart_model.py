"""Children of the quickstart's real model answer with vLLM as with Transformers, token for token in float32."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.quickstart import MANIFEST, children, questions
from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd.manifest import load_manifest
from cycleqd_runner.chat import ChatModel
from tests.runner.engines.support import opened

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ITEMS = 2
"""Of each of the three skills."""


def said_by(models: Sequence[ChatModel]) -> list[list[str]]:
    """Ask all models everything at once."""
    asked = questions(ITEMS)

    async def everything() -> list[list[str]]:
        answers = [asyncio.gather(*(model.chat(*question) for question in asked)) for model in models]
        return [[answer.text for answer in own] for own in await asyncio.gather(*answers)]

    return asyncio.run(everything())


def test_children_answer_as_with_transformers(tmp_path: Path) -> None:
    base = Path(load_manifest(MANIFEST).spec.base_model.uri)
    if not base.exists():
        pytest.skip(f"{base} is missing: examples/quickstart/prepare_base.py makes it")
    own = children(tmp_path, 2)
    args = EngineArgs(dtype="Float32", max_model_len=1024)
    transformers = opened(EngineSpec(type="Transformers", args=args), base)
    expected = [said_by(transformers.serve([child]))[0] for child in own]
    transformers.close()
    assert expected[0] != expected[1]

    together = args.model_copy(update={"concurrent_children": 2})
    vllm = opened(EngineSpec(type="VLLM", args=together), base, own[0].adapter_rank)
    adapters = said_by(vllm.serve(own))
    in_place = []
    for child in own:
        vllm.load(child)
        in_place.append(said_by([vllm])[0])
    vllm.close()
    assert adapters == expected
    assert in_place == expected
