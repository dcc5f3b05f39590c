"""The cycle: which task is quality for which child (section 4.1 of the paper), and how ids are counted."""

from __future__ import annotations

from cycleqd.api.search import Search


def child_number(individual: int, n_experts: int) -> int:
    """Return t = 1..N of a child's id; ids 0..n_experts - 1 are the experts."""
    return individual - n_experts + 1


def child_id(number: int, n_experts: int) -> int:
    """Return the id of child t = ``number``."""
    return n_experts + number - 1


def active_task(number: int, n_tasks: int, search: Search) -> int:
    """Return the index of the archive that the parents of child t = ``number`` come from: t mod K."""
    return search.fixed_task if search.cycle == "Fixed" else number % n_tasks
