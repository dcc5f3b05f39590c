from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cycleqd_runner.tasks.agentbench_db import private_server
from cycleqd_runner.tasks.container import launchers
from tests.cli.support import TASKS, cycleqd, document, started, write


def mbpp(path: Path, items: int) -> str:
    lines = ({"task_id": i, "text": "a", "code": "b", "test_list": ["assert f()"]} for i in range(items))
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return str(path)


def crosses(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("✗")]


def test_a_good_manifest_has_no_cross_and_nothing_is_started(tmp_path: Path) -> None:
    told = cycleqd("validate", write(tmp_path / "tiny.yaml", document(tmp_path)), "--quick")
    assert told.exit_code == 0, told.stdout
    assert not crosses(told.stdout)
    assert f"Start it with: cycleqd run {tmp_path}/tiny.yaml" in told.stdout
    assert "48 or more are advised" in told.stdout, "20 search items are few"
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("repeats", "temperature", "is_warned"),
    [
        pytest.param(5, 0.0, True, id="the same answer five times"),
        pytest.param(5, 0.7, False, id="five draws"),
        pytest.param(1, 0.0, False, id="one greedy answer"),
    ],
)
def test_repeats_that_repeat_the_same_answer_are_warned_of(
    tmp_path: Path, repeats: int, temperature: float, is_warned: bool
) -> None:
    manifest = document(tmp_path)
    manifest["spec"]["tasks"][1] |= {"repeats": repeats}
    manifest["spec"]["tasks"][1]["evaluator"] |= {"temperature": temperature}
    told = cycleqd("validate", write(tmp_path / "tiny.yaml", manifest), "--quick")
    assert told.exit_code == 0, told.stdout
    assert ("! task shell  repeats is 5, but temperature is 0" in told.stdout) == is_warned, told.stdout


def test_a_run_that_goes_on_is_told(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path)
    assert "goes on with it" in cycleqd("validate", manifest, "--quick").stdout


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        pytest.param(["tasks", 0, "items"], {"search": 99999}, "task sql", id="too few items"),
        pytest.param(["tasks", 2, "evaluator", "data"], "MBPP", "task python", id="too few items in a file"),
        pytest.param(["tasks", 1, "evaluator", "data"], "missing.jsonl", "missing.jsonl", id="no items file"),
        pytest.param(["storage", "uri"], "tiny.yaml", "is a file, not a folder", id="storage in a file"),
        pytest.param(
            ["report"],
            {"benchmarks": [{"name": "old-sql", "evaluator": {"type": "Sql"}, "items": 9999}]},
            "benchmark old-sql",
            id="too few items of a benchmark",
        ),
    ],
)
def test_everything_wrong_has_a_cross_and_a_sentence(
    tmp_path: Path, path: list[str | int], value: Any, expected: str
) -> None:
    manifest = document(tmp_path)
    part: Any = manifest["spec"]
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = mbpp(tmp_path / "mbpp.jsonl", 12) if value == "MBPP" else value

    told = cycleqd("validate", write(tmp_path / "tiny.yaml", manifest), "--quick")

    assert told.exit_code == 2
    assert len(crosses(told.stdout)) == 1, told.stdout
    assert expected in crosses(told.stdout)[0]
    assert "1 of these has to be put right" in told.stdout


def test_containers_need_something_that_starts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judged.jsonl").write_text("".join(f'{{"id": {i}}}\n' for i in range(40)), encoding="utf-8")
    (tmp_path / "docker").touch(mode=0o755)
    judged = {"type": "Container", "image": "judge:1", "data": "judged.jsonl"}
    manifest = document(tmp_path)
    manifest["spec"]["tasks"][2]["evaluator"] = judged
    manifest["spec"]["report"] = {"benchmarks": [{"name": "judge", "evaluator": judged}]}
    file = write(tmp_path / "tiny.yaml", manifest)
    for program, expected in ((tmp_path / "docker", []), ("no-such-docker", ["task python", "benchmark judge"])):
        monkeypatch.setattr(launchers, "PROGRAMS", (str(program),))
        told = cycleqd("validate", file, "--quick")
        assert (told.exit_code == 0, len(crosses(told.stdout))) == (not expected, len(expected)), told.stdout
        for line, what in zip(crosses(told.stdout), expected, strict=True):
            assert what in line
            assert "needs no-such-docker, and" in line


def test_the_server_of_a_benchmark_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_server, "PROGRAMS", ("no-such-server",))
    monkeypatch.delenv(private_server.SOCKET_VARIABLE, raising=False)
    manifest = document(tmp_path)
    evaluator = {"type": "AgentBenchDB", "data": str(tmp_path / "dbbench.jsonl")}
    manifest["spec"]["report"] = {"benchmarks": [{"name": "dev", "evaluator": evaluator}]}
    told = cycleqd("validate", write(tmp_path / "tiny.yaml", manifest), "--quick")
    assert told.exit_code == 2
    (wrong,) = crosses(told.stdout)
    assert "benchmark dev" in wrong
    assert "no-such-server cannot be found" in wrong


def test_every_model_is_looked_at(tmp_path: Path) -> None:
    from tests.runner.models import fine_tune, save_llama  # noqa: PLC0415 - torch

    base = save_llama(tmp_path / "base")
    fine_tune(base, tmp_path / "sql", 1)
    save_llama(tmp_path / "shell", intermediate_size=64)
    assert set(TASKS) == {"sql", "shell", "python"}

    told = cycleqd("validate", write(tmp_path / "tiny.yaml", document(tmp_path)))

    assert told.exit_code == 2
    assert "✓ expert sql-expert" in told.stdout
    wrong = crosses(told.stdout)
    assert ["shape" in line for line in wrong] == [True, False]
    assert str(tmp_path / "python") in wrong[1], "the missing model is named"
