"""How a result reaches the store: everything that it refers to first, the result itself last."""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from cycleqd import keys
from cycleqd.errors import BadData
from cycleqd.records import Result, Transcript, read_result
from cycleqd.store import ObjectStore
from cycleqd_runner.ending import WRITING


def write_result(store: ObjectStore, result: Result, transcripts: Sequence[Transcript]) -> bool:
    """Write the successful transcripts and then the result; a worker that has to stop does it after that.

    Returns:
        Whether this was the first result of that individual and evaluation; a later one changes nothing.
    """
    lines = "\n".join(transcript.model_dump_json() for transcript in transcripts)
    key, data = keys.result(result.id, result.evaluation), result.model_dump_json().encode()
    with WRITING:
        store.put_once(keys.transcripts(result.id), zstandard.compress(lines.encode()))
        if store.put_once(key, data):
            return True
        try:
            read_result(store.get(key), key)
        except BadData:
            store.put(key, data)  # write-once protects results; what is none would keep its child from being done
            return True
    return False


def read_transcripts(store: ObjectStore, individual: int) -> list[Transcript]:
    """Return the successful transcripts of an individual. Raises :class:`~cycleqd.errors.MissingObject`."""
    lines = zstandard.decompress(store.get(keys.transcripts(individual))).decode().splitlines()
    return [Transcript.model_validate_json(line) for line in lines]
