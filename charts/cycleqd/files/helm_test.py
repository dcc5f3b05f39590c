"""What ``helm test`` runs, in the operator's image and as the operator's account: one line for each thing that works.

Environment: OPERATOR is the operator's URL, RIGHTS what its account has to be allowed (JSON: a list of namespaces with
the rules of their roles), STORE the chart's object store, if there is one, with its credentials in AWS_*.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from itertools import product
from typing import Any, TypeVar
from urllib.request import urlopen

from kubernetes.aio.client import (
    ApiClient,
    AuthorizationV1Api,
    V1ResourceAttributes,
    V1SelfSubjectAccessReview,
    V1SelfSubjectAccessReviewSpec,
)

from cycleqd.errors import CycleQDError
from cycleqd.store import open_store
from cycleqd.store.transfer import probe
from cycleqd_operator.cluster import Cluster, connect

PATIENCE_SECONDS = 200
"""How long the operator, its Service's address, the API server or the bucket may take to be there: helm waits 300 s."""

STARTED = time.monotonic()

Answer = TypeVar("Answer")


def patiently(what: str, ask: Callable[[], Answer]) -> Answer:
    """Return what ``ask`` returns, as soon as it does; all waiting of this program is bounded together."""
    while True:
        try:
            return ask()
        except (OSError, HTTPException, CycleQDError) as error:
            if time.monotonic() > STARTED + PATIENCE_SECONDS:
                sys.exit(f"{what}: {error}")
            time.sleep(1)


def fetch(path: str) -> str:
    """Return what the operator answers."""
    url = os.environ["OPERATOR"] + path

    def ask() -> str:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - the chart made the URL
            return str(answer.read().decode())

    return patiently(url, ask)


def asked(namespace: str, rule: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield the requests that a rule of a role allows; an empty namespace is all of them."""
    names = rule.get("resourceNames", [""])
    for group, resource, name, verb in product(rule["apiGroups"], rule["resources"], names, rule["verbs"]):
        kind, _, part = resource.partition("/")
        yield {
            "namespace": namespace,
            "verb": verb,
            "group": group,
            "resource": kind,
            "subresource": part,
            "name": name,
        }


async def allowed(api: ApiClient, request: dict[str, str]) -> bool:
    """Return whether the API server would let this account do that."""
    spec = V1SelfSubjectAccessReviewSpec(resource_attributes=V1ResourceAttributes(**request))
    review = await AuthorizationV1Api(api).create_self_subject_access_review(V1SelfSubjectAccessReview(spec=spec))
    return review.status is not None and bool(review.status.allowed)


async def check_account() -> None:
    """Ask for the definition, and for each right."""
    rights = json.loads(os.environ["RIGHTS"])
    requests = [one for right in rights for rule in right["rules"] for one in asked(right["namespace"], rule)]
    async with await connect() as api:
        await Cluster(api).check_definition()
        print("ok: the API server serves CycleQDRuns")
        for request in requests:
            if not await allowed(api, request):
                sys.exit(f"The operator's account may not do this: {request}")
    print(f"ok: the operator's account may do all of {len(requests)} things that it has to")


fetch("/readyz")
print("ok: the operator is ready")
if "cycleqd_" not in fetch("/metrics"):
    sys.exit("/metrics of the operator has no metric of ours.")
print("ok: the operator serves its metrics")
patiently("The API server", lambda: asyncio.run(check_account()))
if "STORE" in os.environ:
    patiently(os.environ["STORE"], lambda: probe(open_store(os.environ["STORE"])))
    print(f"ok: {os.environ['STORE']} can be written, and honours If-None-Match")
