"""What images of the tests run, by the standard library only: does what the first item's ``do`` says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


def main() -> int:
    """Judge the items. Returns the exit code."""
    items = [json.loads(line) for line in Path(os.environ["CYCLEQD_ITEMS"]).read_text(encoding="utf-8").splitlines()]
    first = items[0]
    runs = Path(first["runs"])
    n_before = len(runs.read_text(encoding="utf-8").splitlines()) if runs.exists() else 0
    with runs.open("a", encoding="utf-8") as file:
        told = {"repeat": os.environ["CYCLEQD_REPEAT"], "ids": [item["id"] for item in items], "pid": os.getpid()}
        file.write(json.dumps({**told, "folder": str(Path.cwd())}) + "\n")
    do = first.get("do", "")
    if do == "hang" or (do == "hang at first" and n_before == 0):
        time.sleep(60)
    if do == "fail" or (do == "fail at first" and n_before == 0):
        sys.stdout.write("no such luck\n")
        return 3
    if do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "loop":
        while True:
            ask(first["id"], "again")
    results = Path(os.environ["CYCLEQD_RESULTS"])
    if do == "link":
        results.symlink_to("/etc/passwd")
    elif do == "pipe":
        os.mkfifo(results)
    elif do == "raw":
        results.write_text(first["raw"], encoding="utf-8")
    elif do != "silent":
        results.write_text("".join(json.dumps(judged(item)) + "\n" for item in items), encoding="utf-8")
    return 0


def judged(item: dict[str, Any]) -> dict[str, Any]:
    """Ask one item's questions and judge the last answer."""
    answer = ""
    for question in item.get("questions", [item["id"]]):
        answer = ask(item["id"] if item.get("named", True) else None, question)
    right = answer == item.get("gold", "yes")
    result = {"id": item["id"], "score": int(right), "reason": None if right else f"said {answer}"}
    return {**result, **item.get("also", {})}


def ask(item: str | None, question: str) -> str:
    """Ask the model as whoever reads docs/evaluators.md."""
    body = {"model": os.environ["CYCLEQD_MODEL"], "messages": [{"role": "user", "content": question}], "user": item}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
    )
    with urllib.request.urlopen(request) as told:
        return str(json.load(told)["choices"][0]["message"]["content"])


if __name__ == "__main__":
    sys.exit(main())
