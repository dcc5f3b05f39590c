"""Tiny random models for runs that are about everything but models, and the experts' part of such runs, done here.

Their words are bash commands that mostly sleep, so a child takes a second or two of time and none of the processor's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cycleqd.store import ObjectStore, open_store
from cycleqd.store.transfer import upload_folder
from tests.runner.models import WORDS, save_adapter, save_llama, save_tokenizer
from tests.runner.runs import finish, start_run, write_manifest

EXPERTS = ("a", "b")
NUMBERS = tuple(str(number) for number in range(12))
_SPECIAL = WORDS[:3]
_ENDINGS = ("", " echo yes;", " false;")
COMMANDS = tuple(
    f"sleep 0.{200 + number};{_ENDINGS[number % len(_ENDINGS)]}"
    for number in range(len(WORDS) - len(_SPECIAL) - len(NUMBERS))
)

CONTEXT = 8192
"""Tokens; the instructions of agents are long."""

CPU = "100m"
"""What a worker asks for. Pods that ask for nothing get next to nothing while the quickstart's are busy: loading the
libraries then takes minutes."""

DONE_HERE = ("basis", "genomes", "results", "transcripts")
"""Folders that experts leave in a run's store, once they are prepared and evaluated."""


@dataclass(frozen=True)
class Tiny:
    """Models, items, and a run whose experts are prepared and evaluated.

    Attributes:
        folder: on this machine.
        uri: where models and items lie for everybody.
    """

    folder: Path
    uri: str

    def spec(self, storage: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of a small run."""
        evaluator = {"type": "Shell", "data": f"{self.uri}/items.jsonl", "maxTokens": 3}
        splits = {"search": 4, "validation": 2, "test": 2}
        return {
            "baseModel": {"uri": f"{self.uri}/base"},
            "experts": [{"name": name, "uri": f"{self.uri}/{name}"} for name in EXPERTS],
            "tasks": [
                {"name": f"t-{name}", "expert": name, "evaluator": evaluator, "items": splits} for name in EXPERTS
            ],
            "search": {"children": 6},
            "finalize": {"candidates": 1, "greedySteps": 0},
            "storage": storage,
            "engine": {"args": {"dtype": "Float32", "threads": 1}},
            "workers": {"template": {"resources": {"requests": {"cpu": CPU}}}},
        }

    def give_experts(self, store: ObjectStore) -> None:
        """Put into a run's store what its workers would find out about the experts: that is worth four pods."""
        done = self.folder / "run"
        for folder in DONE_HERE:
            upload_folder(store, done / folder, folder)
        store.upload(done / "splits.json", "splits.json")


def make_models(folder: Path) -> None:
    """Make the base model, two experts that fit it and one that does not, and items."""
    for base, hidden_size in (("base", 32), ("other-base", 16)):
        save_llama(folder / base, hidden_size=hidden_size, max_position_embeddings=CONTEXT)
        save_tokenizer(folder / base, (*_SPECIAL, *NUMBERS, *COMMANDS))
    for seed, name in enumerate(EXPERTS, start=1):
        save_adapter(folder / "base", folder / name, seed)
    save_adapter(folder / "other-base", folder / "misfit", seed=3)
    items = [{"id": f"i{n}", "prompt": n, "stdout": "yes\n" * (int(n) % 3)} for n in NUMBERS]
    (folder / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items), encoding="utf-8")


def publish(folder: Path, uri: str) -> Tiny:
    """Make everything in ``folder`` and upload models and items below ``uri``."""
    models = folder / "models"
    models.mkdir()
    make_models(models)
    upload_folder(open_store(uri), models, "")
    # No children: the run ends when its experts are known. What finalize then writes is left here.
    spec = Tiny(folder, str(models)).spec({"uri": str(folder / "run")}) | {"desiredState": "Finished"}
    process = start_run(write_manifest(folder / "tiny.yaml", spec))
    printed = finish(process)
    if process.returncode != 0:
        raise RuntimeError(f"the tiny run on this machine failed:\n{printed}")
    return Tiny(folder, uri)
