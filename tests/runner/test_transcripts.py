"""Conversations in the store: written and read back, those of older versions too, and what is damaged is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from cycleqd import keys
from cycleqd.errors import BadData
from cycleqd.records import Transcript
from cycleqd.store import FolderStore
from cycleqd_runner.roles.writing import write_result
from cycleqd_runner.transcripts import read_transcripts
from tests.core.support import make_result


def test_transcripts_are_read_back(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    said = Transcript(task="t", item="i", messages=({"role": "user", "content": "wörds\n"},), answer="a\nb", score=1.0)
    write_result(store, make_result(0, [1.0]), [said, said])
    assert read_transcripts(store, 0) == [said, said]
    write_result(store, make_result(0, [1.0], evaluation=1), [said])
    assert read_transcripts(store, 0, evaluation=1) == [said]
    assert read_transcripts(store, 0) == [said, said], "one evaluation does not replace another's"


def test_transcripts_of_older_versions_are_read(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    line = b'{"task": "t", "item": "i", "messages": [{"role": "user", "content": "?"}], "answer": "!", "score": 1.0}'
    store.put(keys.transcripts(3), zstandard.compress(line))
    (said,) = read_transcripts(store, 3)
    assert (said.repeat, said.reason, said.is_success) == (0, None, True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"{}", id="not compressed"),
        pytest.param(zstandard.compress(b"{}"), id="no transcript"),
        pytest.param(zstandard.compress(b"\xff"), id="no text"),
    ],
)
def test_damaged_transcripts_are_named(tmp_path: Path, data: bytes) -> None:
    store = FolderStore(tmp_path)
    store.put(keys.transcripts(3), data)
    with pytest.raises(BadData, match=r"transcripts/0000003\.jsonl\.zst .* is damaged"):
        read_transcripts(store, 3)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("transcripts/0000012.jsonl.zst", (12, 0)),
        ("transcripts/0000012-2.jsonl.zst", (12, 2)),
        ("transcripts/0000012.json", None),
        ("transcripts/12.jsonl.zst", None),
        ("transcripts/notes.txt", None),
        ("results/0000012.json", None),
    ],
)
def test_keys_of_transcripts_are_told_from_others(key: str, expected: tuple[int, int] | None) -> None:
    assert keys.parse_transcripts(key) == expected
