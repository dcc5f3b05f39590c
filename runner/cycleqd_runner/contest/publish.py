"""Writing what a contest has found out so far into its storage: data, page and pictures. All derived, all deletable."""

from __future__ import annotations

from cycleqd.report import remarks
from cycleqd_runner.contest.curves import pictures
from cycleqd_runner.contest.entries import Contest
from cycleqd_runner.contest.standings import Lineup, Standings, standings
from cycleqd_runner.contest.tables import markdown
from cycleqd_runner.contest.trials import read_trial

DATA = "comparison.json"
PAGE = "comparison.md"


def publish(contest: Contest, *, drawn: bool) -> None:
    """Write how the contest stands.

    Args:
        contest: with its storage.
        drawn: also the pictures, which take a second or two.
    """
    store, found = contest.store, current(contest)
    for name, png in (pictures(found) if drawn else {}).items():
        store.put(name, png)
    store.put(DATA, found.model_dump_json(indent=1).encode())
    store.put(PAGE, markdown(found).encode())


def current(contest: Contest, reference: str | None = None) -> Standings:
    """Return how the contest stands, by the records in its storage.

    Args:
        contest: with its storage.
        reference: the method that the others are compared with, in place of the file's.

    Raises:
        RunMismatch: a record was made with other settings.
    """
    spec, store = contest.spec, contest.store
    methods = {**dict.fromkeys(contest.fixed), **{method.name: method for method in spec.methods}}
    read = [
        read_trial(store, name, seed, contest.fingerprint(seed, method))
        for name, method in methods.items()
        for seed in contest.seeds_of(name)
    ]
    own_experts = {task.name: task.expert for task in contest.manifest.spec.tasks}
    seeds = {name: contest.seeds_of(name) for name in methods}
    lineup = Lineup(contest.name, seeds, own_experts, reference or spec.reference, remarks(contest.manifest.spec))
    return standings(lineup, [trial for trial in read if trial])
