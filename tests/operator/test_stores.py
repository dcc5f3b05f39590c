"""How the operator comes to a run's store: credentials, certificates, models' Secrets, measured requests."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from cycleqd.api.run import Storage
from cycleqd.errors import BadManifest, MissingInput, MissingObject
from cycleqd.store import Credentials, FolderStore, open_store
from cycleqd_operator import stores
from cycleqd_operator.metrics import Metrics
from cycleqd_operator.stores import MeasuredStore, check_model_secrets, open_run_store
from tests.core.support import run_spec
from tests.operator.api_server import ApiServer, LocalCluster
from tests.operator.standings import NOON

REQUIRED = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Credentials | None]:
    """The credentials that stores are opened with; the store itself is as always."""
    seen: list[Credentials | None] = []

    def noted(uri: str, credentials: Credentials | None = None) -> Any:
        seen.append(credentials)
        return "the store of " + uri

    monkeypatch.setattr(stores, "open_store", noted)
    return seen


def cluster(**secrets: dict[str, str]) -> LocalCluster:
    """Return a cluster with these Secrets."""
    server = ApiServer(lambda: NOON)
    for name, texts in secrets.items():
        data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        server.add("secrets", {"metadata": {"name": name, "namespace": "research"}, "data": data})
    return LocalCluster(server)


def text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def storage(name: str | None = "s3", uri: str = "s3://runs/demo") -> Storage:
    return Storage(uri=uri, credentials_secret_name=name)


async def test_credentials_are_the_secrets(opened: list[Credentials | None]) -> None:
    everything = {
        **REQUIRED,
        "AWS_SESSION_TOKEN": "token",
        "AWS_ENDPOINT_URL": "http://s3:9000",
        "AWS_REGION": "eu-central-1",
    }
    found = await open_run_store(cluster(s3=everything), "research", storage())
    assert opened == [Credentials("key", "secret", "token", "http://s3:9000", "eu-central-1")]
    assert not found.has_ca_bundle


async def test_keys_that_are_empty_count_as_missing(opened: list[Credentials | None]) -> None:
    await open_run_store(cluster(s3={**REQUIRED, "AWS_ENDPOINT_URL": "", "AWS_REGION": ""}), "research", storage())
    assert opened == [Credentials("key", "secret")]


async def test_certificates_become_a_file(opened: list[Credentials | None]) -> None:
    for _ in range(2):
        found = await open_run_store(cluster(s3={**REQUIRED, "AWS_CA_BUNDLE": PEM}), "research", storage())
        assert found.has_ca_bundle
    first, second = opened
    assert first
    assert first.ca_bundle
    assert first == second
    assert text_of(first.ca_bundle) == PEM


async def test_without_a_secret_the_operators_own_identity_serves(opened: list[Credentials | None]) -> None:
    found = await open_run_store(cluster(), "research", storage(None))
    assert opened == [None]
    assert not found.has_ca_bundle


@pytest.mark.parametrize("uri", ["runs/demo", "file:///runs/demo"])
async def test_a_folder_is_no_store_on_a_cluster(uri: str) -> None:
    with pytest.raises(BadManifest, match="has to be s3://BUCKET/PREFIX"):
        await open_run_store(cluster(s3=REQUIRED), "research", storage(uri=uri))


async def test_a_secret_of_another_namespace_is_none() -> None:
    with pytest.raises(MissingInput, match=r"The Secret s3 in the namespace production, which .* does not exist"):
        await open_run_store(cluster(s3=REQUIRED), "production", storage())


class TestModelSecrets:
    SPEC = run_spec(baseModel={"uri": "hf://org/base", "credentialsSecretName": "hub"})

    async def test_one_that_exists_is_fine_whatever_it_holds(self) -> None:
        await check_model_secrets(cluster(hub={}), "research", self.SPEC)

    async def test_one_that_is_missing_is_named(self) -> None:
        with pytest.raises(MissingInput, match="The Secret hub in the namespace research, which a model's"):
            await check_model_secrets(cluster(), "research", self.SPEC)

    async def test_without_any_nobody_asks(self) -> None:
        nothing = cluster()
        await check_model_secrets(nothing, "research", run_spec())
        assert nothing.server.requests == []


class TestMeasuredStore:
    @staticmethod
    def count(metrics: Metrics) -> dict[str, float]:
        """Return the requests by operation."""
        name = "cycleqd_s3_request_duration_seconds_count"
        return {
            sample.labels["operation"]: sample.value
            for family in metrics.registry.collect()
            for sample in family.samples
            if sample.name == name
        }

    def test_requests_count_and_do_what_they_always_do(self, tmp_path: Path) -> None:
        metrics = Metrics()
        store = MeasuredStore(FolderStore(tmp_path), metrics)
        store.put("a", b"1")
        assert store.put_once("a", b"2") is False
        assert (store.get("a"), list(store.list()), store.exists("b")) == (b"1", ["a"], False)
        once = dict.fromkeys(("put", "put_once", "get", "list", "exists"), 1)
        assert self.count(metrics) == once
        assert store.uri == tmp_path.as_uri()
        assert self.count(metrics) == once

    def test_an_object_that_does_not_exist_is_no_error(self, tmp_path: Path) -> None:
        metrics = Metrics()
        with pytest.raises(MissingObject):
            MeasuredStore(FolderStore(tmp_path), metrics).get("a")
        assert 'reason="MissingObject"' not in metrics.render().decode()

    def test_errors_of_a_listing_are_met_where_it_is_asked_for(self, s3_bucket: str) -> None:
        metrics = Metrics()
        store = MeasuredStore(open_store(f"{s3_bucket}-that-is-not-there/demo"), metrics)
        with pytest.raises(MissingInput, match="no such bucket"):
            store.list()
        assert 'cycleqd_s3_request_errors_total{reason="MissingInput"} 1.0' in metrics.render().decode()
