"""Methods that look for one coefficient per expert: theta = theta0 + sum_k c_k tau_k."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cycleqd.rng import generator
from cycleqd_runner.contest.arena import Arena
from cycleqd_runner.contest.methods.contract import Candidate, Proposals, Scores
from cycleqd_runner.contest.spec import CmaEs, NsgaII, PolicyGradient, RandomSearch


def random_search(arena: Arena, method: RandomSearch) -> Proposals:
    """Propose coefficients drawn uniformly and independently."""
    rng = generator(arena.seed, -1, f"contest/{method.name}")
    while True:
        yield _blend(arena, rng.uniform(method.low, method.high, arena.n_experts))


def cma_es(arena: Arena, method: CmaEs) -> Proposals:
    """Propose by the covariance matrix adaptation evolution strategy, maximising the mean over the tasks."""
    from cmaes import CMA  # noqa: PLC0415 - of the extra compare

    optimizer = CMA(
        mean=_average(arena),
        sigma=method.sigma,
        seed=arena.random_seed(method),
        population_size=method.population,
    )
    while not optimizer.should_stop():
        generation = []
        for _ in range(optimizer.population_size):
            coefficients = optimizer.ask()
            scores = yield _blend(arena, coefficients)
            generation.append((coefficients, -float(scores.mean())))
        optimizer.tell(generation)


def policy_gradient(arena: Arena, method: PolicyGradient) -> Proposals:
    """Propose from a normal policy that follows the gradient of the expected mean score.

    Williams (1992): E[(r - b) grad log pi], with the mean of a step's rewards as the baseline b, rewards scaled to
    variance 1, and the steps measured in the policy's own standard deviation.
    """
    rng = generator(arena.seed, -1, f"contest/{method.name}")
    mean = _average(arena)
    logarithm = np.full(arena.n_experts, np.log(method.standard_deviation))
    while True:
        draws = rng.standard_normal((method.population, arena.n_experts))
        rewards = np.zeros(method.population)
        for row, draw in enumerate(draws):
            scores = yield _blend(arena, mean + np.exp(logarithm) * draw)
            rewards[row] = scores.mean()
        spread = rewards.std()
        advantage = (rewards - rewards.mean()) / (spread if spread > 0 else 1.0) / method.population
        mean = mean + method.learning_rate * np.exp(logarithm) * (advantage @ draws)
        logarithm = logarithm + method.learning_rate * (advantage @ (draws**2 - 1))


def nsga_ii(arena: Arena, method: NsgaII) -> Proposals:
    """Propose by the non-dominated sorting genetic algorithm; every task's score is an objective."""
    from pymoo.algorithms.moo.nsga2 import NSGA2  # noqa: PLC0415 - of the extra compare
    from pymoo.core.evaluator import Evaluator  # noqa: PLC0415
    from pymoo.core.problem import Problem  # noqa: PLC0415
    from pymoo.problems.static import StaticProblem  # noqa: PLC0415

    problem = Problem(n_var=arena.n_experts, n_obj=arena.n_experts, xl=method.low, xu=method.high)
    algorithm = NSGA2(pop_size=method.population)
    algorithm.setup(problem, seed=arena.random_seed(method), verbose=False)
    while algorithm.has_next():
        generation = algorithm.ask()
        losses = []
        for coefficients in generation.get("X"):
            scores = yield _blend(arena, coefficients)
            losses.append(-scores)
        Evaluator().eval(StaticProblem(problem, F=np.array(losses)), generation)
        algorithm.tell(infills=generation)


def _average(arena: Arena) -> Scores:
    return np.full(arena.n_experts, 1.0 / arena.n_experts)


def _blend(arena: Arena, coefficients: npt.NDArray[np.float64]) -> Candidate:
    numbers = [float(coefficient) for coefficient in coefficients]
    label = " ".join(f"{number:+.2f} {name}" for number, name in zip(numbers, arena.names, strict=True))
    return Candidate(label, lambda: arena.blend(numbers))
