"""Workers as Jobs start them, on a tiny run: draining, and being stopped in the middle of a block."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from tenacity import wait_none

from cycleqd import keys
from cycleqd.errors import BadManifest, StoreUnreachable
from cycleqd.identity import claim
from cycleqd.manifest import load_manifest
from cycleqd.orders import Order, Outcome
from cycleqd.records import read_result
from cycleqd.store import FolderStore
from cycleqd_runner.roles import breed as roles
from cycleqd_runner.roles import patience
from cycleqd_runner.sandbox import open_sandbox
from cycleqd_runner.session import Session
from cycleqd_runner.worker import LOG_LEVEL_VARIABLE, run_once
from tests.runner.models import save_adapter, save_llama
from tests.runner.runs import COMMAND, wait_until, write_manifest
from tests.runner.test_ending import running, terminate
from tests.runner.test_run import tiny_spec

DONE, DRAINED = Outcome(ok=True), Outcome(ok=True, drained=True)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose experts are evaluated."""
    folder = tmp_path_factory.mktemp("tiny")
    base = save_llama(folder / "base")
    experts = {name: save_adapter(base, folder / name, seed) for seed, name in enumerate(("a", "b"))}
    run = load_manifest(write_manifest(folder / "tiny.yaml", tiny_spec(folder, experts, base)))
    store = FolderStore(folder / "run")
    claim(store, run)
    for order in (Order(role="prepare", subject="a"), Order(role="prepare", subject="b")):
        assert run_once(store, order) == DONE
    assert run_once(store, Order(role="evaluate", ids=(0, 1))) == DONE
    return folder


@pytest.fixture
def tiny(evaluated: Path, tmp_path: Path) -> FolderStore:
    """A copy of its store."""
    shutil.copytree(evaluated / "run", tmp_path / "run")
    return FolderStore(tmp_path / "run")


def want(store: FolderStore, evaluated: Path, state: str) -> None:
    """Record another desired state, as the operator does."""
    run = load_manifest(evaluated / "tiny.yaml")
    claim(store, run.model_copy(update={"spec": run.spec.model_copy(update={"desired_state": state})}))


def breed(store: FolderStore, *ids: int) -> Outcome:
    return run_once(store, Order(role="breed", ids=ids))


def results_in(store: FolderStore) -> list[str]:
    return list(store.list(keys.RESULTS))


@pytest.mark.parametrize("state", ["Paused", "Suspended", "Finished", "Cancelled"])
def test_a_worker_drains_when_the_run_is_not_running(tiny: FolderStore, evaluated: Path, state: str) -> None:
    before = results_in(tiny)
    want(tiny, evaluated, state)
    assert breed(tiny, 2, 3) == DRAINED
    assert results_in(tiny) == before
    assert not tiny.exists(keys.genome(2)), "not even begun"


