"""The operator's environment: what it means, and what is said about mistakes in it."""

from __future__ import annotations

import os
import re

import pytest

from cycleqd_operator.settings import BadSettings, Settings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CYCLEQD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CYCLEQD_WORKER_IMAGE", "localhost/cycleqd-runner:1")


def test_an_image_is_all_it_needs() -> None:
    settings = Settings.load()
    assert settings.worker_image == "localhost/cycleqd-runner:1"
    assert settings.namespaces == ()
    assert not settings.leader_election
    assert (settings.port, settings.job_ttl_seconds, settings.status_interval_seconds) == (8080, 600, 5)


@pytest.mark.parametrize(
    ("variable", "text", "field", "expected"),
    [
        ("NAMESPACES", "", "namespaces", ()),
        ("NAMESPACES", " a, b-c ,", "namespaces", ("a", "b-c")),
        ("WORKER_IMAGE_PULL_POLICY", "Never", "worker_image_pull_policy", "Never"),
        ("SANDBOX_IMAGE", "", "sandbox_image", ""),
        ("SANDBOX_IMAGE", "localhost/cycleqd-sandbox:1", "sandbox_image", "localhost/cycleqd-sandbox:1"),
        ("MARIADB_IMAGE_PULL_POLICY", "Always", "mariadb_image_pull_policy", "Always"),
        ("STORAGE_ROOT", "", "storage_root", ""),
        ("STORAGE_ROOT", " s3://cycleqd/team ", "storage_root", "s3://cycleqd/team"),
        ("STORAGE_SECRET_NAME", "", "storage_secret_name", None),
        ("STORAGE_SECRET_NAME", "s3.research", "storage_secret_name", "s3.research"),
        ("JOB_TTL_SECONDS", "30", "job_ttl_seconds", 30),
        ("POLL_SECONDS", "0.5", "poll_seconds", 0.5),
        ("LEASE_NAME", "other", "lease_name", "other"),
        ("PORT", "9090", "port", 9090),
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("LOG_FORMAT", "plain", "log_format", "plain"),
        ("OF_ANOTHER_PROGRAM", "x", "port", 8080),
    ],
)
def test_a_variable_sets_a_field(
    variable: str, text: str, field: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CYCLEQD_{variable}", text)
    assert getattr(Settings.load(), field) == expected


def test_an_election_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLEQD_LEADER_ELECTION", "true")
    with pytest.raises(BadSettings, match="set CYCLEQD_LEASE_NAMESPACE, or turn it off"):
        Settings.load()
    monkeypatch.setenv("CYCLEQD_LEASE_NAMESPACE", "cycleqd")
    assert Settings.load().lease_namespace == "cycleqd"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WORKER_IMAGE", ""),
        ("NAMESPACES", "a,B_c"),
        ("WORKER_IMAGE_PULL_POLICY", "Sometimes"),
        ("MARIADB_IMAGE", ""),
        ("STORAGE_ROOT", "/runs"),
        ("STORAGE_ROOT", "s3://"),
        ("STORAGE_ROOT", "s3://".ljust(257, "x")),
        ("STORAGE_ROOT", "s3://runs/ä"),
        ("STORAGE_SECRET_NAME", "S3 keys"),
        ("JOB_TTL_SECONDS", "-1"),
        ("STATUS_INTERVAL_SECONDS", "0"),
        ("RESYNC_SECONDS", "nan"),
        ("CONCURRENCY", "0"),
        ("PORT", "web"),
        ("PORT", "70000"),
        ("LEADER_ELECTION", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_variable(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CYCLEQD_{variable}", text)
    with pytest.raises(BadSettings) as caught:
        Settings.load()
    assert re.fullmatch(rf"CYCLEQD_{variable} cannot be used: [^\n]+[^.]\.", str(caught.value))


def test_a_missing_image_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CYCLEQD_WORKER_IMAGE")
    with pytest.raises(BadSettings, match="CYCLEQD_WORKER_IMAGE cannot be used: field required"):
        Settings.load()
