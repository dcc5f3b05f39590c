"""What pods tell of sidecars that do not come up. The statuses are those that Kubernetes 1.34 gave to such pods."""

from __future__ import annotations

from typing import Any

import pytest

from cycleqd_operator.missing_sidecars import LONGEST_WORDS, TRIES, missing_sidecar

WAITING = {"waiting": {"reason": "PodInitializing"}}
CRASHES = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container"}}


def _pod(sidecar: dict[str, Any], worker: dict[str, Any] | None = None) -> Any:
    statuses = [{"name": "istio-init", "state": {"terminated": {"exitCode": 0}}, "restartCount": 9, "started": True}]
    return {
        "status": {
            "containerStatuses": [{"name": "worker", "state": worker or WAITING}],
            "initContainerStatuses": [*statuses, {"started": False, **sidecar}],
        }
    }


def _crashed(name: str, restarts: int = TRIES, state: dict[str, Any] = CRASHES, **ended: Any) -> dict[str, Any]:
    last = {"terminated": {"exitCode": 1, "reason": "Error", **ended}}
    return {"name": name, "restartCount": restarts, "state": state, "lastState": last}


@pytest.mark.parametrize(
    ("sidecar", "how", "advice"),
    [
        pytest.param(
            _crashed("sandbox", message="no sandbox here (Landlock: missing)\n"),
            "(exit code 1: no sandbox here (Landlock: missing))",
            "choose nodes that have what it needs with spec.workers.template.nodeSelector",
            id="no sandbox",
        ),
        pytest.param(
            _crashed("mariadb", reason="OOMKilled", exitCode=137),
            "(exit code 137, OOMKilled)",
            "correct spec.workers.sidecars.mariadb (image, resources), or set the server",
            id="too little memory",
        ),
        pytest.param(
            _crashed("mariadb", state={"running": {}}, exitCode=143, message="Ready\nfor nobody."),
            "(exit code 143: Ready for nobody)",
            "correct spec.workers.sidecars.mariadb",
            id="does not answer, and runs once more",
        ),
        pytest.param(
            _crashed("container-0123", reason="StartError", exitCode=128, message="no such file"),
            "(exit code 128, StartError: no such file)",
            "correct evaluator.image and evaluator.command",
            id="no such command",
        ),
    ],
)
def test_which_one_and_why(sidecar: dict[str, Any], how: str, advice: str) -> None:
    sentence = missing_sidecar(_pod(sidecar))
    assert sentence is not None
    assert sentence.startswith(f"The {sidecar['name']} beside the worker ended 3 times before it could be used {how}")
    assert advice in sentence


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(_pod(_crashed("sandbox", TRIES - 1)), id="too early"),
        pytest.param(_pod(_crashed("sandbox") | {"started": True}), id="came up after all"),
        pytest.param(_pod(_crashed("sandbox"), {"running": {}}), id="the worker runs"),
        pytest.param(_pod(_crashed("sandbox"), {"terminated": {"exitCode": 0}}), id="the worker has ended"),
        pytest.param({"status": {}}, id="new"),
    ],
)
def test_nothing_is_missing(pod: Any) -> None:
    assert missing_sidecar(pod) is None


def test_of_long_words_the_end_is_told() -> None:
    sentence = missing_sidecar(_pod(_crashed("mariadb", message="x" * 4096 + " disk full")))
    assert sentence is not None
    assert "x disk full)" in sentence
    assert len(sentence) < LONGEST_WORDS + 300
