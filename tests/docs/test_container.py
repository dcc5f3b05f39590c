"""docs/evaluators.md about ``Container``: the program judges the items as both stand there; the tables are complete."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from cycleqd.api.tasks import ContainerEvaluator, SandboxLimits
from cycleqd_runner.openai_api import MODEL
from cycleqd_runner.tasks.container.conversations import MOST_REQUESTS
from cycleqd_runner.tasks.container.launcher import files_in
from cycleqd_runner.tasks.container.results import MOST_BYTES, Result
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.tasks.run import evaluate
from tests.docs.pages import ROOT, samples, spoken
from tests.runner.tasks.container import places
from tests.runner.tasks.support import NoSandbox, Scripted

PAGE = ROOT / "docs" / "evaluators.md"


def written(language: str) -> str:
    (sample,) = (sample for sample in samples(PAGE, language) if sample.section == "Container")
    return sample.text


@pytest.mark.parametrize("place", [places.beside, places.docker], ids=["beside the worker", "docker"])
def test_the_program_judges_the_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: places.Place) -> None:
    judge = tmp_path / "judge.py"
    judge.write_text(written("python"), encoding="utf-8")
    command = (sys.executable, "-I", str(judge))
    spec = ContainerEvaluator(type="Container", image=places.IMAGE, command=command, data=PAGE.as_uri())
    evaluator = make_evaluator(spec, lambda _: written("json").encode())
    questions = [str(item.payload["question"]) for item in evaluator.items()]
    model = Scripted(dict(zip(questions, ("The Pacific.", "At 90."), strict=True)))
    with place(tmp_path, monkeypatch, command):
        asked = evaluate(
            evaluator,
            evaluator.items(),
            model,
            NoSandbox(),
            SandboxLimits(),
            repeats=1,
            split="search",
            task_name="judged",
        )
        evaluation, transcripts = asyncio.run(asked)
    assert [(one.score, one.reason, one.prompt_tokens) for one in evaluation.outcomes] == [
        (1, None, 7),
        (0, "said At 90.", 7),
    ]
    assert [transcript.answer for transcript in transcripts] == ["The Pacific."]
    assert {sampling.max_tokens for _, sampling in model.asked} == {64}


def test_the_program_is_a_short_one() -> None:
    assert sum(bool(line) for line in written("python").splitlines()) <= 30


def test_everything_that_a_program_meets_is_described() -> None:
    said = set(spoken(PAGE, "Container"))
    assert {*files_in(""), "OPENAI_BASE_URL", "OPENAI_API_KEY", "CYCLEQD_MODEL", "CYCLEQD_REPEAT", MODEL} <= said
    assert {"id", *Result.model_fields} <= said
    page = PAGE.read_text(encoding="utf-8")
    assert f"{MOST_REQUESTS:,} requests" in page
    assert f"{MOST_BYTES >> 20} MiB" in page
