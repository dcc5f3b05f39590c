"""Everything that can go wrong on purpose. The first branch says whether trying again can help.

A message says what was wrong, what was expected, what was found and what to do about it, in one sentence.
Nothing here knows about exit codes of a particular command: :data:`EXIT_BAD_INPUT`,
:data:`EXIT_TRY_AGAIN` and :data:`EXIT_TERMINATED` are the contract between a worker and whoever started it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_BAD_INPUT = 2
"""Exit code of a process that met a :class:`PermanentError`: repeating it cannot help."""

EXIT_TRY_AGAIN = 75
"""Exit code of a worker that met a :class:`TemporaryError` (``EX_TEMPFAIL`` of sysexits.h)."""

EXIT_TERMINATED = 143
"""Exit code of a worker that was stopped by SIGTERM: 128 and the signal's number, as shells and tini have it."""


class CycleQDError(Exception):
    """Base of all errors that cycleqd raises on purpose."""


class PermanentError(CycleQDError):
    """Trying again cannot help: a person has to change something."""


class TemporaryError(CycleQDError):
    """Trying again later may help."""


class BadManifest(PermanentError):
    """The manifest contradicts itself or names something that does not exist."""


class BadModel(PermanentError):
    """A base model or expert cannot be read or does not fit the others."""


class NumericallyBroken(PermanentError):
    """A model that has to have scores gives NaN or infinite logits; the same weights will do so again."""


class MissingInput(PermanentError):
    """A model, dataset, bucket or Secret that the manifest names does not exist. It may appear: then it can go on."""


class BadData(PermanentError):
    """A dataset, items file or stored object does not have the form it should have."""


class RunMismatch(PermanentError):
    """The store holds another run than the manifest describes."""


class UnsupportedHere(PermanentError):
    """This machine or this build lacks what the manifest asks for."""


class OutOfMemory(UnsupportedHere):
    """A GPU or this machine has less memory than the manifest's settings need."""


class AccessDenied(PermanentError):
    """The object store refused the credentials."""


class MissingObject(PermanentError):
    """The object store has no object of that key."""


class NoSpace(TemporaryError):
    """The store or the disk is full."""


class StoreUnreachable(TemporaryError):
    """The object store did not answer."""


class Unscored(TemporaryError):
    """Items could not be scored for reasons that are not the model's (sandbox down, time-out of the judge)."""


def near_misses(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown ``name``: `` (did you mean …?)`` or the known names, sorted.

    The hint begins with a space, so it can be appended to a sentence.
    """
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    if close:
        return f" (did you mean {' or '.join(close)}?)"
    return f" (known: {', '.join(choices)})"
