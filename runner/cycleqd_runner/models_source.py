"""Where a model comes from: a URI becomes a local folder. Reading the folder is ``checkpoints``' and ``lora``'s work.

``hf://`` goes through huggingface_hub, whose errors are translated here and nowhere else; ``s3://`` goes through a
function that the caller makes from its object store.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cycleqd.errors import AccessDenied, BadManifest, BadModel, MissingInput, StoreUnreachable, UnsupportedHere

PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", "LICENSE*", "NOTICE*")
"""Files of a model repository that are worth downloading: no pickles, no GGUF, no pictures."""


def resolve(
    uri: str,
    *,
    revision: str | None = None,
    relative_to: Path | None = None,
    token: str | None = None,
    fetch: Callable[[str], Path] | None = None,
) -> Path:
    """Return the local folder of a model.

    Args:
        uri: ``hf://ORG/NAME``, ``s3://BUCKET/PREFIX``, ``file://PATH`` or a path.
        revision: branch, tag or commit of an ``hf://`` model.
        relative_to: folder that relative paths start from; the working directory if None.
        token: credentials of the Hub; HF_TOKEN and the stored login if None.
        fetch: downloads the prefix of an ``s3://`` URI and returns the folder.

    Raises:
        BadManifest: a scheme that is not known.
        MissingInput: the Hub or the disk has no such model.
        BadModel: the Hub may not be asked, and the cache lacks the model.
        AccessDenied: the Hub refuses the credentials.
        StoreUnreachable: the Hub does not answer and the cache lacks the model.
        UnsupportedHere: ``s3://`` where the caller gave no ``fetch``.
    """
    parts = urlsplit(uri)
    if parts.scheme == "hf":
        return _snapshot(unquote(parts.netloc + parts.path).strip("/"), revision, token)
    if parts.scheme == "s3":
        if fetch is None:
            raise UnsupportedHere(f"The model {uri} is in S3 but this command has no object store: use a local copy.")
        return fetch(uri)
    if parts.scheme not in ("", "file"):
        raise BadManifest(f"The model URI {uri} has the scheme {parts.scheme}: use hf://, s3://, file:// or a path.")
    path = Path(unquote(parts.path) if parts.scheme else uri).expanduser()
    folder = path if path.is_absolute() else (relative_to or Path()) / path
    if not folder.is_dir():
        raise MissingInput(
            f"There is no model folder {folder} (from the uri {uri}): correct the uri or copy the model there."
        )
    return folder


def _snapshot(repository: str, revision: str | None, token: str | None) -> Path:
    where = f"hf://{repository}" + (f" at revision {revision}" if revision else "")
    try:
        return Path(snapshot_download(repository, revision=revision, token=token, allow_patterns=list(PATTERNS)))
    except HFValidationError as error:
        raise BadManifest(f"{where} is not a model of the Hub: write hf://ORG/NAME.") from error
    except GatedRepoError as error:
        raise AccessDenied(f"{where} is gated: accept its licence on the Hub and give a token in HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise MissingInput(f"{where} does not exist, but the model does: correct the revision.") from error
    except RepositoryNotFoundError as error:
        raise MissingInput(
            f"{where} does not exist or is private: correct the name or give a token in HF_TOKEN."
        ) from error
    except OSError as error:  # HfHubHTTPError, LocalEntryNotFoundError and the failures of sockets and disks
        if constants.is_offline_mode():
            raise BadModel(f"{where} is not in the cache and HF_HUB_OFFLINE is set: download it first.") from error
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise StoreUnreachable(f"The Hub did not deliver {where} ({why}): check the name and the network.") from error
