"""What must hold for every run, whatever happened to it: nothing missing, nothing twice, nothing left behind.

All of it is found out from the results in the store; what the operator says about them must be the same.
"""

from __future__ import annotations

from cycleqd import keys
from cycleqd.api import CycleQDRun
from cycleqd.archive import Archive
from cycleqd.fold import entry_of, fold
from cycleqd.pooling import Pooling
from cycleqd.records import Result, read_result
from cycleqd.report import Report
from cycleqd_runner.report.build import view_archive
from cycleqd_runner.session import Session
from tests.e2e.scene import Run


def check(run: Run, *, complete: bool = True) -> dict[int, Result]:
    """Check a run that rests; return the first result of each individual.

    Args:
        run: without workers, or with workers that are just ending.
        complete: whether every child must have a result or be given up, and the final report be about all of them.
    """
    run.reach_calm()
    body = run.body()
    manifest = CycleQDRun.model_validate({name: body[name] for name in ("apiVersion", "kind", "metadata", "spec")})
    spec, status = manifest.spec, body["status"]
    results = every_result(run)
    quarantined = {keys.parse_quarantine(key) for key in run.store.list(keys.QUARANTINE)}
    firsts = {individual: result for (individual, evaluation), result in results.items() if evaluation == 0}
    everybody = set(range(len(spec.experts) + spec.search.children))

    assert not set(firsts) & quarantined, "a child was scored and given up"
    assert set(firsts) | quarantined <= everybody
    if complete:
        assert set(firsts) | quarantined == everybody, "children are missing"
    check_genomes(run, firsts)
    children = len(set(firsts) - set(range(len(spec.experts))))
    run.reach(f"status.children is {children}", lambda: run.status().get("children", 0) == children, seconds=30)
    assert status.get("quarantined", 0) == len(quarantined)
    if complete:
        check_report(run, spec_of=manifest, results=results, quarantined={q for q in quarantined if q is not None})
    check_nothing_left(run)
    return firsts


def every_result(run: Run) -> dict[tuple[int, int], Result]:
    """Return all results; every object in their folder must be one, and be what its key says."""
    results = {}
    for key in run.store.list(keys.RESULTS):
        result = read_result(run.store.get(key), key)
        assert keys.parse_result(key) == (result.id, result.evaluation)
        results[result.id, result.evaluation] = result
    return results


def check_genomes(run: Run, firsts: dict[int, Result]) -> None:
    """Every result is about the genome that is stored under its id, and its parents were there."""
    session = Session(run.store)
    for individual, result in firsts.items():
        assert session.genome_of(individual).digest == result.genome_sha256, f"{individual} was scored as another one"
        assert all(parent in firsts for parent in result.parents)


def check_report(
    run: Run, spec_of: CycleQDRun, results: dict[tuple[int, int], Result], quarantined: set[int]
) -> Report:
    """The final report is about exactly these results, and its archives are their fold."""
    spec = spec_of.spec
    report = Report.model_validate_json(run.store.get(keys.REPORT))
    reported = [individual.id for individual in report.individuals]
    assert sorted(reported) == sorted({individual for individual, _ in results})
    assert set(report.quarantined) == quarantined
    population = fold(map(entry_of, results.values()), len(spec.experts), spec.search.archive, Pooling.of(spec))
    archives: tuple[Archive, ...] = population.archives
    assert report.archives == tuple(view_archive(archive, spec) for archive in archives)
    assert run.store.exists(f"{keys.MODEL}/config.json")
    return report


def check_nothing_left(run: Run) -> None:
    """No Job is active and no pod is left running; events tell of changes, never of children."""
    run.reach("the end of all Jobs", lambda: not run.active_jobs(), seconds=60)
    assert not run.busy_pods()
    told = [f"{event['type']} {event['reason']}: {event['message']}" for event in run.objects("events")]
    assert len(told) <= 40, told
