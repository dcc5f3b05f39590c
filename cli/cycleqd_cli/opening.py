"""From what a user calls a run (manifest, folder, URI, name) to its store, or a sentence on what to write instead.

What exists on this machine wins; a name of which nothing exists is looked for in the cluster. ``cqd/NAME`` and
``run/NAME``, and any name beside ``--namespace``, ``--context`` or ``--kubeconfig``, mean the cluster.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from cycleqd import keys
from cycleqd.api import CycleQDRun, RunSpec
from cycleqd.errors import BadData, BadManifest, CycleQDError, near_misses
from cycleqd.identity import RunIdentity, check_same_run, read_identity, read_spec
from cycleqd.manifest import load_manifest
from cycleqd.store import Credentials, FolderStore, ObjectStore, open_store
from cycleqd_cli.cluster import NoCluster
from cycleqd_cli.cluster_run import ClusterRun
from cycleqd_cli.where import Where

MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")

_IN_CLUSTER = re.compile(r"((?P<kind>cqd|run)/)?(?P<name>[a-z0-9]([-a-z0-9]*[a-z0-9])?)")


@dataclass(frozen=True)
class OpenedRun:
    """A run that has been started.

    Attributes:
        store: where everything lies.
        identity: whose store it is.
        spec: as it was last recorded by whoever executes the run.
        credentials: that open the store and the run's models; None: those of the environment.
    """

    store: ObjectStore
    identity: RunIdentity
    spec: RunSpec
    credentials: Credentials | None = None

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.identity.name

    def share_credentials(self) -> None:
        """Let whatever opens the run's models find its credentials where the run's workers do: in the environment."""
        if self.credentials is None:
            return
        given = {
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
            "AWS_SESSION_TOKEN": self.credentials.session_token,
            "AWS_ENDPOINT_URL_S3": self.credentials.endpoint_url,
            "AWS_DEFAULT_REGION": self.credentials.region,
            "AWS_CA_BUNDLE": self.credentials.ca_bundle,
        }
        os.environ.pop("AWS_SESSION_TOKEN", None)  # of other credentials
        os.environ.update({name: value for name, value in given.items() if value})

    def folder(self, kind: str) -> Path:
        """Return where files for people go: into the run's folder, or beside the user if the run is in S3."""
        return local_folder(self.store, self.name, kind)


def local_folder(store: ObjectStore, name: str, kind: str) -> Path:
    """Return the folder for a run's ``pictures`` or ``logs`` on this machine."""
    return store.root / kind if isinstance(store, FolderStore) else Path(f"{name}-{kind}").absolute()


def open_run(argument: str, where: Where) -> OpenedRun:
    """Open a run that has been started.

    Args:
        argument: a manifest file, a run folder, the URI of a store, or the name of a run in the cluster.
        where: which cluster.

    Raises:
        BadManifest: there is no such file, folder or run, or the manifest is broken.
        BadData: the store holds no run.
        RunMismatch: the store holds another run than the manifest describes.
        CycleQDError: the store or the cluster cannot be read.
    """
    found = find_run(argument, where)
    return open_cluster_run(found) if isinstance(found, ClusterRun) else found


def find_run(argument: str, where: Where) -> ClusterRun | OpenedRun:
    """Return a run in the cluster, whose store is not opened yet, or another one. Raises as :func:`open_run`."""
    if where.endpoint_url:
        os.environ["AWS_ENDPOINT_URL_S3"] = where.endpoint_url  # boto3 looks here for stores without a Secret
    return find_in_cluster(argument, where) or _open_here(argument)


def find_in_cluster(argument: str, where: Where) -> ClusterRun | None:
    """Return the run in the cluster that ``argument`` names, or None if it names something on this machine.

    Raises:
        NoSuchRun: there is no such run, and nothing of a similar name on this machine.
        CycleQDError: a cluster is meant, and cannot be asked.
    """
    match = _IN_CLUSTER.fullmatch(argument)
    if match is None:
        return None
    path = Path(argument)
    if match["kind"] or where.is_cluster:
        return ClusterRun.find(match["name"], where)
    if path.exists():
        return None
    try:
        return ClusterRun.find(match["name"], where)
    except (NoCluster, ModuleNotFoundError):  # then people speak of files
        return None
    except CycleQDError:
        if _similar(path):  # a slip of the pen in a file's name is more likely
            return None
        raise


def open_cluster_run(run: ClusterRun) -> OpenedRun:
    """Open the store of a run in the cluster. Raises BadData: it has not begun; what its store raises."""
    uri, credentials = run.storage_uri, run.credentials()
    store = open_store(uri, credentials)
    if not store.exists(keys.RUN):
        raise BadData(f"The run {run.name} has not begun yet: `cycleqd status {run.name}` says what it waits for.")
    return OpenedRun(store, read_identity(store), read_spec(store), credentials)


def _open_here(argument: str) -> OpenedRun:
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
    return _similar(path) or ": name a CycleQDRun file, the folder of a run, a URI like s3://BUCKET/PREFIX, or cqd/NAME"


def _similar(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return ""
    known = [entry.name for entry in parent.iterdir() if entry.is_dir() or entry.suffix in MANIFEST_SUFFIXES]
    hint = near_misses(path.name, [name for name in known if not name.startswith(".")])
    return hint if "did you mean" in hint else ""


def _runs_below(path: Path) -> str:
    runs = sorted(entry.name for entry in path.iterdir() if (entry / keys.RUN).is_file())
    return f" (did you mean {' or '.join(f'{path}/{name}' for name in runs[:3])}?)" if runs else ""
