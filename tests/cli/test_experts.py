from __future__ import annotations

import json
from pathlib import Path

from tests.cli.support import TASKS, cycleqd, document, write


def test_pairs_are_told_as_a_table_and_as_json(tmp_path: Path) -> None:
    from tests.runner.models import fine_tune, save_adapter, save_llama  # noqa: PLC0415 - torch

    base = save_llama(tmp_path / "base")
    save_adapter(base, tmp_path / "sql", 1, lora_alpha=1)
    save_adapter(base, tmp_path / "shell", 2, lora_alpha=1)
    fine_tune(base, tmp_path / "python", 3, size=0.5)
    manifest = write(tmp_path / "tiny.yaml", document(tmp_path))

    told = cycleqd("experts", manifest)
    assert told.exit_code == 0, told.output
    assert "sql-expert and python-expert are far apart: expect a merge to lose skills." in told.stdout
    assert sum("far apart" in line for line in told.stdout.splitlines()) == 3

    found = json.loads(cycleqd("experts", manifest, "-o", "json").stdout)
    assert [pair["standing"] for pair in found["pairs"]] == ["close", "far apart", "far apart"]
    assert set(found["sizes"]) == {f"{task}-expert" for task in TASKS}


def test_experts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from tests.runner.models import save_llama  # noqa: PLC0415 - torch

    save_llama(tmp_path / "base")
    for task in TASKS:
        save_llama(tmp_path / task, intermediate_size=64)
    told = cycleqd("experts", write(tmp_path / "tiny.yaml", document(tmp_path)))
    assert told.exit_code == 2
    assert "shape" in told.stderr
