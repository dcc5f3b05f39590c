"""Where a breed worker's time goes once it is warm: from the timings in the results of a finished quickstart.

That is the one in the paper's setting, where breeding is arithmetic; guided children take gradient steps.
Run ``python -m benchmarks.worker [STORAGE URI]`` after ``make quickstart``, or with the URI of a run on a cluster.
"""

from __future__ import annotations

import sys
from statistics import fmean, median

from benchmarks.report import Figure, absent, at_least, publish
from cycleqd import keys
from cycleqd.errors import BadData
from cycleqd.identity import read_spec
from cycleqd.records import read_result
from cycleqd.store import open_store

DEFAULT = "runs/quickstart-paper"


def main() -> int:
    """Publish the figures. Returns the exit code."""
    uri = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    store = open_store(uri)
    try:
        experts = len(read_spec(store).experts)
    except BadData as error:
        return absent(__file__, f"{error} make quickstart makes one.")
    results = [read_result(store.get(key), key) for key in store.list(keys.RESULTS)]
    timings = [result.timings for result in results if result.id >= experts]
    opened = [timing.open_seconds for timing in timings if timing.open_seconds]
    whole = sum(timing.seconds for timing in timings)
    parts = {
        "breeding": sum(timing.breed_seconds for timing in timings),
        "loading the child": sum(timing.load_seconds for timing in timings),
        "writing": sum(timing.write_seconds for timing in timings),
    }
    figures = [
        Figure("children of the quickstart", len(timings), ""),
        at_least(
            "evaluation's share of a breed worker's time after loading",
            100 * sum(timing.evaluate_seconds for timing in timings) / whole,
            "%",
            95,
        ),
        *(Figure(f"{name}'s share", 100 * seconds / whole, "%") for name, seconds in parts.items()),
        Figure("a child, median", median(timing.seconds for timing in timings), "s"),
        Figure("opening model, engine and items, once a worker, mean", fmean(opened) if opened else 0.0, "s"),
    ]
    return publish(__file__, figures, ("torch", "transformers"))


if __name__ == "__main__":
    sys.exit(main())
