"""The quickstart with the real small model in real pods: the same bits as on this machine, and a model that answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from cycleqd import keys
from cycleqd.report import Report
from cycleqd.store import open_store
from cycleqd.store.transfer import download_folder
from cycleqd_runner.transcripts import read_transcripts
from tests.e2e.checker import check
from tests.e2e.manifests import QUICKSTART, SMALLER, edited, quickstart
from tests.e2e.scene import Scene
from tests.e2e.world import ROOT
from tests.runner.runs import finish, results_of, start_run

pytestmark = [pytest.mark.e2e, pytest.mark.together(long=True), pytest.mark.timeout(3000)]

BUCKET = "s3://cycleqd"
"""Of the manifest; the test has one of its own."""

SMALL_AND_STRICT = SMALLER | {
    "spec.search.emitter": {"type": "Paper"},
    "spec.search.mutation": {"type": "Svd"},
    "spec.search.strict": True,
    "spec.search.lag": 2,
}
"""In the paper's setting, whose children cost no gradient steps; :mod:`tests.e2e.test_try_out` runs ours."""

STATEMENTS = {"SELECT", "INSERT", "UPDATE", "DELETE"}


def test_the_quickstart_on_the_cluster_gives_the_bits_of_the_local_run(scene: Scene) -> None:
    script("prepare_base.py")
    script("upload.py", scene.world.uri)
    text = yaml.safe_dump(quickstart("cluster.yaml", SMALL_AND_STRICT)).replace(BUCKET, scene.world.uri)
    run = scene.add(yaml.safe_load(text))
    run.apply()

    here = edited(quickstart("run.yaml", SMALL_AND_STRICT), {"spec.storage.uri": str(scene.folder / "run")})
    for source in (here["spec"]["baseModel"], *here["spec"]["experts"]):
        source["uri"] = str((QUICKSTART / source["uri"]).resolve())
    local = scene.folder / "local.yaml"
    local.write_text(yaml.safe_dump(here), encoding="utf-8")
    process = start_run(local)
    printed = finish(process, seconds=1500)
    assert process.returncode == 0, printed

    run.reach_state("Succeeded", seconds=1500)
    there = check(run)
    assert {individual: result.repeatable() for individual, result in there.items()} == {
        individual: result.repeatable() for individual, result in results_of(local).items()
    }
    stores = open_store(str(scene.folder / "run")), run.store
    ours, theirs = (Report.model_validate_json(store.get(keys.REPORT)) for store in stores)
    assert theirs.chosen == ours.chosen
    assert theirs.scores == ours.scores
    assert theirs.archives == ours.archives

    folder = scene.folder / "model"
    assert run.status()["modelUri"] == f"{run.uri}/{keys.MODEL}"
    download_folder(open_store(run.status()["modelUri"]), "", folder)
    known = next(transcript for transcript in read_transcripts(run.store, 0) if transcript.task == "sql")
    assert answer(folder, known.messages).split()[0].upper() in STATEMENTS


def script(name: str, *arguments: str) -> None:
    """Run one of the quickstart's scripts, as its users do."""
    subprocess.run([sys.executable, str(QUICKSTART / name), *arguments], cwd=ROOT, check=True)


def answer(folder: Path, messages: Sequence[Mapping[str, str]]) -> str:
    """Load a checkpoint and ask it."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    tokens = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    return str(tokenizer.decode(tokens[0][prompt["input_ids"].shape[1] :], skip_special_tokens=True))
