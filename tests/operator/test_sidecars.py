"""Sidecars: which there are, that they share nothing with the worker but a folder, and what runs in them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cycleqd.errors import BadManifest
from cycleqd.plan import Work
from cycleqd.sidecars import container_key
from cycleqd_operator.container_sidecars import ATTEND
from tests.operator.manifests import AGENTBENCH_TASKS, BLOCK, SETTINGS, WITH_SIDECARS, job, spec, variables
from tests.operator.pod_security import violations

JUDGE = f"container-{container_key('localhost/judge:1', ('judge', '--all'))}"


def _pod(work: Work = BLOCK, settings: Any = WITH_SIDECARS, **fields: Any) -> Any:
    return job(work, spec(**fields), settings=settings)["spec"]["template"]


def _names(body: Any) -> list[str]:
    return [each["name"] for each in body["spec"].get("initContainers", [])]


def _tasks(*evaluators: dict[str, Any]) -> list[dict[str, Any]]:
    experts = ("sql", "shell", "python")
    return [
        {"name": f"task-{k}", "expert": expert, "evaluator": evaluator}
        for k, (expert, evaluator) in enumerate(zip(experts, evaluators, strict=True))
    ]


LM_EVAL = {"type": "LmEval", "task": "gsm8k"}
EMBEDDED = {"type": "AgentBenchDB", "data": "s3://data/db.jsonl", "server": "SQLite"}
ON_A_SERVER = EMBEDDED | {"server": "MySQL"}


@pytest.mark.parametrize(
    ("work", "fields", "expected"),
    [
        pytest.param(BLOCK, {}, ["sandbox"], id="code of a model"),
        pytest.param(Work("evaluate", ids=(2,)), {}, ["sandbox"], id="of an expert"),
        pytest.param(Work("finalize"), {}, ["sandbox"], id="of candidates"),
        pytest.param(Work("prepare", "sql"), {}, ["sandbox"], id="the first worker tries it"),
        pytest.param(Work("prepare", "sql"), {"sandbox": "Landlock"}, [], id="or its own"),
        pytest.param(Work("prepare", "shell"), {}, [], id="nothing runs in prepare"),
        pytest.param(Work("prepare", "shell"), {"sandbox": "Sidecar"}, ["sandbox"], id="but who insists gets it"),
        pytest.param(BLOCK, {"sandbox": "Landlock"}, [], id="inside the worker, by choice"),
        pytest.param(BLOCK, {"sandbox": "Unsafe"}, [], id="no sandbox, by choice"),
        pytest.param(BLOCK, {"tasks": _tasks(LM_EVAL, LM_EVAL, LM_EVAL)}, [], id="no code"),
        pytest.param(BLOCK, {"tasks": _tasks(LM_EVAL, LM_EVAL, EMBEDDED)}, ["sandbox"], id="an embedded database"),
        pytest.param(BLOCK, {"tasks": _tasks(LM_EVAL, LM_EVAL, ON_A_SERVER)}, ["mariadb"], id="a database server"),
        pytest.param(BLOCK, {"tasks": AGENTBENCH_TASKS}, ["sandbox", "mariadb", JUDGE], id="all"),
        pytest.param(
            Work("prepare", "sql"), {"tasks": AGENTBENCH_TASKS}, ["sandbox", "mariadb", JUDGE], id="all are tried"
        ),
        pytest.param(Work("prepare", "python"), {"tasks": AGENTBENCH_TASKS}, [], id="once"),
        pytest.param(
            Work("finalize"),
            {
                "tasks": _tasks(LM_EVAL, LM_EVAL, LM_EVAL),
                "report": {"benchmarks": [{"name": "db", "evaluator": ON_A_SERVER}]},
            },
            ["mariadb"],
            id="for the report's benchmarks",
        ),
    ],
)
def test_a_pod_has_the_sidecars_that_its_work_needs(work: Work, fields: dict[str, Any], expected: list[str]) -> None:
    assert _names(_pod(work, **fields)) == expected


def test_without_an_image_the_sandbox_is_inside_the_worker() -> None:
    body = _pod(settings=SETTINGS)
    assert "initContainers" not in body["spec"]
    assert "CYCLEQD_SANDBOX_SOCKET" not in variables(spec())
    with pytest.raises(BadManifest, match=r"sandbox is Sidecar, but .* no image .*: choose Auto, set .*sandbox\.image"):
        _pod(settings=SETTINGS, sandbox="Sidecar")
    own = {"sidecars": {"sandbox": {"image": "localhost/mine:1"}}}
    assert _pod(settings=SETTINGS, workers=own)["spec"]["initContainers"][0]["image"] == "localhost/mine:1"


def test_sidecars_share_one_folder_with_the_worker_and_nothing_else() -> None:
    credentials = {"env": [{"name": "TOKEN", "value": "secret"}]}
    body = _pod(tasks=AGENTBENCH_TASKS, workers={"template": credentials})
    assert violations(body) == []
    worker, beside = body["spec"]["containers"][0], body["spec"]["initContainers"]
    volumes = {each["name"]: each for each in body["spec"]["volumes"]}
    at_worker = {each["name"]: each["mountPath"] for each in worker["volumeMounts"]}
    told = {each["name"]: each.get("value") for each in worker["env"]}
    users, seen = {body["spec"]["securityContext"]["runAsUser"]}, set[str]()
    for each in beside:
        assert each["restartPolicy"] == "Always"
        assert not each.keys() & {"env", "envFrom", "ports", "lifecycle"}
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {mount["name"]: mount["mountPath"] for mount in each["volumeMounts"]}
        assert all("emptyDir" in volumes[name] for name in mounts)
        (shared,) = mounts.keys() & at_worker.keys()
        assert mounts[shared] == at_worker[shared]
        assert not seen & mounts.keys(), "nor with each other"
        seen |= mounts.keys()
        if each["name"] != JUDGE:
            assert each["securityContext"]["runAsUser"] not in users
            users.add(each["securityContext"]["runAsUser"])
    assert body["spec"]["automountServiceAccountToken"] is False
    assert (
        told.items()
        >= {
            "CYCLEQD_SANDBOX_SOCKET": "/run/cycleqd-sandbox/socket",
            "CYCLEQD_MYSQL_SOCKET": "/run/cycleqd-mysql/socket",
            "CYCLEQD_CONTAINERS": "/run/cycleqd-containers",
        }.items()
    )


def test_a_pod_ends_as_its_worker_does() -> None:
    rules = job(of=spec(tasks=AGENTBENCH_TASKS), settings=WITH_SIDECARS)["spec"]["podFailurePolicy"]["rules"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule} == {"worker"}


def test_a_run_may_say_what_its_sidecars_are() -> None:
    amounts = {"limits": {"memory": "9Gi"}}
    chosen = {
        "sandbox": {"image": "localhost/mine:1", "resources": amounts},
        "mariadb": {"image": "localhost/theirs:2", "resources": amounts},
        "container": {"resources": amounts},
    }
    sandbox, mariadb, judge = _pod(tasks=AGENTBENCH_TASKS, workers={"sidecars": chosen})["spec"]["initContainers"]
    assert (sandbox["image"], mariadb["image"], judge["image"]) == (
        "localhost/mine:1",
        "localhost/theirs:2",
        "localhost/judge:1",
    )
    assert sandbox["resources"] == mariadb["resources"] == judge["resources"] == amounts


def test_there_is_room_for_the_files_of_many_executions() -> None:
    tasks = _tasks({"type": "Sql"}, {"type": "Shell"}, {"type": "PythonTests"})
    tasks[1]["limits"] = {"filesMebibytes": 32}
    body = _pod(tasks=tasks)
    files = next(each["emptyDir"] for each in body["spec"]["volumes"] if each["name"] == "cycleqd-sandbox-tmp")
    assert files == {"medium": "Memory", "sizeLimit": "2048Mi"}, "a full disk would evict the pod, the worker with it"
    assert body["spec"]["initContainers"][0]["resources"]["limits"] == {"memory": "3072Mi"}, "which is more"


def test_one_sidecar_for_each_image_and_command() -> None:
    judge = AGENTBENCH_TASKS[2]["evaluator"]
    other = judge | {"command": ["judge", "--strictly"]}
    body = _pod(tasks=_tasks(judge, judge | {"data": "s3://data/x.jsonl"}, other))
    assert len(set(_names(body))) == len(_names(body)) == 2
    assert [each["name"] for each in body["spec"]["containers"][0]["env"]].count("CYCLEQD_CONTAINERS") == 1


def test_a_container_without_command_is_refused() -> None:
    tasks = _tasks({"type": "Container", "image": "judge:1", "data": "s3://data/x.jsonl"}, LM_EVAL, LM_EVAL)
    with pytest.raises(BadManifest, match=r"the image judge:1 has no command.*: set evaluator\.command"):
        _pod(tasks=tasks)


def test_kubernetes_leaves_commands_as_they_are() -> None:
    command = ["sh", "-c", "echo $$ $(HOME)"]
    body = _pod(
        tasks=_tasks(
            {"type": "Container", "image": "judge:1", "command": command, "data": "s3://data/x.jsonl"}, LM_EVAL, LM_EVAL
        )
    )
    written = body["spec"]["initContainers"][0]["command"]
    assert written[-1] == "echo $$$$ $$(HOME)", "$$ stands for a dollar, as the API says"
    assert written[2].replace("$$", "$") == ATTEND


PROGRAM = 'echo "asked by $WHO"; case $WHO in nobody) sleep 60;; *) cp items.jsonl results.json; exit "$CODE";; esac'


class Attendant:
    """A sidecar's script on this machine, with a program of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(["/bin/sh", "-c", ATTEND, "attend", folder, "sh", "-c", PROGRAM])

    def ask(self, name: str, *lines: str) -> Path:
        request = self.folder / name
        request.mkdir()
        (request / "items.jsonl").write_text("{}", encoding="utf-8")
        (request / "part").write_text("".join(f"export {line}\n" for line in lines), encoding="utf-8")
        (request / "part").rename(request / "environment")
        return request

    @staticmethod
    def code(request: Path) -> str:
        deadline = time.monotonic() + 20
        while not (request / "exit").exists():
            assert time.monotonic() < deadline, f"no exit code in {sorted(request.iterdir())}"
            time.sleep(0.02)
        return (request / "exit").read_text(encoding="utf-8").strip()


