"""Local copies of what lies elsewhere: models, items and bases become files that can be mapped into memory.

What is already on this machine is used in place. Downloads go to the :mod:`~cycleqd_runner.cache` that workers share.
Another run downloads again: what a URI holds may change between runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cycleqd.api.models import ModelSource
from cycleqd.errors import BadData, MissingInput, MissingObject
from cycleqd.store import FolderStore, ObjectStore, open_store
from cycleqd.store.transfer import download_folder, folder_size
from cycleqd_runner.cache import cached
from cycleqd_runner.model_credentials import secret_of

CONFIGS = ("config.json", "adapter_config.json")
"""One of these files makes a folder a model. Whoever uploads a model uploads it last."""


def model_folder(source: ModelSource, run_uid: str) -> Path:
    """Return the local folder of a model, for one run.

    Raises what :func:`cycleqd_runner.models_source.resolve` raises, and:
        MissingInput: below its ``s3://`` prefix is nothing or no whole model yet, or its Secret is not there.
    """
    from cycleqd_runner.models_source import resolve  # noqa: PLC0415 - items are read without the Hub's client

    secret = secret_of(source)

    def fetch(uri: str) -> Path:
        store = open_store(uri, secret.credentials if secret else None)

        def fill(folder: Path) -> None:
            download_folder(store, "", folder)
            if not any((folder / name).is_file() for name in CONFIGS):
                missing = " and no ".join(CONFIGS)
                raise MissingInput(f"{uri} has no {missing}: correct the uri, or upload the whole model.")

        try:
            return cached(run_uid, _name(uri), lambda: folder_size(store, ""), fill)
        except MissingObject as error:
            raise MissingInput(str(error)) from error

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
    return cached(
        run_uid,
        _name(f"{store.uri}/{prefix}"),
        lambda: folder_size(store, prefix),
        lambda folder: download_folder(store, prefix, folder),
    )


def _name(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()[:32]
