"""The namespace that the scale benchmark plays in: runs, their stores, Jobs of strangers; and how it is cleaned up."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import boto3
import yaml

from benchmarks.scale.api import Api, Body, Refused
from benchmarks.scale.workers import result
from cycleqd import keys
from cycleqd.api import API_VERSION, GROUP, KIND, VERSION
from cycleqd.fold import entry_of
from cycleqd.log import Compaction
from cycleqd.records import read_result
from cycleqd.store import Credentials, ObjectStore, open_store

CRD = Path(__file__).parents[2] / "crds" / "cycleqd.dev_cycleqdruns.yaml"
SECRET = "s3-credentials"  # noqa: S105 - a name
TASKS = 3
NEEDS = """\
A cluster of fake nodes and an S3 server are needed; missing: {missing}.
  KUBECONFIG   a cluster with at least one node that KWOK fakes: its pods become Running and stay so while the
               annotation {annotation} says so
  AWS_*        AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY of an S3 server
Nothing was measured."""
RUN_FOR = "cycleqd.test/run-for"
"""Annotation of pods: how long KWOK's stages let them run. Longer than all of this: the workers here end their pods."""
AT_ONCE = 20
"""Requests in flight at the same time, so that the API server is not the bottleneck."""


@dataclass(frozen=True)
class Scene:
    """One namespace.

    Attributes:
        api: of the cluster.
        namespace: with everything that is made here.
        bucket: likewise, in the S3 server.
        credentials: of that server.
        node_selector: labels of the fake nodes; empty if all nodes are.
    """

    api: Api
    namespace: str
    bucket: str
    credentials: Credentials
    node_selector: dict[str, str]

    @classmethod
    async def open(cls, node_selector: dict[str, str]) -> Self:
        """Make a namespace and a bucket, and apply the CustomResourceDefinition.

        Raises:
            SystemExit: something that is needed is not there; nothing was done.
        """
        credentials = _credentials()
        if not os.environ.get("KUBECONFIG"):
            raise SystemExit(NEEDS.format(missing="KUBECONFIG", annotation=RUN_FOR))
        api = await Api.connect()
        chosen = ",".join(f"{name}={value}" for name, value in node_selector.items())
        nodes = (await api.request("GET", "/api/v1/nodes", query={"labelSelector": chosen}))["items"]
        if not nodes or any(node["status"].get("nodeInfo", {}).get("containerRuntimeVersion") for node in nodes):
            await api.close()
            raise SystemExit(NEEDS.format(missing="fake nodes, or real ones beside them", annotation=RUN_FOR))
        name = f"cycleqd-bench-{secrets.token_hex(3)}"
        scene = cls(api, name, name, credentials, node_selector)
        definition = yaml.safe_load(CRD.read_text(encoding="utf-8"))
        await api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        await api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        texts = {
            "AWS_ACCESS_KEY_ID": credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
            "AWS_ENDPOINT_URL": credentials.endpoint_url,
            "AWS_REGION": credentials.region,
        }
        secret = {"metadata": {"name": SECRET}, "stringData": texts}
        await api.create(f"/api/v1/namespaces/{name}/secrets", secret)
        _client(credentials).create_bucket(Bucket=name)
        return scene

    async def close(self) -> None:
        """Delete the namespace, and the bucket with everything in it."""
        await self.api.delete(f"/api/v1/namespaces/{self.namespace}")
        open_store(f"s3://{self.bucket}", self.credentials).delete_prefix("")
        _client(self.credentials).delete_bucket(Bucket=self.bucket)
        await self.api.close()

    @property
    def runs(self) -> str:
        """Path of the CycleQDRuns."""
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/cycleqdruns"

    @property
    def jobs(self) -> str:
        """Path of the Jobs."""
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    @property
    def pods(self) -> str:
        """Path of the pods."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def store(self, run: str) -> ObjectStore:
        """Return a run's store."""
        return open_store(f"s3://{self.bucket}/{run}", self.credentials)

    def manifest(self, run: str, *, children: int, parallelism: int, children_per_job: int) -> Body:
        """Return a run whose workers land on fake nodes."""
        names = [f"skill-{task}" for task in range(TASKS)]
        template: dict[str, Any] = {
            "annotations": {RUN_FOR: "24h"},
            "nodeSelector": self.node_selector,
            "tolerations": [{"operator": "Exists"}],
        }
        spec = {
            "baseModel": {"uri": "s3://models/base"},
            "experts": [{"name": name, "uri": f"s3://models/{name}"} for name in names],
            "tasks": [{"name": name, "expert": name, "evaluator": {"type": "Sql"}} for name in names],
            "search": {"children": children},
            "workers": {"parallelism": parallelism, "childrenPerJob": children_per_job, "template": template},
            "storage": {"uri": f"s3://{self.bucket}/{run}", "credentialsSecretName": SECRET},
        }
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": run}, "spec": spec}

    def prepare(self, run: str, done: int = 0) -> None:
        """Write what preparing and evaluating the experts leaves, so that a run begins with breeding. Blocks.

        Args:
            run: its name.
            done: how many children have a result already. They lie in a compaction only, as if their results had been
                read before: writing hundreds of thousands of objects would take longer than everything else here.
        """
        store = self.store(run)
        for task in range(TASKS):
            store.put(keys.basis_manifest(f"skill-{task}"), b"{}")
            store.put(keys.result(task), result(task, TASKS))
        if done:
            store.put(keys.compaction(TASKS + done), _compaction(TASKS + done))

    async def create_runs(self, manifests: Iterable[Body]) -> None:
        """Create runs."""
        await self._all(("POST", self.runs, manifest) for manifest in manifests)

    async def delete_runs(self, names: Iterable[str]) -> None:
        """Delete runs, and wait until their Jobs and pods are gone."""
        await self._all(("DELETE", f"{self.runs}/{name}", None) for name in names)
        for path in (self.jobs, self.pods):
            await self.api.until_none(path)

    async def create_foreign_jobs(self, count: int) -> None:
        """Create suspended Jobs with labels of somebody else."""
        container = {"name": "main", "image": "localhost/nothing:1"}
        labels = {"app": "somebody-elses"}
        template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [container]}}
        spec = {"suspend": True, "template": template}
        await self._all(
            ("POST", self.jobs, {"metadata": {"name": f"foreign-{n}", "labels": labels}, "spec": spec})
            for n in range(count)
        )

    async def touch_foreign_jobs(self, per_second: float) -> None:
        """Change one foreign Job after the other, for ever: watches that are not filtered by the server hear of it."""
        turn = 0
        while True:
            body = {"metadata": {"annotations": {"turn": str(turn)}}}
            await self.api.request("PATCH", f"{self.jobs}/foreign-{turn % 100}", body, content="merge-patch+json")
            turn += 1
            await asyncio.sleep(1 / per_second)

    async def _all(self, requests: Iterable[tuple[str, str, Body | None]]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def send(method: str, path: str, body: Body | None) -> None:
            async with slots:
                try:
                    await self.api.request(method, path, body)
                except Refused as refusal:
                    if refusal.status != 404:  # deleted already
                        raise

        await asyncio.gather(*(send(*request) for request in requests))


@cache
def _compaction(results: int) -> bytes:
    """Return the compaction of the first so many results."""
    made = [read_result(result(individual, TASKS), "") for individual in range(results)]
    return Compaction(entries={keys.result(one.id): entry_of(one) for one in made}).model_dump_json().encode()


def _credentials() -> Credentials:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    missing = [name for name in names if not os.environ.get(name)] + ([] if endpoint else ["AWS_ENDPOINT_URL"])
    if missing:
        raise SystemExit(NEEDS.format(missing=", ".join(missing), annotation=RUN_FOR))
    key, secret = (os.environ[name] for name in names)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN"), endpoint, region)


def _client(credentials: Credentials) -> Any:  # noqa: ANN401 - boto3 makes the class at run time
    return boto3.session.Session(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token, credentials.region
    ).client("s3", endpoint_url=credentials.endpoint_url)
