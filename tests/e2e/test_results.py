"""The claims of docs/results.md hold in small."""

from __future__ import annotations

import pytest

from cycleqd_runner.contest.standings import Standings
from tests.e2e.comparison import Comparison

pytestmark = [pytest.mark.e2e, pytest.mark.meanwhile, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def found(comparison: Comparison) -> Standings:
    return comparison.standings()


def test_ours_is_better_than_the_papers_setting_at_an_equal_budget(found: Standings) -> None:
    rows = {row.method: row for row in found.rows}
    assert not found.missing
    for name in ("ours", "paper"):
        assert 0 < rows[name].tokens <= 1.1 * rows[name].limit
    for name in ("paper", "average"):
        versus = rows[name].versus
        assert versus is not None
        assert versus.high < 0, f"{name} differs from ours by {versus}"


def test_ours_keeps_more_of_every_experts_skill_than_an_average_does(found: Standings) -> None:
    kept = {row.method: min(share or 0.0 for share in row.kept.values()) for row in found.rows}
    assert kept["ours"] > max(kept["paper"], kept["average"])


def test_a_quarter_of_the_papers_tokens_suffices_for_its_score(found: Standings) -> None:
    rows = {row.method: row for row in found.rows}
    assert rows["ours-quarter"].tokens <= rows["paper"].tokens / 4
    assert rows["ours-quarter"].mean.mean > rows["paper"].mean.mean
