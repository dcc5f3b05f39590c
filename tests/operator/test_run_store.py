"""What the operator reads of a run's store and writes to it; against a folder, deletion also against S3."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cycleqd import keys
from cycleqd.affinity import Affinity, Pair
from cycleqd.api import CycleQDRun, RunSpec
from cycleqd.errors import RunMismatch, UnsupportedHere
from cycleqd.failures import Failure
from cycleqd.identity import claim, read_identity, read_spec
from cycleqd.log import COMPACT_EVERY
from cycleqd.manifest import parse_manifest
from cycleqd.store import FolderStore, ObjectStore, open_store
from cycleqd_operator.run_store import RunStore, delete_everything
from tests.core.support import spec_dict, write_report
from tests.operator.api_server import run_body
from tests.operator.world import put_result

FAILURE = Failure(job="demo-breed-3", role="breed", individual=3, message="It died.", at=1.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    monkeypatch.setattr("cycleqd.store.folder.make_durable", lambda path: None)
    return FolderStore(tmp_path / "store")


class Counting:
    """A store that counts the calls of each kind."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls.append(f"{name} {arguments[0] if arguments else ''}")
            return attribute(*arguments, **options)

        return counted if callable(attribute) else attribute


def manifest(uid: str = "uid-1", **fields: Any) -> CycleQDRun:
    return parse_manifest(run_body("demo", spec_dict(**{"search": {"children": 4}, **fields}), uid=uid))


def spec(**fields: Any) -> RunSpec:
    return manifest(**fields).spec


class TestClaim:
    def test_it_tells_workers_the_spec_of_each_generation_once(self, folder: FolderStore) -> None:
        counting = Counting(folder)
        opened = RunStore(counting)
        opened.claim(manifest(), 1)
        assert read_identity(folder).uid == "uid-1"
        counting.calls.clear()
        opened.claim(manifest(), 1)
        assert counting.calls == []
        opened.claim(manifest(search={"children": 9}), 2)
        assert read_spec(folder).search.children == 9

    def test_a_store_of_another_run_is_refused(self, folder: FolderStore) -> None:
        RunStore(folder).claim(manifest(), 1)
        with pytest.raises(RunMismatch, match=r"search\.seed = 0, but the manifest says 5"):
            RunStore(folder).claim(manifest(search={"seed": 5}), 1)

    def test_a_store_that_overwrites_is_refused(self, folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def overwrite(key: str, data: bytes) -> bool:
            folder.put(key, data)
            return True

        monkeypatch.setattr(folder, "put_once", overwrite)
        with pytest.raises(UnsupportedHere):
            RunStore(folder).claim(manifest(), 1)
        assert not folder.exists(keys.RUN)


class TestLook:
    def test_an_empty_store(self, folder: FolderStore) -> None:
        view = RunStore(folder).look(spec(), idle=True)
        assert (view.prepared, view.done, view.quarantined, view.damaged) == (frozenset(), frozenset(), (), {})
        assert (view.finalized, view.seconds_per_child, len(view.population.ids)) == (False, None, 0)

    def test_what_is_there(self, folder: FolderStore) -> None:
        opened = RunStore(folder)
        folder.put(keys.basis_manifest("sql"), b"{}")
        for individual in (0, 1, 2, 4):
            put_result(folder, individual)
        opened.give_up([3], "It kills workers.")
        folder.put(keys.result(5), b"{}")
        view = opened.look(spec(), idle=False)
        assert view.prepared == {"sql"}
        assert view.done == {0, 1, 2, 3, 4}
        assert view.quarantined == (3,)
        assert list(view.damaged) == [keys.result(5)]
        assert view.population.ids.tolist() == [0, 1, 2, 4]
        assert (view.seconds_per_child, view.evaluation_share) == (10, 0.8)

    def test_results_are_read_once(self, folder: FolderStore) -> None:
        counting = Counting(folder)
        opened = RunStore(counting)
        for individual in range(5):
            put_result(folder, individual)
        opened.look(spec(), idle=False)
        counting.calls.clear()
        put_result(folder, 5)
        view = opened.look(spec(), idle=False)
        assert [call for call in counting.calls if call.startswith("get")] == [f"get {keys.result(5)}"]
        assert view.done == {0, 1, 2, 3, 4, 5}

    def test_preparation_is_asked_for_until_it_is_there(self, folder: FolderStore) -> None:
        counting = Counting(folder)
        opened = RunStore(counting)
        folder.put(keys.basis_manifest("sql"), b"{}")
        opened.look(spec(), idle=False)
        counting.calls.clear()
        opened.look(spec(), idle=False)
        asked = [call for call in counting.calls if call.startswith("exists")]
        assert asked == [f"exists {keys.basis_manifest(name)}" for name in ("shell", "python")]

    def test_many_results_are_compacted(self, folder: FolderStore) -> None:
        for individual in range(COMPACT_EVERY):
            put_result(folder, individual)
        RunStore(folder).look(spec(search={"children": 500}), idle=False)
        assert list(folder.list(keys.ARCHIVE)) == [keys.compaction(COMPACT_EVERY)]

    @pytest.mark.parametrize(
        ("settled", "fields", "idle", "finalized"),
        [
            (7, {}, True, True),
            (7, {}, False, False),
            (6, {}, True, False),
            (6, {"desiredState": "Finished"}, True, True),
            (7, {"search": {"children": 5}}, True, False),
        ],
        ids=["all there", "a worker runs", "one child missing", "finished early", "more children wanted"],
    )
    def test_the_report_ends_a_run_when_it_is_about_all(
        self, folder: FolderStore, settled: int, fields: dict[str, Any], idle: bool, finalized: bool
    ) -> None:
        for individual in range(settled):
            put_result(folder, individual)
        claim(folder, manifest())
        write_report(folder)
        assert RunStore(folder).look(spec(**fields), idle=idle).finalized is finalized

    def test_a_result_that_came_after_the_report_makes_it_old(self, folder: FolderStore) -> None:
        for individual in range(6):
            put_result(folder, individual)
        claim(folder, manifest())
        write_report(folder)
        opened = RunStore(folder)
        assert opened.look(spec(desiredState="Finished"), idle=True).finalized
        put_result(folder, 6)
        assert not opened.look(spec(desiredState="Finished"), idle=True).finalized


class TestFailures:
    def test_a_note_is_written_once(self, folder: FolderStore) -> None:
        opened = RunStore(folder)
        opened.note("job-1", FAILURE)
        opened.note("job-1", FAILURE.model_copy(update={"message": "Something else."}))
        assert opened.failures == (FAILURE,)
        assert list(folder.list(keys.FAILURES)) == [keys.failure("job-1")]
        assert Failure.model_validate_json(folder.get(keys.failure("job-1"))) == FAILURE

    def test_another_process_reads_it(self, folder: FolderStore) -> None:
        RunStore(folder).note("job-1", FAILURE)
        later = RunStore(folder)
        later.look(spec(), idle=True)
        assert later.failures == (FAILURE,)

    def test_notes_that_cannot_be_read_accuse_nobody(self, folder: FolderStore) -> None:
        folder.put(keys.failure("job-1"), b"half a no")
        opened = RunStore(folder)
        opened.look(spec(), idle=True)
        assert opened.failures == ()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, folder: FolderStore) -> ObjectStore:
    """A store of each kind."""
    if request.param == "folder":
        return folder
    bucket: str = request.getfixturevalue("s3_bucket")
    return open_store(f"{bucket}/{secrets.token_hex(4)}/demo")


