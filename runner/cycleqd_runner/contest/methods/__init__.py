"""The methods that propose models one after another; each kind has its module. ``search`` runs them."""

from __future__ import annotations

from cycleqd_runner.contest.methods.coefficients import cma_es, nsga_ii, policy_gradient, random_search
from cycleqd_runner.contest.methods.contract import Candidate, Propose, Scores
from cycleqd_runner.contest.methods.sparse import dare, ties

__all__ = ["METHODS", "Candidate", "Propose", "Scores"]

METHODS: dict[str, Propose] = {
    "RandomSearch": random_search,
    "CmaEs": cma_es,
    "PolicyGradient": policy_gradient,
    "NsgaII": nsga_ii,
    "Ties": ties,
    "Dare": dare,
}
"""Type in the file to what proposes."""
