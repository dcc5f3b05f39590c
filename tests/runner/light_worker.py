"""A worker without models, for tests of the local executor: real processes and a real store, results made up.

Usage: python light_worker.py MISBEHAVIOUR ID STORE. With ``dies`` it kills itself whenever it is asked for child ID,
with ``fails`` it reports a temporary failure of preparing expert ID once, with ``drains`` it stops before child ID.
"""

from __future__ import annotations

import os
import signal
import sys

from cycleqd import keys
from cycleqd.errors import StoreUnreachable
from cycleqd.orders import Order, Outcome
from cycleqd.store import ObjectStore, open_store
from tests.core.support import make_result, write_report


def work(store: ObjectStore, order: Order, misbehaviour: str, subject: str) -> Outcome:
    if order.role == "prepare":
        if misbehaviour == "fails" and order.subject == subject and store.put_once("failed-once", b""):
            raise StoreUnreachable("The store was away for a moment: it is tried again.")
        store.put(keys.basis_manifest(order.subject), b"{}")
    elif order.role == "finalize":
        write_report(store)
    for individual in order.ids:
        if store.exists(keys.result(individual)):
            continue
        if misbehaviour == "drains" and individual == int(subject):
            return Outcome(ok=True, drained=True)
        if misbehaviour == "dies" and individual == int(subject):
            store.put(f"deaths/{os.getpid()}", b"")
            os.kill(os.getpid(), signal.SIGKILL)
        result = make_result(individual, [0.1 * (individual % 7), 0.1 * (individual % 5), 0.5])
        store.put_once(keys.result(individual), result.model_dump_json().encode())
    return Outcome(ok=True)


def main() -> None:
    misbehaviour, subject, uri = sys.argv[1:]
    store = open_store(uri)
    for line in sys.stdin:
        try:
            outcome = work(store, Order.model_validate_json(line), misbehaviour, subject)
        except StoreUnreachable as error:
            outcome = Outcome.of(error)
        sys.stdout.write(outcome.model_dump_json() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
