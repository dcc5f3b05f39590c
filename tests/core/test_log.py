"""The log of results in a real store: incremental, tolerant of damage, and compaction is only a short cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cycleqd import keys
from cycleqd.log import COMPACT_EVERY, ResultLog
from cycleqd.records import Stop
from cycleqd.store import FolderStore
from tests.core.support import make_result, run_spec

SPEC = run_spec()


class CountingStore(FolderStore):
    """A folder store that remembers what was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []

    def get(self, key: str) -> bytes:
        self.reads.append(key)
        return super().get(key)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path)


def _write(store: FolderStore, *individuals: int, evaluation: int = 0, score: float = 0.5) -> None:
    for individual in individuals:
        result = make_result(individual, [score] * 3, evaluation)
        store.put_once(keys.result(individual, evaluation), result.model_dump_json().encode())


def test_only_what_is_new_is_read(store: CountingStore) -> None:
    log = ResultLog(store)
    assert log.refresh() == 0
    _write(store, 0, 1, 2)
    assert log.refresh() == 3
    store.reads.clear()
    _write(store, 3)
    assert log.refresh() == 1
    assert store.reads == [keys.result(3)]
    assert log.refresh() == 0
    assert log.done == {0, 1, 2, 3}


def test_results_that_arrive_out_of_order_are_found(store: CountingStore) -> None:
    log = ResultLog(store)
    _write(store, 9)
    log.refresh()
    _write(store, 4)
    _write(store, 9, evaluation=1)
    assert log.refresh() == 2
    assert log.done == {4, 9}
    assert {(entry.id, entry.evaluation) for entry in log.entries.values()} == {(4, 0), (9, 0), (9, 1)}


@pytest.mark.parametrize(
    ("key", "data", "message"),
    [
        pytest.param(keys.result(5), b"", "is not a result", id="empty"),
        pytest.param(keys.result(5), b'{"id": 5, "gen', "is not a result", id="truncated"),
        pytest.param(keys.result(5), b'{"id": 5}', "is not a result", id="fields missing"),
        pytest.param(
            keys.result(5), make_result(6, [0.5] * 3).model_dump_json().encode(), "holds result 6", id="another child's"
        ),
        pytest.param(
            keys.result(5), make_result(5, [0.5] * 3, 2).model_dump_json().encode(), "5-2", id="another evaluation's"
        ),
        pytest.param(
            "results/notes.json", make_result(5, [0.5] * 3).model_dump_json().encode(), "notes", id="foreign key"
        ),
    ],
)
def test_damage_is_reported_and_the_child_is_not_done(
    store: CountingStore, key: str, data: bytes, message: str
) -> None:
    _write(store, 0, 1, 2)
    store.put(key, data)
    log = ResultLog(store)
    assert log.refresh() == 3
    assert log.done == {0, 1, 2}
    assert list(log.damaged) == [key]
    assert message in log.damaged[key]


def test_a_replaced_object_is_no_longer_damaged(store: CountingStore) -> None:
    store.put(keys.result(5), b"half a res")
    log = ResultLog(store)
    log.refresh()
    store.put(keys.result(5), make_result(5, [0.5] * 3).model_dump_json().encode())
    assert log.refresh() == 1
    assert log.damaged == {}
    assert log.done == {5}


def test_a_quarantined_child_is_done_but_in_no_archive(store: CountingStore) -> None:
    _write(store, 0, 1, 2)
    store.put_once(keys.quarantine(7), b"{}")
    log = ResultLog(store)
    log.refresh()
    assert log.quarantined == {7}
    assert log.done == {0, 1, 2, 7}
    assert log.population(SPEC).ids.tolist() == [0, 1, 2]


def test_an_unscored_result_is_done_but_in_no_archive(store: CountingStore) -> None:
    _write(store, 0, 1, 2)
    store.put_once(keys.result(3), make_result(3, [0.5, None, 0.5]).model_dump_json().encode())
    log = ResultLog(store)
    log.refresh()
    assert 3 in log.done
    assert log.population(SPEC).ids.tolist() == [0, 1, 2]


def test_a_result_of_another_run_is_reported_and_in_no_archive(store: CountingStore) -> None:
    _write(store, 0, 1, 2)
    store.put_once(keys.result(3), make_result(3, [0.5, 0.5]).model_dump_json().encode())
    log = ResultLog(store)
    log.refresh()
    assert log.population(SPEC).ids.tolist() == [0, 1, 2]
    assert log.damaged == {keys.result(3): f"The object {keys.result(3)} has 2 scores for 3 tasks."}


def test_below_hides_later_ids(store: CountingStore) -> None:
    _write(store, *range(8))
    log = ResultLog(store)
    log.refresh()
    assert log.population(SPEC, below=5).ids.tolist() == [0, 1, 2, 3, 4]


def _compacted(store: CountingStore, results: int = COMPACT_EVERY + 5) -> ResultLog:
    for individual in range(results):
        _write(store, individual, score=individual % 11 / 10)
    log = ResultLog(store)
    log.refresh()
    log.compact()
    return log


def test_few_results_are_not_compacted(store: CountingStore) -> None:
    _compacted(store, COMPACT_EVERY - 1)
    assert list(store.list(keys.ARCHIVE)) == []


