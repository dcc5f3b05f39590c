"""A folder of downloads that all workers of a machine share: each is made once, and the oldest go when room is needed.

An entry is a folder that gets its name when it is complete. Its lock file is held in common by every process that uses
the entry, and alone by the one that fills or removes it; the system lets go of it when a process is killed. Then the
next one goes on with the folder ``NAME.partial``. What is downloaded from where lives elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cycleqd.errors import BadManifest
from cycleqd.store.atomic import make_durable, translate

DEFAULT_GIB = 200.0
"""Room for a dozen 8 B models."""

_DOWNLOADS = "downloads"
_LOCK = ".lock"
_PARTIAL = ".partial"

_used: dict[Path, int] = {}
"""Open lock files of the entries that this process uses, until it ends: it maps their files into memory."""
_one_at_a_time = threading.Lock()


def cache_folder() -> Path:
    """Return ``CYCLEQD_CACHE``, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cycleqd"
    return Path(os.environ.get("CYCLEQD_CACHE", default))


def limit_bytes() -> float:
    """Return how much may be kept: ``CYCLEQD_CACHE_GIB``, or 200 GiB. Raises BadManifest if that is no number."""
    text = os.environ.get("CYCLEQD_CACHE_GIB", str(DEFAULT_GIB))
    try:
        return float(text) * 2**30
    except ValueError as error:
        raise BadManifest(
            f"CYCLEQD_CACHE_GIB is {text!r}, which is no number of GiB: write 200, for example."
        ) from error


def cached(group: str, name: str, need: Callable[[], int], fill: Callable[[Path], object]) -> Path:
    """Return the folder of an entry, which stays there as long as this process lives.

    Args:
        group: the folder of the entry, of a run for example.
        name: of the entry.
        need: returns how many bytes it will take.
        fill: writes it into a folder, which may hold a part of it. Only one process at a time does that.

    Raises what ``need`` and ``fill`` raise, and:
        CycleQDError: an operating system's error, translated.
    """
    folder = cache_folder() / _DOWNLOADS / group / name
    with _one_at_a_time:
        if folder in _used:
            return folder
        try:
            lock = _claim(folder, need, fill)
        except OSError as error:
            raise translate(error, f"The cache {cache_folder()}") from error
        _used[folder] = lock
    return folder


def _claim(folder: Path, need: Callable[[], int], fill: Callable[[Path], object]) -> int:
    """Return the lock file, held in common, of an entry that is there."""
    while True:
        with _locked(folder, fcntl.LOCK_SH) as lock:
            if folder.is_dir():
                os.utime(lock)
                return os.dup(lock)  # the same lock under another number, which stays open
        with _locked(folder, fcntl.LOCK_EX):
            if not folder.is_dir():
                make_room(need())
                partial = _beside(folder, _PARTIAL)
                partial.mkdir(exist_ok=True)
                fill(partial)
                partial.rename(folder)
                make_durable(folder.parent)


def make_room(need: int) -> None:
    """Remove entries that nobody uses, those that were not used for longest first, until ``need`` bytes fit.

    What a run needs is downloaded in any case: the limit bounds what is kept for later.
    """
    sizes = _sizes()
    excess = need - min(limit_bytes() - sum(sizes.values()), shutil.disk_usage(cache_folder()).free)
    for entry, size in sorted(sizes.items(), key=lambda entry: _last_used(entry[0])):
        if excess <= 0:
            return
        with suppress(BlockingIOError), _locked(entry, fcntl.LOCK_EX | fcntl.LOCK_NB):
            _remove(entry)
            excess -= size


def _remove(entry: Path) -> None:
    """Remove an entry that is locked; killed in the middle, a part of it is left, which never has the entry's name."""
    partial = _beside(entry, _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    if entry.is_dir():
        entry.rename(partial)
        shutil.rmtree(partial)
    _beside(entry, _LOCK).unlink()
    with suppress(OSError):  # entries of the same run are left
        entry.parent.rmdir()


@contextmanager
def _locked(entry: Path, how: int) -> Iterator[int]:
    """Hold the lock file of an entry; open it again if somebody removed it before we had it."""
    path = _beside(entry, _LOCK)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # its folder was removed in between
            continue
        try:
            fcntl.flock(lock, how)
            if _is_named(lock, path):
                yield lock
                return
        finally:
            os.close(lock)


def _is_named(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


def _last_used(entry: Path) -> float:
    """Return when an entry was last asked for [seconds since 1970]; 0 if another process removed it meanwhile."""
    try:
        return _beside(entry, _LOCK).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _beside(entry: Path, suffix: str) -> Path:
    return entry.with_name(entry.name + suffix)


def _sizes() -> dict[Path, int]:
    """Return the bytes of every entry, complete or not."""
    downloads = cache_folder() / _DOWNLOADS
    sizes: dict[Path, int] = {}
    for folder, _, names in os.walk(downloads):  # which does not mind what other processes remove meanwhile
        for path in (Path(folder, name) for name in names):
            group, first, *_ = path.relative_to(downloads).parts
            entry = downloads / group / first.removesuffix(_LOCK).removesuffix(_PARTIAL)
            with suppress(FileNotFoundError):
                sizes[entry] = sizes.get(entry, 0) + path.stat().st_size
    return sizes
