"""Local copies of what lies elsewhere: models, items and bases become files that can be mapped into memory.

What is already on this machine is used in place. Downloads go to a cache folder that the workers of a run share; files
appear in it when they are complete. Another run downloads again: what a URI holds may change between runs.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cycleqd.api.models import ModelSource
from cycleqd.errors import BadData, MissingInput, MissingObject
from cycleqd.store import FolderStore, ObjectStore, open_store
from cycleqd.store.transfer import download_folder
from cycleqd_runner.model_credentials import secret_of

CONFIGS = ("config.json", "adapter_config.json")
"""One of these files makes a folder a model. Whoever uploads a model uploads it last."""


def cache_folder() -> Path:
    """Return ``CYCLEQD_CACHE``, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cycleqd"
    return Path(os.environ.get("CYCLEQD_CACHE", default))


def model_folder(source: ModelSource, run_uid: str) -> Path:
    """Return the local folder of a model, for one run.

    Raises what :func:`cycleqd_runner.models_source.resolve` raises, and:
        MissingInput: below its ``s3://`` prefix is nothing or no whole model yet, or its Secret is not there.
    """
    from cycleqd_runner.models_source import resolve  # noqa: PLC0415 - items are read without the Hub's client

    secret = secret_of(source)

    def fetch(uri: str) -> Path:
        folder = _cached(run_uid, uri)
        try:
            download_folder(open_store(uri, secret.credentials if secret else None), "", folder)
        except MissingObject as error:
            raise MissingInput(str(error)) from error
        if not any((folder / name).is_file() for name in CONFIGS):
            raise MissingInput(f"{uri} has no {' and no '.join(CONFIGS)}: correct the uri, or upload the whole model.")
        return folder

    return resolve(source.uri, revision=source.revision, token=secret.token if secret else None, fetch=fetch)


def read_data(uri: str) -> bytes:
    """Return the content behind an items URI (``s3://``, ``file://`` or a path).

    Raises:
        MissingInput: there is no such file or object.
        BadData: the file cannot be read.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        parent, _, name = uri.rpartition("/")
        try:
            return open_store(parent).get(name)
        except MissingObject as error:
            raise MissingInput(str(error)) from error
    path = Path(unquote(parts.path) if parts.scheme else uri)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        sentence = f"The items file {path} cannot be read ({error.strerror}): correct the task's data."
        raise MissingInput(sentence) from error
    except OSError as error:
        raise BadData(f"The items file {path} cannot be read ({error.strerror}): correct the task's data.") from error


def store_folder(store: ObjectStore, prefix: str, run_uid: str) -> Path:
    """Return a local folder with everything below a write-once ``prefix`` of the run's own store."""
    if isinstance(store, FolderStore):
        return store.path(prefix)
    folder = _cached(run_uid, f"{store.uri}/{prefix}")
    download_folder(store, prefix, folder)
    return folder


def _cached(run_uid: str, uri: str) -> Path:
    return cache_folder() / "runs" / run_uid / hashlib.sha256(uri.encode()).hexdigest()[:32]
