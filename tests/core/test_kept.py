"""What a run says about experts that are cut to a rank: numbers of their bases' manifests, in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from cycleqd import keys
from cycleqd.kept import kept_notes
from cycleqd.store.folder import FolderStore
from tests.core.support import run_spec

CUT = b'{"kept": {"energy": 0.954, "error": 0.2145}}'


@pytest.mark.parametrize(
    ("rank", "manifest", "is_told"),
    [
        pytest.param(16, CUT, True, id="cut"),
        pytest.param(16, b'{"kept": {"energy": 1.0, "error": 0.0}}', False, id="exact"),
        pytest.param(16, b"{}", False, id="without numbers"),
        pytest.param(16, b"{", False, id="damaged"),
        pytest.param(16, None, False, id="not prepared"),
        pytest.param(None, CUT, False, id="no rank"),
    ],
)
def test_only_experts_that_lost_something_are_told(
    tmp_path: Path, rank: int | None, manifest: bytes | None, is_told: bool
) -> None:
    spec, store = run_spec(search={"basis": {"rank": rank}}), FolderStore(tmp_path)
    name = spec.experts[1].name
    if manifest is not None:
        store.put(keys.basis_manifest(name), manifest)
    sentence = (
        f"Expert {name} is cut to search.basis.rank 16: "
        "it keeps 95.4% of the energy of its task vector, relative error 21.4%."
    )
    assert kept_notes(store, spec) == ((sentence,) if is_told else ())
