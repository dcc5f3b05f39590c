"""What docs/results.md claims and asks, judged by trials alone: nothing is said that they do not show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cycleqd_runner.contest.standings import Row, Standings
from cycleqd_runner.report.formats import points

OURS, QUARTER, PAPER = "ours", "ours-quarter", "paper"
LEAST_KEPT, MOST_SPENT = 0.95, 0.25

Claim = tuple[str, str, str]
"""What is claimed or asked, what was measured, and a verdict."""
HOLDS, FAILS, OPEN = "holds", "does not hold", "not shown"
IN_THE_MEAN = "holds in the mean, not at the end of the interval"
HELPS, HARMS, UNCLEAR = "helps", "harms", "open"
Against = Callable[[str], Standings]
"""Returns how the contest stands with another method as the reference."""

PARTS = (
    ("lessons, beside the search items", OURS, "ours-no-lessons"),
    ("a regression to start from, in place of a uniform blend", OURS, "ours-uniform-start"),
    ("cores, in place of a gain per direction", OURS, "ours-gains"),
    ("the archive, in ours", OURS, "ours-no-archive"),
    ("the archive, with several children of elites, at as many steps", "ours-cycle", "ours-cycle-no-archive"),
    ("the same, at an equal budget", "ours-cycle", "ours-no-archive"),
    ("choosing the paper's final model on validation items", "paper-chosen", PAPER),
    ("polishing what the paper's setting found", "paper-polished", "paper-chosen"),
    ("crossover weights of each layer", "layer-weights", PAPER),
    ("crossover weights of each matrix", "module-weights", PAPER),
    ("crossover that takes each direction from one parent", "direction-crossover", PAPER),
    ("mutation that also shrinks directions", "signed-mutation", PAPER),
    ("mutation of a quarter of the directions", "sparse-mutation", PAPER),
    ("step sizes learned from success", "learned-step", PAPER),
    ("racing", "racing", PAPER),
    ("doubt about lucky scores", "doubt", PAPER),
)
"""What a part is, who has it, and who lacks it."""


def claims_of(found: Standings) -> list[Claim]:
    """Return every claim; one whose trials are not all there is not shown."""
    return [better_than_all(found), keeps(found), cheaper(found)]


def better_than_all(found: Standings) -> Claim:
    """Ours against everybody who is not a part of it and plays with every seed; the others are judged as parts."""
    claim = f"{OURS} is better than each method of others with all seeds, by an interval that excludes zero"
    wanted = Counter({row.method: len(row.seeds) for row in found.rows})
    wanted.update(method for method, _ in found.missing)
    rivals = {name for name, seeds in wanted.items() if seeds == max(wanted.values()) and not name.startswith(OURS)}
    unplayed = list(dict.fromkeys(method for method, _ in found.missing if method in rivals))
    complete = [row for row in found.rows if row.versus and row.method in rivals and row.method not in unplayed]
    unclear = [row.method for row in complete if row.versus and row.versus.high >= 0]
    measured = f"{len(complete) - len(unclear)} of the {len(complete)} that are finished"
    measured += f", not {', '.join(unclear)}" if unclear else ""
    measured += f"; not finished: {', '.join(unplayed)}" if unplayed else ""
    return claim, measured, FAILS if unclear else OPEN if unplayed or not complete else HOLDS


def keeps(found: Standings) -> Claim:
    """Ours against each expert on that expert's own task: in the mean, and at the worse end of the interval."""
    claim = f"{OURS} keeps at least {100 * LEAST_KEPT:.0f} % of every expert's own skill"
    rows = {row.method: row for row in found.rows}
    kept, least = {}, {}
    for task, expert in found.own_experts.items():
        versus = rows[expert].versus if expert in rows else None
        if versus is None:
            return claim, f"no trial of {expert} with a seed of {OURS}", OPEN
        score = rows[expert].tasks[task].mean
        kept[task], least[task] = 1 - versus.tasks[task].mean / score, 1 - versus.tasks[task].high / score
    told = ", ".join(f"{task} {100 * kept[task]:.0f} % (at least {100 * least[task]:.0f} %)" for task in kept)
    if min(kept.values()) < LEAST_KEPT:
        return claim, told, FAILS
    return claim, told, HOLDS if min(least.values()) >= LEAST_KEPT else IN_THE_MEAN


def cheaper(found: Standings) -> Claim:
    """The paper's final score for fewer tokens."""
    claim = f"the score of {PAPER} is reached with at most {100 * MOST_SPENT:.0f} % of its tokens"
    rows = {row.method: row for row in found.rows}
    absent = [name for name in (QUARTER, PAPER) if name not in rows]
    if absent:
        return claim, f"no trial of {' and '.join(absent)}", OPEN
    ours, paper = rows[QUARTER], rows[PAPER]
    spent = ours.tokens / paper.tokens
    scores = f"{100 * ours.mean.mean:.1f} against {100 * paper.mean.mean:.1f}"
    measured = f"{QUARTER}: {scores} with {100 * spent:.1f} %, {len(ours.seeds)} seeds"
    if spent > MOST_SPENT or ours.mean.low < paper.mean.high:
        return claim, measured, FAILS
    return claim, measured, OPEN if any(method in (QUARTER, PAPER) for method, _ in found.missing) else HOLDS


def parts_of(against: Against) -> list[Claim]:
    """Return whether each part helps: who has it against who lacks it, paired by seed and item."""
    return [_part(what, whole, without, against(without)) for what, whole, without in PARTS]


def _part(what: str, whole: str, without: str, found: Standings) -> Claim:
    asked = f"{what} (`{whole}` against `{without}`)"
    rows = {row.method: row for row in found.rows}
    row: Row | None = rows.get(whole)
    if row is None or row.versus is None:
        return asked, f"no seed that both {whole} and {without} have", OPEN
    change, common = row.versus, len(set(row.seeds) & set(rows[without].seeds))
    interval = f"{points(change.mean)} [{points(change.low)}, {points(change.high)}]"
    measured = f"{interval} points, {common} seed{'s' if common > 1 else ''}"
    if any(method in (whole, without) for method, _ in found.missing):
        measured += ", not finished"
    return asked, measured, HELPS if change.low > 0 else HARMS if change.high < 0 else UNCLEAR
