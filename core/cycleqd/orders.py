"""What a worker is told and what it answers, as records that travel between processes."""

from __future__ import annotations

from typing import Self

from cycleqd import errors
from cycleqd.errors import CycleQDError, PermanentError, TemporaryError
from cycleqd.plan import Role, Work
from cycleqd.records import Record


class Order(Record):
    """One piece of work, as it travels to a worker (:class:`cycleqd.plan.Work`)."""

    role: Role
    subject: str = ""
    ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, work: Work) -> Self:
        """Return the order to do ``work``."""
        return cls(role=work.role, subject=work.subject, ids=work.ids)


class Outcome(Record):
    """How a piece of work went, as it travels back."""

    ok: bool
    drained: bool = False
    """Whether the worker stopped before the end of its work because the run's desired state is no longer Running."""
    permanent: bool = False
    """Whether trying again cannot help."""
    message: str = ""
    """One sentence for people, if it failed."""
    kind: str = ""
    """Class of :mod:`cycleqd.errors` that the worker met."""

    @classmethod
    def of(cls, error: CycleQDError) -> Self:
        """Return the outcome of work that met ``error``."""
        return cls(ok=False, permanent=isinstance(error, PermanentError), message=str(error), kind=type(error).__name__)

    def error(self, message: str = "") -> CycleQDError:
        """Return the worker's error, of its own class where that is known, with ``message`` in place of its own."""
        general = PermanentError if self.permanent else TemporaryError
        kind = getattr(errors, self.kind, general)
        known = isinstance(kind, type) and issubclass(kind, general)
        error: CycleQDError = (kind if known else general)(message or self.message)
        return error
