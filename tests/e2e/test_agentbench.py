"""The paper's protocols in real pods: model-written code, MariaDB and a judge's own image beside the worker.

The example's manifest under restricted Pod Security, with models that act: each expert solves its own task by what
machine and server answer it, the base model tries all tasks in vain. So every score of everybody is known beforehand.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cycleqd import keys
from cycleqd.api import CycleQDRun
from cycleqd.records import FinalEvaluation, Result
from cycleqd.report import Report
from cycleqd.store import open_store
from cycleqd.store.transfer import upload_folder
from cycleqd_runner.transcripts import read_transcripts
from tests.docs.pages import samples
from tests.e2e.checker import check
from tests.e2e.insides import Inside, held, looks_until
from tests.e2e.manifests import ROOT, edited
from tests.e2e.outside import need
from tests.e2e.scene import Document, Run, Scene
from tests.e2e.tiny import CPU
from tests.runner.benchmark_files import QUESTIONS_FILE, publish
from tests.runner.cast import OS_PRINTED, Cast, cast_of

pytestmark = [pytest.mark.e2e, pytest.mark.together(long=True), pytest.mark.timeout(3000)]

BUCKET = "s3://cycleqd"
"""Of the manifest; the test has one of its own."""
BENCHMARKS = {"sql-lines": "db", "shell-lines": "os"}
"""Of the manifest's report, with the expert that is better at them than the base model."""
JUDGED = "questions"
"""A task and its expert: the program in docs/evaluators.md asks and judges."""
JUDGE_SECONDS = 120
"""For each item: the judge's program also waits until the test has looked into the pod."""

Skills = Mapping[int, frozenset[str]]
"""By individual, the experts of which something is in it."""


def test_the_papers_protocols_run_beside_the_worker(scene: Scene) -> None:
    need({"CYCLEQD_DATA": "a folder with the benchmarks' files", "CYCLEQD_MARIADB_IMAGE": "MariaDB's image"})
    publish(Path(os.environ["CYCLEQD_DATA"]), f"{scene.world.uri}/agentbench")
    run = scene.add(manifest(scene))
    cast = cast_of(CycleQDRun.model_validate(run.manifest).spec, BENCHMARKS)
    cast.save(scene.folder / "cast")
    upload_folder(open_store(f"{scene.world.uri}/cast"), scene.folder / "cast", "")
    run.apply()
    pods, insides = looks_until(run, "Succeeded")

    results = check(run)
    skills = inherited(results, [expert["name"] for expert in run.manifest["spec"]["experts"]])
    check_judged(cast, results, skills)
    check_heard(run, cast, skills)
    check_report(run, cast, skills)
    assert run.failures() == []
    check_pods(run, pods)
    check_insides(run, insides)


def manifest(scene: Scene) -> Document:
    """Return the example's manifest with a cast of its own, and a fourth task that a judge in an image has."""
    text = (ROOT / "examples" / "agentbench" / "cluster.yaml").read_text(encoding="utf-8")
    document: Document = yaml.safe_load(text.replace(BUCKET, scene.world.uri))
    (program,) = (one.text for one in samples(ROOT / "docs" / "evaluators.md", "python") if one.section == "Container")
    document["spec"]["experts"].append({"name": JUDGED})
    document["spec"]["tasks"].append(
        {
            "name": JUDGED,
            "expert": JUDGED,
            "evaluator": {
                "type": "Container",
                "image": scene.world.outside.runner_image,
                "command": held(program),
                "data": f"{scene.world.uri}/agentbench/{QUESTIONS_FILE}",
            },
            "items": {"search": 4, "validation": 1, "test": 1},
            "limits": {"timeoutSeconds": JUDGE_SECONDS},
        }
    )
    return edited(
        document,
        {
            "spec.baseModel.uri": f"{scene.world.uri}/cast/base",
            **{
                f"spec.experts.{k}.uri": f"{scene.world.uri}/cast/{expert['name']}"
                for k, expert in enumerate(document["spec"]["experts"])
            },
            "spec.transcripts": "All",
            "spec.engine": {"args": {"dtype": "Float32", "threads": 1}},
            "spec.workers.template.resources": {"requests": {"cpu": CPU}},
        },
    )


def inherited(results: Mapping[int, Result], experts: list[str]) -> Skills:
    """Return what of the experts is in everybody: by their parents, and by mutation along the active task's expert."""
    found = {k: frozenset([name]) for k, name in enumerate(experts)}
    for individual in sorted(results.keys() - found.keys()):
        result = results[individual]
        assert result.active_task is not None
        found[individual] = found[result.active_task].union(*(found[parent] for parent in result.parents))
    return found


