"""Which run something belongs to: the few facts of its metadata that Jobs, events and requests need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class RunRef:
    """A CycleQDRun in the cluster.

    Attributes:
        name: of the run.
        namespace: it and its Jobs live in.
        uid: tells it from earlier runs of the same name.
        generation: of its spec.
    """

    name: str
    namespace: str
    uid: str
    generation: int

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Return which run ``body`` is, a CycleQDRun as the API server tells it."""
        metadata = body["metadata"]
        return cls(metadata["name"], metadata["namespace"], metadata["uid"], int(metadata["generation"]))
