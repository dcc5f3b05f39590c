"""The cast of the cluster's scenario plays here what it is to play there: real models, MariaDB and machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from cycleqd.api.engine import EngineArgs
from cycleqd.api.run import RunSpec
from cycleqd.errors import UnsupportedHere
from cycleqd.records import TaskEvaluation
from cycleqd_runner.engines.transformers import TransformersEngine
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.tasks.agentbench_db.private_server import require_server
from cycleqd_runner.tasks.registry import make_evaluator
from cycleqd_runner.tasks.run import evaluate
from tests.runner.benchmark_files import publish
from tests.runner.cast import Cast, cast_of
from tests.runner.tasks.support import in_sandbox

EXAMPLE = Path(__file__).parents[2] / "examples" / "agentbench" / "run.yaml"
BENCHMARKS = {"sql-lines": "db", "shell-lines": "os"}


def needs_all_of_it() -> Path:
    if "CYCLEQD_DATA" not in os.environ:
        pytest.skip("CYCLEQD_DATA is not set: the folder with the benchmarks' items")
    try:
        require_server()
    except UnsupportedHere as error:
        pytest.skip(str(error))
    return Path(os.environ["CYCLEQD_DATA"])


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, Cast, Path]:
    data, folder = needs_all_of_it(), tmp_path_factory.mktemp("cast")
    publish(data, str(folder))
    text = EXAMPLE.read_text(encoding="utf-8").replace("data/", f"{folder}/")
    spec = RunSpec.model_validate(yaml.safe_load(text)["spec"])
    cast = cast_of(spec, BENCHMARKS)
    cast.save(folder / "models")
    return spec, cast, folder / "models"


@pytest.mark.parametrize("model", ["base", "coding", "db", "os"])
def test_everyone_scores_what_the_cast_says(played: tuple[RunSpec, Cast, Path], model: str) -> None:
    spec, cast, models = played
    engine = TransformersEngine(models / model, EngineArgs(dtype="Float32", threads=1))

    async def play(sandbox: Sandbox) -> list[TaskEvaluation]:
        found = []
        for task in spec.tasks:
            evaluator = make_evaluator(task.evaluator, read_data)
            evaluation, _ = await evaluate(
                evaluator,
                evaluator.items(),
                engine,
                sandbox,
                task.limits,
                repeats=1,
                split="search",
                task_name=task.name,
            )
            found.append(evaluation)
        return found

    for evaluation in in_sandbox(play):
        assert cast.surprises(evaluation, {model}) == []
        assert any(one.score for one in evaluation.outcomes) == (cast.teachers[evaluation.task] == model)
