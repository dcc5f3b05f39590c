"""How far the engines' probabilities may be from each other: the bounds that docs/engines.md states.

Where log-probabilities differ by at most x, greedy answers differ only where the two likeliest tokens are within 2x.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quickstart import MANIFEST
from benchmarks.quickstart import children as quickstart_children
from cycleqd.api.engine import EngineArgs, EngineSpec
from cycleqd.manifest import load_manifest
from cycleqd_runner.chat import Likelihood, TextModel
from cycleqd_runner.individual import Individual
from tests.runner.engines.support import opened
from tests.runner.engines.test_vllm import individuals, lora

TEXTS = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "SELECT name, COUNT(*) FROM orders WHERE price > 100 GROUP BY name ORDER BY 2 DESC;",
    "def mean(numbers):\n    return sum(numbers) / len(numbers) if numbers else 0.0\n",
)


def read_by(models: Sequence[TextModel]) -> list[float]:
    """Return the log-probability of every word after what is before it."""
    pairs = [(text[: word.start()], word[0]) for text in TEXTS for word in re.finditer(r" \S+", text)]

    async def everything() -> list[Likelihood]:
        return await asyncio.gather(*(model.log_likelihood(*pair) for model in models for pair in pairs))

    return [one.log_probability for one in asyncio.run(everything())]


def furthest(children: Sequence[Individual], dtype: str) -> tuple[float, float]:
    """Return the largest difference to Transformers of children in vLLM's weights, and of them together as adapters."""
    args = EngineArgs(dtype=dtype, max_model_len=256)  # of the table below
    base, together = children[0].sources.base, args.model_copy(update={"concurrent_children": len(children)})
    one = opened(EngineSpec(type="Transformers", args=args), base)
    expected = [read_by(one.serve([child])) for child in children]
    one.close()
    other = opened(EngineSpec(type="VLLM", args=together), base, children[0].adapter_rank)
    found = read_by(other.serve(children))
    in_place = []
    for child in children:
        other.load(child)
        in_place += read_by([other])
    other.close()
    wanted = np.concatenate(expected)
    return float(np.abs(wanted - in_place).max()), float(np.abs(wanted - found).max())


@pytest.mark.parametrize(("dtype", "bound"), [("Float32", 1e-4), ("BFloat16", 0.5)])
def test_tiny_children_are_within_the_bound(tmp_path: Path, dtype: str, bound: float) -> None:
    assert max(furthest(individuals(tmp_path, lora, [(1.0, 0.0), (0.5, 0.5)]), dtype)) <= bound


@pytest.mark.long
@pytest.mark.timeout(900)
def test_children_of_the_quickstart_are_within_the_bound(tmp_path: Path) -> None:
    if not Path(load_manifest(MANIFEST).spec.base_model.uri).exists():
        pytest.skip("the quickstart's base model is missing: examples/quickstart/prepare_base.py makes it")
    in_place, together = furthest(quickstart_children(tmp_path, 2), "Float32")
    assert in_place <= 1e-3
    # Merged weights are rounded to the base's bfloat16, adapters beside it are not.
    assert together <= 0.5
