"""How much memory may be taken: of a machine, and of a container of either kind on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cycleqd_runner.memory import host_room, memories

GIB = 1 << 30
VERSION_2 = ("memory.max", "memory.current", "memory.stat")
VERSION_1 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat")


def _machine(folder: Path, total: int, available: int) -> Path:
    """Write what a machine's kernel tells."""
    proc = folder / "meminfo"
    lines = f"MemTotal: {total * GIB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {available * GIB // 1024} kB\nHuge: 0\n"
    proc.write_text(lines, encoding="ascii")
    return proc


def _group(folder: Path, names: tuple[str, ...], limit: str, used: int, cached: int) -> None:
    """Write what a container's kernel tells; version 1 also tells what is the group's without its children."""
    inactive, active = cached * GIB // 3, cached * GIB - cached * GIB // 3
    statistics = f"anon 7\ninactive_file {inactive}\nactive_file {active}\n"
    if names == VERSION_1:
        statistics = f"inactive_file 1\nactive_file 1\ntotal_inactive_file {inactive}\ntotal_active_file {active}\n"
    for name, text in zip(names, (limit, str(used * GIB), statistics), strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="ascii")


def test_a_quarter_of_the_machine_stays_free(tmp_path: Path) -> None:
    assert host_room(_machine(tmp_path, 64, 40), tmp_path) == 24 * GIB
    assert host_room(_machine(tmp_path, 64, 10), tmp_path) == -6 * GIB
    assert host_room(tmp_path / "none", tmp_path) == 0


@pytest.mark.parametrize("names", [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
@pytest.mark.parametrize(
    ("limit", "used", "cached", "room"),
    [
        pytest.param(str(32 * GIB), 20, 0, 4, id="limited by the container"),
        pytest.param(str(32 * GIB), 20, 12, 16, id="pages of files are given back"),
        pytest.param(str(32 * GIB), 30, 0, -6, id="nearly full"),
        pytest.param(str(60 * GIB), 5, 0, 25, id="limited by the machine"),
        pytest.param(str(2**63 - 4096), 5, 0, 24, id="without a limit"),
    ],
)
def test_a_container_has_less(
    tmp_path: Path, names: tuple[str, ...], limit: str, used: int, cached: int, room: int
) -> None:
    _group(tmp_path, names, limit, used, cached)
    assert host_room(_machine(tmp_path, 64, 40), tmp_path) == room * GIB


def test_version_2_says_max(tmp_path: Path) -> None:
    _group(tmp_path, VERSION_2, "max\n", 5, 0)
    assert host_room(_machine(tmp_path, 64, 40), tmp_path) == 24 * GIB


def test_this_machine_has_some() -> None:
    (memory,) = memories(torch.device("cpu"))
    assert memory.device.type == "cpu"
    assert not memory.is_pinned
    assert abs(memory.room()) < 1 << 50


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_comes_before_the_machine() -> None:
    near, host = memories(torch.device("cuda"))
    free, total = torch.cuda.mem_get_info()
    assert abs(near.room() - (free - total // 4)) < GIB
    assert (near.is_pinned, host.is_pinned) == (False, True)
