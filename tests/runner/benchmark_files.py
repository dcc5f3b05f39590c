"""The files that examples/agentbench reads, made of those in ``CYCLEQD_DATA``; and questions for a judge."""

from __future__ import annotations

import json
from pathlib import Path

from cycleqd.store import open_store
from tests.runner.tasks.os_problems import SCRIPTS

FILES = {
    "mbpp.jsonl": "mbpp/mbpp-train.jsonl",
    "dbbench.jsonl": "agentbench/dbbench-dev.jsonl",
    "os.json": "agentbench/os-dev.json",
}
"""What the example calls them, and where they lie below ``CYCLEQD_DATA``."""
PROBLEMS = 24
"""Of MBPP: enough for the example's splits, and few words."""

QUESTIONS = {
    "Which ocean is the largest?": "Pacific",
    "Which river runs through Cairo?": "Nile",
    "Which planet is the smallest?": "Mercury",
    "Which metal is the lightest?": "lithium",
    "Who wrote Faust?": "Goethe",
    "How many bits has a byte?": "eight",
}
"""With what the answer must contain."""
QUESTIONS_FILE = "questions.jsonl"


def publish(data: Path, uri: str) -> None:
    """Put everything into the folder or bucket ``uri``, the scripts of operating-system items below ``scripts/``."""
    store = open_store(uri)
    for name, source in FILES.items():
        store.put(name, (data / source).read_bytes())
    store.put("mbpp.jsonl", b"".join((data / FILES["mbpp.jsonl"]).read_bytes().splitlines(keepends=True)[:PROBLEMS]))
    for name, script in SCRIPTS.items():
        store.put(f"scripts/{name}", script)
    lines = [{"id": f"q{n}", "question": q, "answer": a} for n, (q, a) in enumerate(QUESTIONS.items())]
    store.put(QUESTIONS_FILE, "\n".join(map(json.dumps, lines)).encode())
