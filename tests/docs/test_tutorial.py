"""docs/tutorial.md works: its commands are run as they stand there, only with tiny models in place of real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cycleqd.manifest import load_manifest
from cycleqd.store import open_store
from tests.docs.pages import ROOT, Sample, samples
from tests.runner.models import save_adapter, save_llama

PAGE = ROOT / "docs" / "tutorial.md"
BASE = "models/smollm2-135m-instruct"
QUICKSTART = "examples/quickstart"
LONGEST_PROMPT = 1024
"""Of the tiny base model, in tokens."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def sections(first: int, last: int) -> str:
    """Return the commands of some sections, as one script."""
    chosen = [s for s in samples(PAGE, "sh", "python") if first <= int(s.section.partition(".")[0]) <= last]
    return "\n".join(_as_shell(sample) for sample in chosen)


def _as_shell(sample: Sample) -> str:
    return sample.text if sample.language == "sh" else f"python - <<'END'\n{sample.text}END\n"


def play(script: str, checkout: Path) -> str:
    """Run a script as somebody does who typed step 1; return what it printed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", script],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files that the tutorial names; base model and experts are tiny."""
    save_llama(tmp_path / BASE, max_position_embeddings=LONGEST_PROMPT)
    for seed, expert in enumerate(("sql", "shell"), start=1):
        save_adapter(tmp_path / BASE, tmp_path / QUICKSTART / "experts" / expert, seed)
    (tmp_path / QUICKSTART / "prepare_base.py").symlink_to(ROOT / QUICKSTART / "prepare_base.py")
    return tmp_path


def test_from_nothing_to_a_model(checkout: Path, s3_bucket: str) -> None:
    printed = play(sections(2, 8), checkout)
    folder = checkout / "runs" / "tutorial"
    assert "29 runs/tutorial/cities.jsonl" in printed
    assert "12 search items crown lucky children" in printed
    results = {path.stem for path in (folder / "state" / "results").iterdir()}
    assert len(results) == 2 + 10, "two experts, eight children and two more"
    assert (folder / "state" / "final" / "report.html").is_file()
    assert (folder / "model" / "model.safetensors").is_file()
    assert (folder / "child-5" / "adapter_config.json").is_file()

    bucket = s3_bucket.removeprefix("s3://")
    (upload, *_) = [sample for sample in samples(PAGE, "sh") if sample.section.startswith("9.")]
    play(upload.text.replace("BUCKET=cycleqd", f"BUCKET={bucket}"), checkout)
    here, there = (load_manifest(folder / name).spec for name in ("run.yaml", "cluster.yaml"))
    assert there.model_dump(include={"search", "workers"}) == here.model_dump(include={"search", "workers"})
    for source in (there.base_model, *there.experts):
        assert next(iter(open_store(source.uri).list()), None) is not None
    store = open_store(f"{s3_bucket}/tutorial")
    assert there.tasks[0].evaluator.data == f"{store.uri}/cities.jsonl"  # type: ignore[union-attr]
    assert store.exists("cities.jsonl")
    assert there.storage.uri == f"{store.uri}/state"
    assert there.storage.credentials_secret_name
