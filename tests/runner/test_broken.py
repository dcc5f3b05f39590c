"""Models whose numbers become NaN or infinite: never a score, never a dead worker, and the run goes on without them."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cycleqd import keys
from cycleqd.emitter import Proposal
from cycleqd.errors import NumericallyBroken
from cycleqd.final import Blend
from cycleqd.genome import Genome
from cycleqd.identity import claim
from cycleqd.log import ResultLog
from cycleqd.manifest import load_manifest
from cycleqd.records import BROKEN
from cycleqd.store import open_store
from cycleqd_runner.roles.candidates import CandidateGenomes
from cycleqd_runner.roles.evaluate import evaluate
from cycleqd_runner.roles.final_evaluations import FinalEvaluations
from cycleqd_runner.roles.finalize import choose
from cycleqd_runner.roles.prepare import prepare
from cycleqd_runner.sandbox import open_sandbox
from cycleqd_runner.session import Session
from tests.runner.models import save_adapter, save_llama
from tests.runner.runs import COMMAND, finish, population_of, report_of, results_of, start_run, write_manifest
from tests.runner.test_run import tiny_spec

BREAKING = {3: float("nan"), 4: float("inf"), 5: 1e38}
"""Child to what its genome is multiplied by."""


def write_run(folder: Path) -> Path:
    """Write the manifest of a run with four children of two experts, and return its path."""
    base = save_llama(folder / "base")
    experts = {name: save_adapter(base, folder / name, seed) for seed, name in enumerate(("a", "b"), start=1)}
    return write_manifest(folder / "tiny.yaml", tiny_spec(folder, experts, base))


def open_session(manifest: Path) -> Session:
    """Return a session of the run, whose experts are prepared."""
    run = load_manifest(manifest)
    store = open_store(run.spec.storage.uri)
    claim(store, run)
    session = Session(store)
    for expert in run.spec.experts:
        prepare(session, expert.name)
    return session


def broken(genome: Genome, factor: float) -> Genome:
    """Return a genome whose model overflows or is NaN."""
    with np.errstate(invalid="ignore"):
        return Genome(genome.values * np.float32(factor), genome.coefficients)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run, three of whose four children were proposed with broken genomes, and what its status says."""
    manifest = write_run(tmp_path_factory.mktemp("broken"))
    session = open_session(manifest)
    for child, factor in BREAKING.items():
        proposal = Proposal(broken(session.experts[0], factor), (0, 1), 0, "Paper", seen=2)
        session.store.put_once(keys.genome(child), proposal.save(session.layout))
    process = start_run(manifest)
    printed = finish(process)
    assert process.returncode == 0, printed
    return manifest, subprocess.check_output([*COMMAND, "status", str(manifest)], text=True)


def test_broken_children_are_done_without_a_score_and_enter_no_archive(finished: tuple[Path, str]) -> None:
    manifest, status = finished
    results = results_of(manifest)
    assert sorted(results) == list(range(2 + 4))
    for child, result in results.items():
        reasons = {outcome.reason for own in result.evaluations for outcome in own.unscored}
        assert reasons == ({BROKEN} if child in BREAKING else set())
        assert result.complete == (child not in BREAKING)
    assert population_of(manifest).ids.tolist() == [0, 1, 2]
    assert "3 numerically broken" in status
    log = ResultLog(open_store(load_manifest(manifest).spec.storage.uri))
    log.refresh()
    assert (log.broken, log.quarantined) == (set(BREAKING), set())


def test_the_report_says_who_was_broken(finished: tuple[Path, str]) -> None:
    manifest, _ = finished
    told = {one["id"] for one in report_of(manifest)["individuals"] if one["broken"]}
    assert told == set(BREAKING)
    page = open_store(load_manifest(manifest).spec.storage.uri).get("final/report.html").decode()
    assert "3 children were numerically broken" in page


def test_a_broken_candidate_is_left_out_of_the_choice(finished: tuple[Path, str]) -> None:
    session = open_session(finished[0])
    session.log.refresh()

    class Genomes(CandidateGenomes):
        def of(self, blend: Blend) -> Genome:
            genome = super().of(blend)
            return broken(genome, float("nan")) if blend.name in names else genome

    async def chosen() -> list[str]:
        async with open_sandbox(session.spec.sandbox) as sandbox:
            candidates, best = await choose(session, FinalEvaluations(session, sandbox), Genomes(session))
        assert best.name in {candidate.name for candidate in candidates if candidate.chosen}
        return [candidate.name for candidate in candidates]

    names: set[str] = set()
    everybody = asyncio.run(chosen())
    names = {"aggregate", "greedy-1"}
    assert asyncio.run(chosen()) == [name for name in everybody if name not in names]
    names = set(everybody)
    with pytest.raises(NumericallyBroken, match=f"All {len(everybody) - 1} candidates gave NaN"):
        asyncio.run(chosen())


def test_a_broken_expert_ends_the_run(tmp_path: Path) -> None:
    session = open_session(write_run(tmp_path))
    session.store.put_once(keys.genome(0), broken(session.experts[0], float("nan")).save(session.layout))

    async def scored() -> None:
        async with open_sandbox(session.spec.sandbox) as sandbox:
            await evaluate(session, [0], sandbox)

    with pytest.raises(NumericallyBroken, match="Expert a gave NaN or infinite logits for 4 of 4 t-a items"):
        asyncio.run(scored())
