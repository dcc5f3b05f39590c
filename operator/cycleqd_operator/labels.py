"""Names that the operator writes on Kubernetes objects and finds them by again. No code, no values of a run."""

from __future__ import annotations

from cycleqd.labels import ROLE, RUN, RUN_UID, WORK

__all__ = ["ROLE", "RUN", "RUN_UID", "WORK"]

NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"

SPEC = "cycleqd.dev/spec"
"""Annotation of a Job: digest of the immutable part of the spec that it was made from."""
GENERATION = "cycleqd.dev/generation"
"""Annotation of a Job: generation of the spec that it was made from."""

FINALIZER = "cycleqd.dev/delete-storage"
"""On runs that want their storage deleted with them, and on no others."""

KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"

MANAGER = "cycleqd-operator"
SELECTOR = f"{MANAGED_BY}={MANAGER}"
"""Selects our Jobs, on the server."""
COMPONENT_WORKER = f"{COMPONENT}=worker"
"""Selects worker pods."""
