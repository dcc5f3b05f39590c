"""The methods that propose models one after another; each kind has its module. ``search`` runs them."""

from __future__ import annotations

from cycleqd_runner.contest.methods.coefficients import cma_es, nsga_ii, policy_gradient, random_search
from cycleqd_runner.contest.methods.contract import Candidate, Proposals, Propose
from cycleqd_runner.contest.methods.fine_tuning import lora, lora_on_training_data
from cycleqd_runner.contest.methods.gradients import guided, layer_wise, reg_mean
from cycleqd_runner.contest.methods.sparse import dare, ties

__all__ = ["METHODS", "Candidate", "Proposals", "Propose"]

METHODS: dict[str, Propose] = {
    "RandomSearch": random_search,
    "CmaEs": cma_es,
    "PolicyGradient": policy_gradient,
    "NsgaII": nsga_ii,
    "Ties": ties,
    "Dare": dare,
    "RegMean": reg_mean,
    "Guided": guided,
    "LayerWise": layer_wise,
    "Lora": lora,
    "LoraOnTrainingData": lora_on_training_data,
}
"""Type in the file to what proposes."""
