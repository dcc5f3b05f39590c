"""What must not be there: files that shadow the standard library, imports across the layers, files nobody can read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cli", "core", "operator", "runner")
LONGEST = 400
"""Lines. House style is 75 to 250; beyond this a file is several."""


def _python(code: str) -> str:
    """Run code in a fresh interpreter in the repository's root, the working directory on its path as ``-c`` does."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_operator_folder_holds_only_packages() -> None:
    folder = ROOT / "operator"
    assert [path.name for path in folder.glob("*") if path.is_file()] == []


def test_import_operator_is_the_standard_librarys() -> None:
    assert (
        _python("import operator, os; print(operator.__file__ == os.__file__.replace('os.py', 'operator.py'))")
        == "True"
    )


def _imported(modules: list[str], foreign: set[str]) -> str:
    """Import modules in a fresh interpreter; return which of the foreign packages that brought in."""
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
print(sorted({foreign!r} & set(sys.modules)))
"""
    return _python(code)


def _modules(package: str, folder: str = "core") -> list[str]:
    source = ROOT / folder
    paths = sorted((source / package).rglob("*.py"))
    return [".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__") for path in paths]


def test_the_core_imports_neither_models_nor_clusters() -> None:
    modules = [name for name in _modules("cycleqd") if not name.endswith("__main__")]
    assert "cycleqd.archive" in modules
    foreign = {
        "torch",
        "transformers",
        "vllm",
        "kopf",
        "kubernetes",
        "cycleqd_cli",
        "cycleqd_operator",
        "cycleqd_runner",
    }
    assert _imported(modules, foreign) == "[]"


def test_the_operator_imports_no_models() -> None:
    modules = _modules("cycleqd_operator", "operator")
    assert "cycleqd_operator.reconcile" in modules
    assert _imported(modules, {"torch", "transformers", "vllm", "cycleqd_cli", "cycleqd_runner"}) == "[]"


@pytest.mark.parametrize(
    "folder", [name for name in (*PACKAGES, "tests", "benchmarks", "examples") if (ROOT / name).exists()]
)
def test_files_stay_readable(folder: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert lengths
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST} == {}


@pytest.mark.parametrize(
    "folder",
    ["tests", "cli/cycleqd_cli", "core/cycleqd", "operator/cycleqd_operator", "runner/cycleqd_runner"],
)
def test_every_folder_of_modules_is_a_package(folder: str) -> None:
    missing = {path.parent for path in (ROOT / folder).rglob("*.py") if not (path.parent / "__init__.py").exists()}
    assert missing == set()