@pytest.fixture
def attendant(tmp_path: Path) -> Iterator[Attendant]:
    shutil.rmtree(tmp_path / "shared", ignore_errors=True)
    dead = tmp_path / "shared" / "dead"
    dead.mkdir(parents=True)
    (dead / "environment").touch()
    (dead / "started").touch()
    attendant = Attendant(tmp_path / "shared")
    try:
        yield attendant
    finally:
        attendant.process.terminate()
        assert attendant.process.wait(5) == 0, "it ends when it is told to: a Job waits for it"


def test_a_program_runs_once_for_each_request(attendant: Attendant) -> None:
    first, second = attendant.ask("a b", "WHO='the worker'", "CODE=0"), attendant.ask("2", "WHO=me", "CODE=3")
    assert (attendant.code(first), attendant.code(second)) == ("0", "3")
    assert (first / "results.json").read_text(encoding="utf-8") == "{}"
    assert (first / "log").read_text(encoding="utf-8") == "asked by the worker\n"


def test_a_program_can_be_stopped(attendant: Attendant) -> None:
    slow = attendant.ask("1", "WHO=nobody")
    assert attendant.code(attendant.ask("2", "WHO=me", "CODE=0")) == "0", "beside it"
    (slow / "stop").touch()
    assert attendant.code(slow) == "137"


def test_what_began_before_the_container_died_has_ended(attendant: Attendant) -> None:
    assert attendant.code(attendant.folder / "dead") == "137"
