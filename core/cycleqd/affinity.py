"""How close experts are to each other, and what that means for a merge, in plain words. Measuring is the runner's work.

Children are sums of the experts' task vectors. The further apart the experts, the less a sum is like any of them: the
paper compares its experts' distances and singular values for that reason (Table 4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import ValidationError, computed_field

from cycleqd import keys
from cycleqd.errors import MissingObject
from cycleqd.records import Record
from cycleqd.store import ObjectStore

Standing = Literal["unchanged", "far apart", "opposed", "apart", "the same", "unlike", "close"]

FAR = 0.5
"""Distance as a share of the base model's norm. Continual pre-training moves weights by up to 0.03, more than the 0.02
that weights of language models typically are, and merging then loses skills; supervised fine-tuning moves them by 0.002
to 0.005 (Yu et al., "Language models are super Mario", ICML 2024). This lies between the two, nearer to the former."""
APART = 0.1
"""Likewise, where supervised fine-tuning ends: the quickstart's adapters are 0.01 apart, 0.002 of 0.02 is a tenth."""
OPPOSED = -0.1
"""Cosine of task vectors. Those of different skills are nearly orthogonal (Ilharco et al., "Editing models with task
arithmetic", ICLR 2023), so a clearly negative one means that each undoes some of the other."""
SAME = 0.95
"""Cosine of task vectors: the angle is below 20 degrees, so that a sum of both is like either of them."""
UNLIKE = 0.8
"""Cosine of the leading 16 singular values. The quickstart's experts have 0.99; a sixteenfold decay against none has
0.78, one direction against 16 equal ones 0.25."""


class Pair(Record):
    """Two experts, compared."""

    first: str
    second: str
    distance: float
    """Norm of their difference as a share of the base model's norm."""
    cosine: float | None
    """Of their task vectors, in [-1, 1]; None: one of them does not differ from the base model."""
    spectra: float | None
    """Cosine of the leading singular values of their task vectors, in [0, 1]: the mean over the weight matrices that
    both change; None: there is none."""
    overlap: float | None
    """Share of the leading right singular directions (of inputs) that they have in common, in [0, 1]; likewise."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def standing(self) -> Standing:
        """How close they are, in a word or two."""
        return next(standing for standing, holds, _ in _TABLE if holds(self))


class Affinity(Record):
    """All experts of a run, compared two by two."""

    sizes: dict[str, float]
    """Norm of each expert's task vector as a share of the base model's norm."""
    pairs: tuple[Pair, ...]

    @property
    def worst(self) -> Pair:
        """The pair that promises least."""
        return min(self.pairs, key=lambda pair: _ORDER.index(pair.standing))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> str:
        """What to expect of a merge of all of them, and what to do: one or two sentences."""
        worst = self.worst
        alike, all_pairs = sum(pair.standing == worst.standing for pair in self.pairs), len(self.pairs)
        who = "All experts" if alike == all_pairs > 1 else f"{worst.first} and {worst.second}"
        others = f" The same holds for {alike - 1} more of {all_pairs} pairs." if 1 < alike < all_pairs else ""
        return f"{who} are {_WORDS[worst.standing]}{others}"


def read_affinity(store: ObjectStore) -> Affinity | None:
    """Return what was found out about a run's experts; None: nothing yet, or by a version that writes other records."""
    try:
        return Affinity.model_validate_json(store.get(keys.AFFINITY))
    except (MissingObject, ValidationError):
        return None


_TABLE: tuple[tuple[Standing, Callable[[Pair], bool], str], ...] = (
    (
        "unchanged",
        lambda pair: pair.cosine is None,
        "not both fine-tuned: one does not differ from the base model. Give the fine-tuned weights.",
    ),
    (
        "far apart",
        lambda pair: pair.distance > FAR,
        "far apart: expect a merge to lose skills. Fine-tune all experts from this base model, for fewer steps.",
    ),
    (
        "opposed",
        lambda pair: pair.cosine is not None and pair.cosine < OPPOSED,
        "opposed: each undoes some of what the other learned. Expect a trade-off between their skills.",
    ),
    (
        "apart",
        lambda pair: pair.distance > APART,
        "apart: a merge may lose skills. Experts that were fine-tuned for fewer steps merge better.",
    ),
    (
        "the same",
        lambda pair: pair.cosine is not None and pair.cosine > SAME,
        "nearly the same: there is little to merge. Check that these are the experts that you mean.",
    ),
    (
        "unlike",
        lambda pair: pair.spectra is not None and pair.spectra < UNLIKE,
        "close, but change the model differently, one in few directions and one in many: merging may take longer.",
    ),
    ("close", lambda _: True, "close to each other: merging is likely to work."),
)
"""Standings from bad to good: the first that holds counts; what it means completes "A and B are"."""

_ORDER = [standing for standing, _, _ in _TABLE]
_WORDS = {standing: words for standing, _, words in _TABLE}
