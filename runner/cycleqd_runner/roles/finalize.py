"""Role finalize: choose the final model on the validation split, report on the test split, export a checkpoint.

Nothing else ever reads the test split.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

from cycleqd import keys
from cycleqd.errors import NumericallyBroken, Unscored
from cycleqd.final import Blend, aggregate, average, best_members, greedy, polished
from cycleqd.records import FinalEvaluation
from cycleqd.report import Candidate
from cycleqd.store.transfer import upload_folder
from cycleqd_runner.export import export_checkpoint
from cycleqd_runner.report.build import build_report, view_run
from cycleqd_runner.report.card import model_card
from cycleqd_runner.report.publish import publish
from cycleqd_runner.roles.candidates import CandidateGenomes
from cycleqd_runner.roles.final_evaluations import FinalEvaluations
from cycleqd_runner.roles.patience import patiently
from cycleqd_runner.roles.prepare import affinity_of
from cycleqd_runner.sandbox import Sandbox
from cycleqd_runner.session import Session

_LOG = logging.getLogger(__name__)


async def finalize(session: Session, sandbox: Sandbox) -> None:
    """Write ``final/``: the model, the pictures, report.html, and report.json last."""
    session.log.refresh()
    scoring = FinalEvaluations(session, sandbox)
    genomes = CandidateGenomes(session)
    candidates, chosen = await choose(session, scoring, genomes)
    models = {"base": session.nothing}
    models |= {expert.name: session.genome_of(k) for k, expert in enumerate(session.spec.experts)}
    models |= {"average": average(session.n_experts).genome(session.genome_of)}
    models |= {"merged": genomes.of(chosen)}
    tested = {name: await scoring.on("test", name, genome) for name, genome in models.items()}
    benchmarked = {
        name: await scoring.on_benchmarks(session.benchmarks, name, genome)
        for name, genome in models.items()
        if session.benchmarks and name != "average"
    }
    evaluations = {name: found.evaluations for name, found in tested.items()}
    view = view_run(session.store, session.spec)
    tokens, polishing = sum(genomes.training_tokens.values()), tuple(genomes.polishing.values())
    usage = replace(scoring.usage, training_tokens=tokens, polishing=polishing)
    affinity = await patiently(affinity_of, session)
    report = build_report(session.identity, session.spec, view, candidates, evaluations, usage, affinity, benchmarked)
    with tempfile.TemporaryDirectory(prefix="cycleqd-model-") as temporary:
        weights = session.streamed(models["merged"])
        folder = export_checkpoint(Path(temporary) / "model", session.base, weights, model_card(report, session.spec))
        await patiently(upload_folder, session.store, folder, keys.MODEL)
    await patiently(publish, session.store, report)


async def choose(
    session: Session, scoring: FinalEvaluations, genomes: CandidateGenomes
) -> tuple[tuple[Candidate, ...], Blend]:
    """Return all candidates with their validation scores, and the best one; numerically broken ones are left out.

    Raises:
        NumericallyBroken: all of them are.
        Unscored: an expert has no scores, or some items of a candidate could not be scored.
    """
    population, settings = session.population(), session.spec.finalize
    if not population.ready:
        raise Unscored("The experts have no complete scores yet: finalize runs after they were evaluated.")
    found: dict[str, FinalEvaluation] = {}
    digests: dict[str, str] = {}

    async def score(blend: Blend) -> float:
        genome = await patiently(genomes.of, blend)
        try:
            found[blend.name] = await scoring.on("validation", blend.name, genome)
        except NumericallyBroken as error:
            _LOG.warning("%s", error)
            return -1.0  # below all scores: nobody combines with it
        digests[blend.name] = genome.digest
        return found[blend.name].mean

    blends = [aggregate(population), average(session.n_experts), *best_members(population, settings.candidates)]
    for blend in blends:
        await score(blend)
    whole = [blend for blend in blends if blend.name in found]
    if not whole:
        raise NumericallyBroken(f"All {len(blends)} candidates gave NaN or infinite logits: give other experts.")
    ranked = sorted(whole, key=lambda blend: -found[blend.name].mean)
    combined = await greedy(ranked, found[ranked[0].name].mean, score, settings.greedy_steps)
    kinds = [[one for one in kind if one.name in found] for kind in (blends[:1], blends[2:], combined)]
    best = [max(kind, key=lambda blend: found[blend.name].mean) for kind in kinds if kind and settings.polish_steps]
    polishes = [polished(blend, settings.polish_steps) for blend in best]
    for blend in polishes:
        await score(blend)
    whole += [blend for blend in (*combined, *polishes) if blend.name in found]
    chosen = max(whole, key=lambda blend: found[blend.name].mean)
    candidates = tuple(
        Candidate(
            name=blend.name,
            weights=blend.weights,
            polish=blend.polish,
            genome_sha256=digests[blend.name],
            validation={evaluation.task: evaluation.score for evaluation in found[blend.name].evaluations},
            chosen=blend is chosen,
        )
        for blend in whole
    )
    return candidates, chosen
