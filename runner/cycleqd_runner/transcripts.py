"""Conversations in the store: one object an evaluation, JSON Lines, compressed. Who learns of them is not known."""

from __future__ import annotations

from collections.abc import Sequence

import zstandard
from pydantic import ValidationError

from cycleqd import keys
from cycleqd.errors import BadData
from cycleqd.records import Transcript
from cycleqd.store import ObjectStore


def packed(transcripts: Sequence[Transcript]) -> bytes:
    """Return the object of an evaluation's transcripts."""
    lines = "\n".join(transcript.model_dump_json() for transcript in transcripts)
    return zstandard.compress(lines.encode())


def read_transcripts(store: ObjectStore, individual: int, evaluation: int = 0) -> list[Transcript]:
    """Return what was kept of an individual's n-th evaluation, whatever became of it.

    Raises:
        MissingObject: nothing was.
        BadData: the object is damaged.
    """
    key = keys.transcripts(individual, evaluation)
    try:
        lines = zstandard.decompress(store.get(key)).decode().splitlines()
        return [Transcript.model_validate_json(line) for line in lines]
    except (zstandard.ZstdError, UnicodeDecodeError, ValidationError) as error:
        raise BadData(f"{key} in {store.uri} is damaged: there is no telling what was said; delete it.") from error
