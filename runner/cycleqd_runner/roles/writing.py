"""How a result reaches the store, everything that it refers to first, the result itself last; and the worker's log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cycleqd import keys
from cycleqd.errors import BadData
from cycleqd.records import Result, Transcript, read_result
from cycleqd.store import ObjectStore
from cycleqd_runner.ending import WRITING
from cycleqd_runner.transcripts import packed

_LOG = logging.getLogger(__name__)
SCORED = "Scored "
"""How a line about an evaluation begins in a worker's log."""


def write_result(store: ObjectStore, result: Result, transcripts: Sequence[Transcript]) -> bool:
    """Write the transcripts that are kept and then the result; a worker that has to stop does it after that.

    Returns:
        Whether this was the first result of that individual and evaluation; a later one changes nothing.
    """
    key, data = keys.result(result.id, result.evaluation), result.model_dump_json().encode()
    _LOG.info(describe(result))
    with WRITING:
        store.put_once(keys.transcripts(result.id, result.evaluation), packed(transcripts))
        if store.put_once(key, data):
            return True
        try:
            read_result(store.get(key), key)
        except BadData:
            store.put(key, data)  # write-once protects results; what is none would keep its child from being done
            return True
    return False


def describe(result: Result) -> str:
    """Return one line about a result, for the log of its worker."""
    origin = f"{result.emitter} from {' and '.join(map(str, result.parents))}" if result.parents else result.emitter
    if result.complete:
        scores = [f"{own.task} {own.score:.3f}" for own in result.evaluations]
    elif result.stop:
        scores = [f"stopped by racing after {sum(result.stop.asked)} of {sum(result.stop.items)} items"]
    else:
        scores = [f"{own.task} not scored ({own.unscored[0].reason})" for own in result.evaluations if own.unscored]
    again = f", evaluation {result.evaluation}" if result.evaluation else ""
    return f"{SCORED}individual {result.id} ({origin}{again}) in {result.timings.seconds:.0f} s: {', '.join(scores)}"
