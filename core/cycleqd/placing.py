"""Where relative URIs lead: to a place that starts from where the manifest lies.

On a laptop that is the folder of its file. A manifest that was applied to a cluster lies in no folder: there it is the
storage root that whoever installed the operator gave. A URI with a scheme, or an absolute path, says itself where it
leads. ``cycleqd.api.base.Uri`` uses what is made here, wherever a manifest has a URI.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path

Place = Callable[[str], str]
"""Takes a URI as the manifest has it, returns where it leads. Raises ValueError, with half a sentence, if nowhere."""


def beside(folder: Path) -> Place:
    """Return the place of a manifest in ``folder``: plain paths become absolute."""
    return lambda uri: uri if "://" in uri else str((folder / uri).resolve())


def below(root: str) -> Place:
    """Return the place of a manifest on a cluster: relative URIs become URIs below ``root``.

    Dots are resolved as in RFC 3986, section 5.2.4: ``..`` leads to the folder above, and no further than the root.

    Args:
        root: ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``, with or without a slash at its end; empty: relative URIs are
            refused.
    """

    def place(uri: str) -> str:
        if "://" in uri or uri.startswith("/"):
            return uri
        if not root:
            raise ValueError(
                f"{uri} is relative, and this operator has no storage root that it could start from: "
                "write s3://BUCKET/PREFIX, or install the chart with storage.root"
            )
        return root.rstrip("/") + posixpath.normpath(f"/{uri}")

    return place