def check_judged(cast: Cast, results: Mapping[int, Result], skills: Skills) -> None:
    """Everybody scores what its experts can, on items of all kinds, and the code ran beside the worker."""
    for individual, result in results.items():
        assert result.versions["sandbox"] == "Sidecar"
        searched = [evaluation for evaluation in result.evaluations if evaluation.split == "search"]
        assert [evaluation.task for evaluation in searched] == ["mbpp", "db", "os", JUDGED]
        for evaluation in searched:
            assert cast.surprises(evaluation, skills[individual]) == []
            assert any(one.score for one in evaluation.outcomes) == (
                cast.teachers[evaluation.task] in skills[individual]
            )
        assert {one.group for one in searched[1].outcomes} == {"SELECT", "INSERT", "UPDATE"}


def check_heard(run: Run, cast: Cast, skills: Skills) -> None:
    """Every conversation was kept, and the last answers were given to what server and machine had printed."""
    asked = {task["name"]: task["items"]["search"] for task in run.manifest["spec"]["tasks"]}
    for individual, experts in skills.items():
        transcripts = read_transcripts(run.store, individual)
        assert Counter(said.task for said in transcripts) == asked
        for said in transcripts:
            if said.task not in ("db", "os"):
                continue
            has_learnt = cast.teachers[said.task] in experts and said.item in cast.parts[said.task].solved
            heard = said.messages[-1]["content"]
            assert heard.startswith(cast.parts[said.task].shows[said.item][has_learnt]), (individual, said)
            if said.task == "os" and said.score:
                printed = re.fullmatch(rf"{OS_PRINTED}(\d+)\n", heard)
                assert (f"answer({printed[1]})" if printed else "finish") in said.answer


def check_report(run: Run, cast: Cast, skills: Skills) -> None:
    """All that finalize asked is in the report, and the table of what was kept of the base's skills is complete."""
    report = Report.model_validate_json(run.store.get(keys.REPORT))
    blends = {candidate.name: candidate for candidate in report.candidates}
    assert report.chosen is not None
    models = {"base": frozenset[str](), **{name: frozenset([name]) for name in report.experts}}
    able = {name: frozenset().union(*(skills[one] for one in blend.weights)) for name, blend in blends.items()}
    able |= models | {"average": frozenset(report.experts), "merged": able[report.chosen.name]}
    for key in run.store.list(keys.FINAL_EVALUATIONS):
        found = FinalEvaluation.model_validate_json(run.store.get(key))
        for evaluation in found.evaluations:
            assert cast.surprises(evaluation, able[found.name]) == []

    kept = report.retention
    assert kept is not None
    assert list(kept.benchmarks) == [one["name"] for one in run.manifest["spec"]["report"]["benchmarks"]]
    assert kept.unscored == {}
    expected = {
        name: {benchmark: cast.mean(benchmark, able[name]) for benchmark in kept.benchmarks}
        for name in (*models, "merged")
    }
    assert expected["base"] == dict.fromkeys(kept.benchmarks, 0.5)
    assert {name: {b: one and one.mean for b, one in own.items()} for name, own in kept.scores.items()} == expected
    shares = {name: {benchmark: score / 0.5 for benchmark, score in own.items()} for name, own in expected.items()}
    assert {name: {b: one and one.mean for b, one in own.items()} for name, own in kept.kept.items()} == shares


def check_pods(run: Run, pods: list[Document]) -> None:
    """The namespace admits restricted pods only, and these were admitted with all sidecars, none of which ever died."""
    kubectl, namespace = run.world.kubectl, run.world.namespace
    labels = kubectl.get("namespace", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    everything = {"sandbox": 0, "mariadb": 0, "container": 0}
    for pod in pods:
        work = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"].removeprefix(f"{run.name}-")
        tries_everything = work == "prepare-0" or not work.startswith("prepare-")
        assert sidecars(pod) == (everything if tries_everything else {"sandbox": 0}), work


def sidecars(pod: Document) -> dict[str, Any]:
    """Return how often each sidecar of a pod was started again."""
    statuses = pod["status"].get("initContainerStatuses", [])
    return {status["name"].partition("-")[0]: status["restartCount"] for status in statuses}


def check_insides(run: Run, insides: list[Inside]) -> None:
    """In every pod that scored somebody, databases were made, and nothing was left of databases and machines."""
    assert {inside.role for inside in insides} == {"evaluate", "breed", "finalize"}
    fewest = min(run.manifest["spec"]["tasks"][1]["items"].values())
    for inside in insides:
        assert inside.made >= fewest
        assert (inside.dropped, inside.left) == (inside.made, [])
