"""Sidecars that do not come up: what a pod tells of them that waiting does not mend.

Why a pod does not start otherwise, and whether that can still change, is :mod:`cycleqd_operator.pod_view`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cycleqd.labels import CONTAINER

TRIES = 3
"""So many times a sidecar may end before it can be used; Kubernetes starts it again after 10, 20, 40, ... seconds."""

LONGEST_WORDS = 400
"""Characters of a sidecar's last words that a message repeats: it ends up in the run's status."""

ADVICE = {
    "sandbox": (
        "choose nodes that have what it needs with spec.workers.template.nodeSelector, another "
        "spec.workers.sidecars.sandbox, or another spec.sandbox"
    ),
    "mariadb": (
        "correct spec.workers.sidecars.mariadb (image, resources), or set the server of the AgentBenchDB evaluators to "
        "SQLite"
    ),
}
"""What to do, by the sidecar's name; the others are the images of ``Container`` evaluators."""
OTHER_ADVICE = "correct evaluator.image and evaluator.command, or spec.workers.sidecars.container.resources"


def missing_sidecar(pod: Mapping[str, Any]) -> str | None:
    """Return in one sentence which sidecar does not come up, why, and what to do.

    None if there is no such: all came up, the worker has begun, or it is too early to tell.
    """
    status = pod.get("status") or {}
    workers = (each for each in status.get("containerStatuses") or () if each["name"] == CONTAINER)
    if any("waiting" not in (each.get("state") or {}) for each in workers):
        return None
    for each in status.get("initContainerStatuses") or ():
        if not each.get("started") and each.get("restartCount", 0) >= TRIES:
            name = each["name"]
            return (
                f"The {name} beside the worker ended {each['restartCount']} times before it could be used "
                f"({_last_words(each)}), and the run needs it: {ADVICE.get(name, OTHER_ADVICE)}."
            )
    return None


def _last_words(status: Mapping[str, Any]) -> str:
    """Return how a container ended the last time: the exit code, and the end of its log on one line."""
    ended = (status.get("lastState") or {}).get("terminated") or (status.get("state") or {}).get("terminated") or {}
    reason = ended.get("reason") or "Error"
    how = f"exit code {ended.get('exitCode', 'unknown')}{'' if reason == 'Error' else f', {reason}'}"
    words = " ".join((ended.get("message") or "").split()).removesuffix(".")
    if len(words) > LONGEST_WORDS:
        words = f"…{words[-LONGEST_WORDS:]}"
    return f"{how}: {words}" if words else how