class TestDeleteEverything:
    @staticmethod
    def fill(store: ObjectStore) -> None:
        claim(store, manifest())
        put_result(store, 0)
        for key in (keys.basis_manifest("sql"), keys.genome(3), keys.transcripts(3), keys.compaction(100), keys.REPORT):
            store.put(key, b"{}")
        for key in (keys.quarantine(3), keys.failure("job-1"), keys.SPLITS, f"{keys.MODEL}/config.json"):
            store.put(key, b"{}")

    def test_everything_of_the_run_goes_and_nothing_else(self, store: ObjectStore) -> None:
        self.fill(store)
        store.put("notes/of-a-user.txt", b"keep me")
        delete_everything(store, "uid-1")
        assert list(store.list()) == ["notes/of-a-user.txt"]

    def test_a_store_that_another_run_claimed_is_left_alone(self, store: ObjectStore) -> None:
        self.fill(store)
        before = list(store.list())
        with pytest.raises(RunMismatch, match="was claimed by another run named demo"):
            delete_everything(store, "uid-2")
        assert list(store.list()) == before

    def test_a_store_that_nobody_claimed_is_left_alone(self, store: ObjectStore) -> None:
        store.put("results/0000000.json", b"{}")
        delete_everything(store, "uid-1")
        assert list(store.list()) == ["results/0000000.json"]

    @pytest.mark.parametrize("after", range(1, 12))
    def test_an_interrupted_deletion_goes_on(
        self, folder: FolderStore, after: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fill(folder)
        left = [after]
        for name in ("delete", "delete_prefix"):
            monkeypatch.setattr(folder, name, _breaks(getattr(folder, name), left))
        with pytest.raises(InterruptedError):
            delete_everything(folder, "uid-1")
        monkeypatch.undo()
        delete_everything(folder, "uid-1")
        assert list(folder.list()) == []


def _breaks(function: Callable[[str], Any], left: list[int]) -> Callable[[str], Any]:
    def used(key: str) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise InterruptedError
        return function(key)

    return used


def test_what_was_found_out_about_the_experts_is_told_once_all_are_prepared(folder: FolderStore) -> None:
    run = parse_manifest(run_body("demo", spec_dict()))
    pair = Pair(first="sql", second="shell", distance=0.7, cosine=0.0, spectra=0.9, overlap=0.1)
    folder.put(keys.AFFINITY, Affinity(sizes={}, pairs=(pair,)).model_dump_json().encode())
    store = RunStore(folder)
    for expert in run.spec.experts:
        assert store.look(run.spec, idle=True).verdict == ""
        folder.put_once(keys.basis_manifest(expert.name), b"{}")
    assert store.look(run.spec, idle=True).verdict.startswith("sql and shell are far apart: expect a merge to lose")
