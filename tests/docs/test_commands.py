"""Commands that pages tell people to type exist: targets of make, cycleqd with its options, helm values, files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cycleqd_cli import app
from tests.docs.pages import ROOT, name, pages, samples, spoken

TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} & {
    *(
        "benchmarks",
        "charts",
        "cli",
        "core",
        "crds",
        "docs",
        "examples",
        "images",
        "operator",
        "runner",
        "tests",
        "tools",
    ),
}
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "charts" / "cycleqd" / "values.yaml").read_text(encoding="utf-8"))
SHELL = ("sh", "bash", "console")
HISTORY = "CHANGELOG.md"
"""Tells of commands that were."""

Words = list[str]


def typed(page: Path) -> Iterator[Words]:
    """Yield the commands of a page, word by word: those in samples, and what is quoted inline as one."""
    for sample in samples(page, *SHELL):
        yield from commands(sample.text)
    for quoted in spoken(page):
        yield from commands(quoted)


def commands(script: str) -> Iterator[Words]:
    """Yield the simple commands of a shell script, without here-documents, comments and assignments in front."""
    script = re.sub(r"<<-?'?(\w+)'?(.*?\n).*?^\1$", r"\2", script, flags=re.MULTILINE | re.DOTALL)
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()<>")
        try:
            words = list(lexer)
        except ValueError:  # an inline quotation may be half of something
            continue
        command: Words = []
        for word in [*words, ";"]:
            if set(word) <= set(";|&()<>"):
                if command:
                    yield command
                command = []
            elif command or not re.match(r"\w+=", word):
                command.append(word)


def mistakes(words: Words) -> list[str]:
    """Return what is wrong with one command; nothing where we do not know the program."""
    program, *rest = words
    if program == "make":
        targets = [word for word in rest if not word.startswith("-") and "=" not in word]
        return [f"make {target}: the Makefile has no such target" for target in targets if target not in TARGETS]
    if Path(program).name == "cycleqd" or words[:2] == ["kubectl", "cycleqd"]:
        return _mistakes_of_ours(rest[1:] if program == "kubectl" else rest)
    if program == "helm":
        settings = [value for option, value in pairwise(rest) if option == "--set"]
        return [f"helm --set {setting}: the chart has no such value" for setting in settings if not is_value(setting)]
    return []


def is_value(setting: str) -> bool:
    """Say whether the chart's values.yaml has what ``PATH=VALUE`` sets; what is empty there may hold anything."""
    below: Any = VALUES
    for part in setting.partition("=")[0].split("."):
        if below == {}:
            return True
        if not isinstance(below, dict) or part not in below:
            return False
        below = below[part]
    return True


@cache
def help_of(command: str) -> str | None:
    """Return what ``cycleqd COMMAND --help`` says; None if there is no such command."""
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    return told.stdout if told.exit_code == 0 else None


def _mistakes_of_ours(arguments: Words) -> list[str]:
    """Look for a command of ours, and for its options, in what it says about itself."""
    if not arguments or not re.fullmatch(r"[a-z-]+", arguments[0]) or arguments[0].startswith("-"):
        return []
    command, *rest = arguments
    said = help_of(command)
    if said is None:
        return [f"cycleqd {command}: there is no such command"]
    options = (word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word))
    known = set(re.findall(r"--?[a-z][a-z-]*", said))
    return [f"cycleqd {command} {option}: there is no such option" for option in options if option not in known]


def missing_files(words: Words) -> list[str]:
    """Return the words that look like a path of this project and are none."""
    paths = (word.removeprefix("./").removeprefix("./") for word in words)
    ours = (
        path
        for path in paths
        if path.partition("/")[0] in FOLDERS and "/" in path and not re.search(r"[*<>{}]|\.\.\.", path)
    )
    return [path for path in ours if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", [page for page in pages() if page.name != HISTORY], ids=name)
def test_commands_exist(page: Path) -> None:
    assert [wrong for words in typed(page) for wrong in mistakes(words)] == []


@pytest.mark.parametrize("page", [page for page in pages() if page.name != HISTORY], ids=name)
def test_files_in_samples_exist(page: Path) -> None:
    scripts = (words for sample in samples(page, *SHELL) for words in commands(sample.text))
    assert [wrong for words in scripts for wrong in missing_files(words)] == []


@pytest.mark.parametrize(
    ("script", "wrong"),
    [
        ("make quickstart test", []),
        ("make quickest", ["make quickest: the Makefile has no such target"]),
        ("PATH=x make \\\n  IMAGES='--flavour gpu' images && true", []),
        ("cycleqd status run.yaml | less", []),
        ("true; cycleqd stats run.yaml", ["cycleqd stats: there is no such command"]),
        ("cycleqd validate run.yaml --quick", []),
        (".venv/bin/cycleqd validate --quickly run.yaml", ["cycleqd validate --quickly: there is no such option"]),
        ("helm install cycleqd charts/cycleqd --set replicas=2 --set image.repository=a", []),
        ("helm install c charts/cycleqd --set image.name=a", ["helm --set image.name=a: the chart has no such value"]),
        ("cat > make <<'END'\nmake nonsense\nEND\nmake lint  # or make sense", []),
    ],
)
def test_a_command_that_does_not_exist_is_found(script: str, wrong: list[str]) -> None:
    assert [found for words in commands(script) for found in mistakes(words)] == wrong


@pytest.mark.parametrize(
    ("script", "wrong"),
    [
        ("python examples/quickstart/upload.py s3://cycleqd", []),
        ("./tools/build-images --push", []),
        ("kubectl apply -f examples/nothing/run.yaml", ["examples/nothing/run.yaml"]),
        ("cycleqd run examples/YOURS/*.yaml", []),
    ],
)
def test_a_file_that_does_not_exist_is_found(script: str, wrong: list[str]) -> None:
    assert [found for words in commands(script) for found in missing_files(words)] == wrong
