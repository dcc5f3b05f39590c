"""From what a user calls a run (a manifest, a folder, a URI) to its store, or one sentence on what to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cycleqd import keys
from cycleqd.api import CycleQDRun, RunSpec
from cycleqd.errors import BadData, BadManifest, near_misses
from cycleqd.identity import RunIdentity, check_same_run, read_identity, read_spec
from cycleqd.manifest import load_manifest
from cycleqd.store import FolderStore, ObjectStore, open_store

MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")

RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="The run: its manifest, its folder, or its storage URI (s3://BUCKET/PREFIX)."),
]


@dataclass(frozen=True)
class OpenedRun:
    """A run that has been started.

    Attributes:
        store: where everything lies.
        identity: whose store it is.
        spec: as it was last recorded by whoever executes the run.
    """

    store: ObjectStore
    identity: RunIdentity
    spec: RunSpec

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.identity.name

    def folder(self, kind: str) -> Path:
        """Return where files for people go: into the run's folder, or beside the user if the run is in S3."""
        return local_folder(self.store, self.name, kind)


def local_folder(store: ObjectStore, name: str, kind: str) -> Path:
    """Return the folder for a run's ``pictures`` or ``logs`` on this machine."""
    return store.root / kind if isinstance(store, FolderStore) else Path(f"{name}-{kind}").absolute()


def open_run(argument: str) -> OpenedRun:
    """Open a run that has been started.

    Args:
        argument: a manifest file, a run folder, or the URI of a store.

    Raises:
        BadManifest: there is no such file or folder, or the manifest is broken.
        BadData: the store holds no run.
        RunMismatch: the store holds another run than the manifest describes.
        CycleQDError: the store cannot be read.
    """
    path = Path(argument).expanduser()
    if "://" in argument:
        store = open_store(argument)
    elif path.is_dir():
        store = FolderStore(path)
        if not store.exists(keys.RUN):
            raise BadData(f"The folder {path} holds no run ({keys.RUN} is missing){_runs_below(path)}.")
    elif path.is_file():
        return _open_manifest(load_manifest(path), path)
    else:
        raise BadManifest(f"There is neither a manifest nor a run folder {argument}{_beside(path)}.")
    return OpenedRun(store, read_identity(store), read_spec(store))


def _open_manifest(run: CycleQDRun, path: Path) -> OpenedRun:
    store = open_store(run.spec.storage.uri)
    if not store.exists(keys.RUN):
        raise BadData(f"The run {run.metadata.name} has not been started: do that with `cycleqd run {path}`.")
    identity = read_identity(store)
    check_same_run(store, identity, run.spec)
    return OpenedRun(store, identity, read_spec(store))


def _beside(path: Path) -> str:
    """Return a hint at manifests and folders with a similar name."""
    parent = path.parent
    if not parent.is_dir():
        return ": name a CycleQDRun file, the folder of a run, or a URI like s3://BUCKET/PREFIX"
    known = [entry.name for entry in parent.iterdir() if entry.is_dir() or entry.suffix in MANIFEST_SUFFIXES]
    hint = near_misses(path.name, [name for name in known if not name.startswith(".")])
    return hint if "did you mean" in hint else ": name a CycleQDRun file, the folder of a run, or a URI"


def _runs_below(path: Path) -> str:
    runs = sorted(entry.name for entry in path.iterdir() if (entry / keys.RUN).is_file())
    return f" (did you mean {' or '.join(f'{path}/{name}' for name in runs[:3])}?)" if runs else ""
