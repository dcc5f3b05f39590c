from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cycleqd import keys
from cycleqd.api import CycleQDRun
from cycleqd.errors import BadData, MissingObject, RunMismatch
from cycleqd.identity import claim, read_desired_state, read_identity, read_spec
from cycleqd.store import FolderStore
from tests.core.test_manifest import document


def run(**search: Any) -> CycleQDRun:
    manifest = document()
    manifest["spec"]["search"] = search
    return CycleQDRun.model_validate(manifest)


def test_the_first_claim_stays(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first, second = claim(store, run(seed=1)), claim(store, run(seed=1))
    assert first == second == read_identity(store)


def test_children_may_be_raised_and_workers_see_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    identity = claim(store, run(children=5))
    assert claim(store, run(children=9)) == identity
    assert read_spec(store).search.children == 9


def test_another_seed_is_another_run_and_nothing_is_lost(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    claim(store, run(seed=1))
    before = {key: store.get(key) for key in store.list()}
    with pytest.raises(RunMismatch, match=r"spec\.search\.seed = 1, but the manifest says 2"):
        claim(store, run(seed=2))
    assert {key: store.get(key) for key in store.list()} == before


def test_what_its_secret_is_called_makes_no_other_run(tmp_path: Path) -> None:
    store, renamed = FolderStore(tmp_path), document()
    identity = claim(store, run())
    renamed["spec"]["storage"]["credentialsSecretName"] = "s3"
    assert claim(store, CycleQDRun.model_validate(renamed)) == identity
    assert read_spec(store).storage.credentials_secret_name == "s3"
    renamed["spec"]["storage"]["uri"] = "runs/b"
    with pytest.raises(RunMismatch, match=r"spec\.storage\.uri = 'runs/a', but the manifest says 'runs/b'"):
        claim(store, CycleQDRun.model_validate(renamed))


@pytest.mark.parametrize("damage", [None, b"{", b'{"uid": 1}'], ids=["missing", "cut off", "of another form"])
def test_a_store_without_an_identity_is_no_run(tmp_path: Path, damage: bytes | None) -> None:
    store = FolderStore(tmp_path)
    if damage is not None:
        store.put(keys.RUN, damage)
    with pytest.raises(BadData, match=r"run\.json"):
        read_identity(store)


def test_the_desired_state_is_read_whatever_else_a_newer_version_recorded(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(MissingObject):
        read_desired_state(store)
    claim(store, run())
    assert read_desired_state(store) == "Running"
    store.put(keys.SPEC, b'{"desiredState": "Hibernating", "newField": 3}')
    assert read_desired_state(store) == "Hibernating"
    store.put(keys.SPEC, b"{")
    with pytest.raises(BadData, match=r"spec\.json in .* is damaged"):
        read_desired_state(store)
