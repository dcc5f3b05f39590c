"""How benchmarks report, and how all of them are run: what was not measured never counts as met."""

from __future__ import annotations

import ast
import importlib
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as everything
from benchmarks import report
from benchmarks.__main__ import FOLDER, Outcome, run, scripts, summary
from benchmarks.report import ABSENT, Figure, absent, at_least, at_most, publish

HANGS = """
import pathlib, subprocess
started = subprocess.Popen(["sleep", "60"])
pathlib.Path("started").write_text(str(started.pid))
started.wait()
"""


@pytest.mark.parametrize(
    ("figure", "line"),
    [
        pytest.param(at_most("size", 8.75, "MB", 9), "size: 8.75 MB  target <= 9 MB: met", id="met"),
        pytest.param(at_most("size", 9.25, "MB", 9), "size: 9.25 MB  target <= 9 MB: SHORT", id="short"),
        pytest.param(at_least("ratio", 5.0, "x", 5), "ratio: 5 x  target >= 5 x: met", id="just met"),
        pytest.param(Figure("children", 45, ""), "children: 45", id="no target"),
    ],
)
def test_a_figure_is_a_line(figure: Figure, line: str) -> None:
    assert figure.line() == line


@pytest.mark.parametrize(("value", "code"), [(2.0, 0), (0.5, 1)])
def test_what_is_published_can_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, code: int
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "_BEGAN", time.monotonic() - 90)
    monkeypatch.setattr(report, "_LOAD", 1.26)
    figures = [at_least("speed", value, "x", 1), Figure("children", 3, "")]
    assert publish("benchmarks/toy.py", figures, ("numpy", "no-such-package")) == code
    content = json.loads((tmp_path / "toy.json").read_text())
    assert [Figure(**figure) for figure in content["figures"]] == figures
    assert list(content["machine"]["packages"]) == ["numpy"]
    assert (content["seconds"], content["load"]) == (90, 1.3)


def test_absence_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert absent("benchmarks/toy.py", "There is no cluster.\n  Make one.") == ABSENT
    assert capsys.readouterr().out == "toy was not measured: There is no cluster. Make one.\n"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("operator_scale", "A cluster of fake nodes and an S3 server are needed; missing: AWS_ACCESS_KEY_ID"),
        ("s3", "An S3 server is needed"),
    ],
)
def test_a_script_that_lacks_something_is_not_measured(script: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    outcome = run(script)
    assert (outcome.verdicts, outcome.figures) == (["not measured"], ())
    assert outcome.why.startswith(why)


@pytest.mark.parametrize("script", ["child_swap", "lora_batch"])
def test_without_vllm_its_scripts_measure_nothing(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{script}")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert module.main() == ABSENT
    assert capsys.readouterr().out.startswith(f"{script} was not measured: vllm is not installed")


def test_a_script_that_fails_says_why() -> None:
    outcome = run("no_such_script")
    assert outcome.verdicts == ["FAILED"]
    assert "No module named benchmarks.no_such_script" in outcome.why


@pytest.mark.timeout(30)
def test_a_script_that_hangs_ends_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "hangs.py").write_text(HANGS, encoding="utf-8")
    monkeypatch.setattr(everything, "FOLDER", tmp_path / "benchmarks")
    monkeypatch.setattr(everything, "PATIENCE_SECONDS", 3)
    assert run("hangs").verdicts == ["FAILED"]
    process = Path("/proc", (tmp_path / "started").read_text(encoding="utf-8"))
    until = time.monotonic() + 10
    while process.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not process.exists()


@pytest.mark.parametrize(
    ("figures", "trouble", "code", "counts"),
    [
        pytest.param((at_least("a", 2, "x", 1), Figure("b", 1, "s")), "", 0, "1 met", id="met"),
        pytest.param((at_least("a", 2, "x", 1), at_most("b", 2, "x", 1)), "", 1, "1 met, 1 SHORT", id="short"),
        pytest.param((), "not measured", 0, "1 not measured", id="not measured"),
        pytest.param((), "FAILED", 1, "1 FAILED", id="failed"),
    ],
)
def test_the_end_counts(
    figures: tuple[Figure, ...],
    trouble: str,
    code: int,
    counts: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pages = []
    monkeypatch.setattr(everything, "run", lambda name: Outcome(name, 61.0, figures, trouble, "[why]"))
    monkeypatch.setattr(everything, "write_page", lambda: pages.append("written"))
    monkeypatch.setattr("sys.argv", ["benchmarks", "toy"])
    assert everything.main() == code
    said = capsys.readouterr().out
    assert said.startswith("== toy\n  61 s\n")
    assert said.endswith(f"1 benchmarks in 1 minutes: {counts}.\n")
    assert pages == ["written"] * bool(figures)


def test_the_table_shows_targets_and_reasons() -> None:
    console = Console(file=io.StringIO(), width=160)
    good = Outcome("toy", 1.0, (at_least("ratio", 2.5, "x", 1), Figure("aside", 7, "s")))
    console.print(summary([good, Outcome("other", 1.0, trouble="not measured", why="[no] cluster")]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("ratio", "2.5 x", ">= 1 x", "met", "[no] cluster", "not measured"):
        assert expected in shown
    assert "aside" not in shown


def test_all_scripts_are_found_and_no_helper() -> None:
    assert {"archive", "scaling", "operator_scale"} <= set(scripts())
    assert not {"report", "quickstart", "__main__"} & set(scripts())


@pytest.mark.parametrize("script", scripts())
def test_every_script_ends_by_publishing_or_says_what_it_lacks(script: str) -> None:
    tree = ast.parse((FOLDER / f"{script}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert any(isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in tree.body)
    (main,) = (node for node in functions if node.name == "main")
    ends = [ast.unparse(end) for end in returns(main)]
    assert any("publish(__file__, " in end for end in ends)
    assert [end for end in ends if not re.search(r"\b(publish|absent)\(__file__, ", end)] == []


def returns(node: ast.AST) -> Iterator[ast.Return]:
    """Yield a function's own return statements, not those of functions in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield from returns(child)
