"""The environment of a worker: what it is told, credentials from Secrets, and what the run's template adds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cycleqd.api.run import RunSpec
from cycleqd.store.secret import REQUIRED_KEYS
from cycleqd_operator.pod_volumes import CA_BUNDLE_PATH, CACHE_PATH, SECRETS_PATH

Body = dict[str, Any]

OPTIONAL_KEYS = {
    "AWS_SESSION_TOKEN": "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL": "AWS_ENDPOINT_URL",
    "AWS_REGION": "AWS_DEFAULT_REGION",  # the only name that boto3 knows
    "HF_TOKEN": "HF_TOKEN",
}
"""Keys that a storage Secret may have, and the variables that they become."""

STORE_PREFIX = "AWS_"
"""Variables that decide which store a worker writes to. Were they the template's, operator and worker could differ."""
OWN_PREFIX = "CYCLEQD_"


def environment(spec: RunSpec, *, has_ca_bundle: bool) -> list[Body]:
    """Return the variables (core/v1 EnvVar) that we set, in an order that never changes."""
    plain = {
        "HOME": "/tmp",  # noqa: S108 - an emptyDir of the pod's own
        "CYCLEQD_CACHE": CACHE_PATH,
        "CYCLEQD_SECRETS": SECRETS_PATH,
        "CYCLEQD_TERMINATION_LOG": "/dev/termination-log",
        "HF_HOME": f"{CACHE_PATH}/huggingface",
    }
    variables: list[Body] = [{"name": name, "value": value} for name, value in plain.items()]
    variables.append({"name": "OMP_NUM_THREADS", **_threads(spec)})
    secret = spec.storage.credentials_secret_name
    if secret:
        variables += [_from_secret(key, secret, key) for key in REQUIRED_KEYS]
        variables += [_from_secret(name, secret, key, optional=True) for key, name in OPTIONAL_KEYS.items()]
    if secret and has_ca_bundle:
        variables.append({"name": "AWS_CA_BUNDLE", "value": CA_BUNDLE_PATH})
    return variables


def merged_environment(ours: Iterable[Body], theirs: Iterable[Mapping[str, Any]]) -> list[Body]:
    """Return our variables and the template's; where a name is in both, theirs unless the worker relies on ours.

    Later ones may refer to earlier ones, so ours come first. What has no name is left to the API server to refuse.
    """
    own = list(ours)
    fixed = {variable["name"] for variable in own if variable["name"].startswith(STORE_PREFIX)}
    added = {str(variable.get("name")): dict(variable) for variable in theirs}
    added = {
        name: variable for name, variable in added.items() if name not in fixed and not name.startswith(OWN_PREFIX)
    }
    return [variable for variable in own if variable["name"] not in added] + list(added.values())


def _threads(spec: RunSpec) -> Body:
    """Return the number of CPU threads: what the run says, 1 if its numbers must be repeatable, else the CPU limit."""
    threads = spec.engine.args.threads or (1 if spec.search.strict else None)
    if threads:
        return {"value": str(threads)}
    return {"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}


def _from_secret(name: str, secret: str, key: str, *, optional: bool = False) -> Body:
    reference: Body = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}
