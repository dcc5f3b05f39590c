"""A run whose S3 has a certificate of a private authority: examples/private-s3-tls with tiny models."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from cycleqd import keys
from cycleqd.store import open_store
from cycleqd.store.transfer import upload_folder
from tests.e2e.checker import check_nothing_left, every_result
from tests.e2e.scene import Scene
from tests.e2e.tiny import EXPERTS, Tiny
from tests.e2e.tls_store import BUCKET, TlsStore, serve
from tests.e2e.world import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.together, pytest.mark.timeout(3000)]

EXAMPLE = ROOT / "examples" / "private-s3-tls"
CHILDREN = 3


def secret(server: TlsStore) -> dict[str, Any]:
    """Return the example's Secret, filled in."""
    there = server.credentials
    values = {
        "AWS_ACCESS_KEY_ID": there.access_key_id,
        "AWS_SECRET_ACCESS_KEY": there.secret_access_key,
        "AWS_ENDPOINT_URL": there.endpoint_url,
        "AWS_REGION": there.region,
        "AWS_CA_BUNDLE": server.authority,
    }
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLE / "secret.yaml").read_text(encoding="utf-8"))
    assert manifest["stringData"].keys() == values.keys()
    return {**manifest, "stringData": values}


def test_a_private_authority_is_trusted_once_its_certificate_is_in_the_secret(scene: Scene) -> None:
    kubectl, namespace = scene.world.kubectl, scene.world.namespace
    with serve(kubectl, scene.folder) as server:
        uri = f"s3://{BUCKET}/tiny"
        tiny = Tiny(scene.world.tiny.folder, uri)
        upload_folder(open_store(uri, server.credentials), tiny.folder / "models", "")
        example = yaml.safe_load((EXAMPLE / "run.yaml").read_text(encoding="utf-8"))
        storage = {**example["spec"]["storage"], "uri": f"s3://{BUCKET}/runs/private"}
        run = scene.add(
            {**example, "spec": tiny.spec(storage) | {"search": {"children": CHILDREN}}}, server.credentials
        )
        tiny.give_experts(run.store)
        complete = secret(server)

        # Without the authority, nobody talks to a server that might be anybody's.
        bare = {key: value for key, value in complete["stringData"].items() if key != "AWS_CA_BUNDLE"}
        ok, error = kubectl.apply({**complete, "stringData": bare}, namespace)
        assert ok, error
        run.apply()
        message = run.reach_condition("Degraded", "True", "StoreUnreachable")
        assert "AWS_CA_BUNDLE" in message
        assert run.objects("jobs") == []

        ok, error = kubectl.apply(complete, namespace)
        assert ok, error
        run.reach_state("Succeeded")
        assert sorted(every_result(run)) == [(individual, 0) for individual in range(len(EXPERTS) + CHILDREN)]
        assert run.store.exists(f"{keys.MODEL}/config.json")
        assert run.failures() == []
        check_nothing_left(run)
