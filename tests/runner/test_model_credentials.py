"""Secrets of single models: files in a pod, nothing on a laptop."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from cycleqd.api.models import ModelSource
from cycleqd.errors import MissingInput
from cycleqd.store import Credentials, open_store
from cycleqd_runner.local_copies import model_folder
from cycleqd_runner.model_credentials import secret_of

MINE = ModelSource(uri="s3://models/m", credentials_secret_name="mine")


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the Secret ``mine``, empty."""
    folder = tmp_path / "secrets" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.setenv("CYCLEQD_SECRETS", str(folder.parent))
    return folder


def test_a_model_without_a_secret_takes_the_usual_chain(secret: Path) -> None:
    assert secret_of(ModelSource(uri="s3://models/m")) is None


def test_a_laptop_takes_the_usual_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CYCLEQD_SECRETS", raising=False)
    assert secret_of(MINE) is None


def test_a_secret_that_is_not_there_is_named(secret: Path) -> None:
    secret.rmdir()
    with pytest.raises(MissingInput, match="no Secret mine, which the model s3://models/m needs"):
        secret_of(MINE)


def test_every_key_is_read(secret: Path) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": "id\n",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "session",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_REGION": "eu-central-1",
        "AWS_CA_BUNDLE": "PEM",
        "HF_TOKEN": "hf_mine\n",
    }
    for key, text in keys.items():
        (secret / key).write_text(text, encoding="utf-8")
    found = secret_of(MINE)
    assert found is not None
    assert found.token == "hf_mine"
    certificates = str(secret / "AWS_CA_BUNDLE")
    expected = Credentials("id", "secret", "session", "http://127.0.0.1:9", "eu-central-1", certificates)
    assert found.credentials == expected


@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        ({}, "AWS_ACCESS_KEY_ID and no AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "\n"}, "AWS_SECRET_ACCESS_KEY"),
    ],
    ids=["none", "an empty one"],
)
def test_keys_that_are_missing_are_named(secret: Path, keys: dict[str, str], missing: str) -> None:
    for key, text in keys.items():
        (secret / key).write_text(text, encoding="utf-8")
    found = secret_of(MINE)
    assert found is not None
    assert found.token is None
    with pytest.raises(MissingInput, match=f"The Secret mine of a model in S3 has no {missing}: add it"):
        found.credentials  # noqa: B018


def test_a_model_in_s3_is_fetched_with_its_own_secret(
    secret: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(f"{s3_bucket}/m").put("config.json", b"{}")
    endpoint = boto3.client("s3").meta.endpoint_url
    keys = {"AWS_ACCESS_KEY_ID": "its", "AWS_SECRET_ACCESS_KEY": "own", "AWS_ENDPOINT_URL": endpoint}
    for key, text in keys.items():
        (secret / key).write_text(text, encoding="utf-8")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (model_folder(MINE, "run-1") / "config.json").read_bytes() == b"{}"


def test_a_model_of_the_hub_is_fetched_with_its_own_token(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secret / "HF_TOKEN").write_text("hf_mine", encoding="utf-8")
    tokens = []

    def resolve(uri: str, *, token: str | None, **_: object) -> Path:
        tokens.append(token)
        return secret

    monkeypatch.setattr("cycleqd_runner.models_source.resolve", resolve)
    for name in ("mine", None):
        model_folder(ModelSource(uri="hf://org/tiny", credentials_secret_name=name), "run-1")
    assert tokens == ["hf_mine", None]