def test_a_worker_tells_checksums_of_its_weights_when_it_is_asked(
    tiny: FolderStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert breed(tiny, 2) == DONE
    assert not re.findall("SHA-256", caplog.text)
    monkeypatch.setenv(LOG_LEVEL_VARIABLE, "DEBUG")
    assert breed(tiny, 3, 4) == DONE
    assert len(set(re.findall("weights of SHA-256 ([0-9a-f]{64})", caplog.text))) == 2
    monkeypatch.setenv(LOG_LEVEL_VARIABLE, "LOUD")
    with pytest.raises(BadManifest, match="write INFO or DEBUG"):
        breed(tiny, 5)


def test_a_worker_that_was_paused_within_its_block_keeps_what_it_did(
    tiny: FolderStore, evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_once = FolderStore.put_once

    def pausing(store: FolderStore, key: str, data: bytes) -> bool:
        if key == keys.result(2):
            want(tiny, evaluated, "Paused")
        return put_once(store, key, data)

    monkeypatch.setattr(FolderStore, "put_once", pausing)
    assert breed(tiny, 2, 3) == DRAINED
    assert results_in(tiny) == [keys.result(individual) for individual in (0, 1, 2)]
    monkeypatch.undo()
    assert breed(tiny, 2) == DONE, "there is nothing left to stop before"
    want(tiny, evaluated, "Running")
    assert breed(tiny, 2, 3) == DONE
    assert tiny.exists(keys.result(3))


def test_a_strict_worker_that_waits_for_others_drains_when_they_are_paused(tiny: FolderStore) -> None:
    spec = json.loads(tiny.get(keys.SPEC))
    spec["search"] |= {"strict": True, "lag": 0}
    tiny.put(keys.SPEC, json.dumps(spec).encode())
    session = Session(tiny)

    async def wait_and_pause() -> bool:
        waiting = asyncio.ensure_future(_breed(session, 2, 4))  # 3 is somebody else's
        await asyncio.to_thread(wait_until, lambda: tiny.exists(keys.result(2)) or waiting.done())
        assert not waiting.done()
        tiny.put(keys.SPEC, json.dumps(spec | {"desiredState": "Paused"}).encode())
        return await waiting

    assert not asyncio.run(wait_and_pause())
    assert results_in(tiny) == [keys.result(individual) for individual in (0, 1, 2)]
    tiny.put(keys.SPEC, json.dumps(spec).encode())
    assert breed(tiny, 3) == breed(tiny, 4) == DONE
    assert read_result(tiny.get(keys.result(4)), "").seen == 4


def test_a_store_that_is_away_for_a_moment_costs_no_child(
    tiny: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is asked of the store once the worker has begun fails twice before it is answered."""
    monkeypatch.setattr(patience, "WAITS", wait_none())
    asked: Counter[tuple[object, ...]] = Counter()

    def weaken(method: str) -> None:
        original = getattr(FolderStore, method)

        def call(store: FolderStore, *arguments: object) -> object:
            asked[method, arguments[0]] += 1
            if keys.SPLITS in arguments or keys.RUN in arguments or asked[method, arguments[0]] > 2:
                return original(store, *arguments)
            raise StoreUnreachable(f"{method} {arguments[0]} is not answered.")

        monkeypatch.setattr(FolderStore, method, call)

    session = Session(tiny)
    for method in ("get", "put_once", "list", "exists"):
        weaken(method)
    assert asyncio.run(_breed(session, 2, 3))
    monkeypatch.undo()
    assert results_in(tiny) == [keys.result(individual) for individual in range(4)]
    assert {("put_once", keys.result(2)), ("get", keys.SPEC), ("put_once", keys.genome(3))} <= set(asked)
    assert "put_once transcripts/0000002.jsonl.zst is not answered. Waiting" in capsys.readouterr().err


async def _breed(session: Session, *ids: int) -> bool:
    async with open_sandbox("Auto") as sandbox:
        return await roles.breed(session, ids, sandbox)


def test_a_worker_is_not_patient_with_a_store_that_it_never_reached(
    tiny: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(*_: object) -> bytes:
        asked.append(1)
        raise StoreUnreachable("Nobody is there.")

    asked: list[int] = []
    monkeypatch.setattr(FolderStore, "get", get)
    with pytest.raises(StoreUnreachable):
        breed(tiny, 2)
    assert len(asked) == 1


def test_timings_cover_a_worker(tiny: FolderStore) -> None:
    start = time.perf_counter()
    assert breed(tiny, 2, 3, 4) == DONE
    whole = time.perf_counter() - start
    timings = [read_result(tiny.get(keys.result(individual)), "").timings for individual in (2, 3, 4)]
    assert timings[0].open_seconds > 0
    assert timings[0].write_seconds == 0
    for warm in timings[1:]:
        assert warm.open_seconds < timings[0].open_seconds
        assert min(warm.breed_seconds, warm.load_seconds, warm.evaluate_seconds, warm.write_seconds) > 0
    assert sum(each.open_seconds + each.seconds for each in timings) <= whole


def test_a_worker_is_stopped_within_its_block(tiny: FolderStore) -> None:
    with running(*COMMAND, "worker", "breed", "--run", tiny.uri, "--ids", "2-100000") as worker:
        wait_until(lambda: tiny.exists(keys.result(4)) or worker.poll() is not None)
        code, printed = terminate(worker)
    assert (code, "Traceback" in printed) == (143, False), printed
    assert [keys.parse_result(key) for key in results_in(tiny)] == [(n, 0) for n in range(len(results_in(tiny)))]
