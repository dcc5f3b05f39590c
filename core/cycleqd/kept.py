"""What a run keeps of experts that are cut to ``search.basis.rank`` directions a matrix, as preparing them measured it.

The numbers stand in the manifest of each basis, beside what only the runner needs to know.
"""

from __future__ import annotations

from pydantic import ValidationError

from cycleqd import keys
from cycleqd.api import RunSpec
from cycleqd.errors import MissingObject
from cycleqd.records import Record
from cycleqd.store import ObjectStore


class Kept(Record):
    """What the directions of all matrices together keep of an expert's task vector."""

    energy: float = 1.0
    """Share of its squared norm, in [0, 1]."""
    error: float = 0.0
    """Its relative error, measured; 0 if every matrix is exact."""

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.energy:.1%} of the energy of its task vector, relative error {self.error:.1%}"


class _Basis(Record):
    kept: Kept = Kept()


def kept_notes(store: ObjectStore, spec: RunSpec) -> tuple[str, ...]:
    """Return a sentence per prepared expert that is not exact; none where ``search.basis.rank`` is unset."""
    rank, notes = spec.search.basis.rank, []
    for name in [expert.name for expert in spec.experts] if rank is not None else ():
        try:
            kept = _Basis.model_validate_json(store.get(keys.basis_manifest(name))).kept
        except (MissingObject, ValidationError):
            continue  # not prepared yet, or damaged, which its readers report
        if kept.error:
            notes.append(f"Expert {name} is cut to search.basis.rank {rank}: it keeps {kept}.")
    return tuple(notes)
