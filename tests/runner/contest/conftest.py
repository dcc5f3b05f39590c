"""What tests of whole comparisons share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cycleqd_runner.contest import arena
from tests.runner.contest.support import open_quick_sandbox, tiny_models


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[None]:
    """Let evaluators run their code nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arena, "open_sandbox", open_quick_sandbox)
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, the manifest of a run, and training data."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models(folder)
    for name, count in (("a", 3), ("b", 5)):
        lines = [{"messages": [{"role": "user", "content": f"say {i}"}], "answer": f"{name}{i}"} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder
