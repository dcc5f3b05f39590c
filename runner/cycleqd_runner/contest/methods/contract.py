"""What a method is that proposes models one after another. Which there are is the table in the package's ``__init__``.

A proposer is a generator. It yields a :class:`Candidate`, is sent its search scores (n_tasks,), and so on; it ends when
it has nothing more to propose, or is left when the budget is spent. Every draw comes from the arena's seed, so a
proposer that is started again proposes the same models, whose evaluations are remembered: nothing else is resumed
(what was trained is trained again).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cycleqd.genome import Genome
from cycleqd_runner.assess import Weights
from cycleqd_runner.contest.arena import Arena

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A model that a method proposes.

    Attributes:
        label: for people, short.
        make: returns its genome, or its weights; called if the budget allows.
        training: tokens that making it passes forward and backward; each pass counts.
    """

    label: str
    make: Callable[[], Genome | Weights]
    training: int = 0


Proposals = Generator[Candidate, Scores, None]
Propose = Callable[[Arena, Any], Proposals]
"""Takes the arena and the method's settings (:mod:`cycleqd_runner.contest.spec`)."""