def test_a_compaction_saves_reading_and_changes_nothing(store: CountingStore) -> None:
    full = _compacted(store)
    _write(store, 500)
    full.refresh()
    store.reads.clear()
    short = ResultLog(store)
    short.refresh()
    assert store.reads == [keys.compaction(COMPACT_EVERY + 5), keys.result(500)]
    assert short.entries == full.entries


def test_a_compaction_of_before_timings_were_kept_still_serves(store: CountingStore) -> None:
    full = _compacted(store)
    key = keys.compaction(COMPACT_EVERY + 5)
    compaction = json.loads(store.get(key))
    for entry in compaction["entries"].values():
        del entry["seconds"], entry["evaluate_seconds"]
    store.put(key, json.dumps(compaction).encode())
    store.reads.clear()
    again = ResultLog(store)
    again.refresh()
    assert store.reads == [key]
    assert again.entries == full.entries


def test_items_are_kept_and_compacted_where_archives_compare_them(store: CountingStore) -> None:
    _compacted(store)
    with_items = ResultLog(store, items=True)
    with_items.refresh()
    assert {entry.items for entry in with_items.entries.values()} == {("1",) * 3, ("0",) * 3}
    with_items._compacted = 0
    with_items.compact()
    store.reads.clear()
    again = ResultLog(store, items=True)
    again.refresh()
    assert store.reads == [keys.compaction(COMPACT_EVERY + 5)]
    assert again.entries == with_items.entries


def test_a_compaction_can_be_deleted(store: CountingStore) -> None:
    full = _compacted(store)
    assert store.delete_prefix(keys.ARCHIVE) == 1
    again = ResultLog(store)
    again.refresh()
    assert again.entries == full.entries


def test_a_damaged_compaction_is_passed_over(store: CountingStore) -> None:
    full = _compacted(store)
    store.put(keys.compaction(99999), b'{"entries": 3')
    again = ResultLog(store)
    again.refresh()
    assert again.entries == full.entries
    assert keys.compaction(COMPACT_EVERY + 5) in store.reads


def test_compacting_waits_for_enough_new_results(store: CountingStore) -> None:
    log = _compacted(store)
    _write(store, 600)
    log.refresh()
    log.compact()
    assert len(list(store.list(keys.ARCHIVE))) == 1
    _write(store, *range(700, 700 + COMPACT_EVERY))
    log.refresh()
    log.compact()
    assert len(list(store.list(keys.ARCHIVE))) == 2


@pytest.mark.parametrize(("individual", "evaluation"), [(0, 0), (3, 1), (1202, 0), (99999999, 12)])
def test_result_keys_are_read_back(individual: int, evaluation: int) -> None:
    assert keys.parse_result(keys.result(individual, evaluation)) == (individual, evaluation)


@pytest.mark.parametrize(
    "key", ["results/7.json", "results/0000007.txt", "results/0000007-0.json", "results/-1.json", "results/x.json"]
)
def test_foreign_keys_are_not_results(key: str) -> None:
    assert keys.parse_result(key) is None


def test_key_order_is_id_order() -> None:
    ordered = [keys.result(individual) for individual in (0, 9, 10, 99, 1000, 1202)]
    assert sorted(ordered) == ordered


def test_a_new_reader_knows_what_is_compacted(store: CountingStore) -> None:
    _compacted(store)
    _write(store, 600)
    again = ResultLog(store)
    again.refresh()
    again.compact()
    assert len(list(store.list(keys.ARCHIVE))) == 1


def test_a_child_of_a_strict_run_sees_what_was_written_before_the_children_it_sees(store: CountingStore) -> None:
    _write(store, 0, 1, 2, 3, 4, 5, 6)
    again = make_result(3, [1.0] * 3, evaluation=1, with_child=5)
    store.put_once(keys.result(3, 1), again.model_dump_json().encode())
    log = ResultLog(store)
    log.refresh()
    assert log.population(SPEC, below=5).scores[3].tolist() == [0.5] * 3
    assert log.population(SPEC, below=6).scores[3].tolist() == [0.75] * 3


def test_who_was_stopped_is_done_and_has_no_scores(store: CountingStore) -> None:
    _write(store, 0, 1, 2)
    stop = Stop(asked=(1, 1, 1), items=(4, 4, 4), probability=0.01, threshold=0.05)
    store.put_once(keys.result(3), make_result(3, [1.0] * 3, stop=stop).model_dump_json().encode())
    log = ResultLog(store)
    log.refresh()
    assert (log.done, log.stopped) == ({0, 1, 2, 3}, {3})
    assert log.population(SPEC).ids.tolist() == [0, 1, 2]
    assert next(entry for entry in log.entries.values() if entry.id == 3).saved == 9


def test_compactions_of_older_versions_are_read(store: CountingStore) -> None:
    old = {"id": 3, "evaluation": 0, "scores": [0.5, 0.5, 0.5], "seconds": 1.0}
    store.put(keys.compaction(1), json.dumps({"entries": {keys.result(3): old}}).encode())
    log = ResultLog(store)
    log.refresh()
    (entry,) = log.entries.values()
    assert (entry.parents, entry.turn, entry.saved) == ((), 3, 0)
