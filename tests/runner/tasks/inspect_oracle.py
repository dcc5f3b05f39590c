"""What inspect's own ``eval()`` says of tasks, with its scripted model; a program, where it may do as it likes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

KNOWN = {
    "Judge: 4 for 4": "yes",
    "Judge": "no",
    "1 + 3": "4",
    "1 + 4": "The answer is 5",
    "2 + 3": "6",
    "2 + 4": "no idea",
    "Are you sure?": "4",
    "France": "It is Paris, of course.",
    "Japan": "It is Kyoto.",
    "granite": "ANSWER: A",
    "wren": "ANSWER: C",
    "oak": "Who knows?",
}
"""What a question holds, and the answer to it."""


def reply(prompt: str) -> str:
    """Answer as the scripted models of the tests do, there and here."""
    return next((answer for part, answer in KNOWN.items() if part in prompt), "")


def scores_of(task: str, arguments: dict[str, Any], logs: str) -> dict[str, float]:
    """Return the scores of a task's samples by their ids."""
    from inspect_ai import eval as evaluate  # noqa: PLC0415 - seconds, and only here
    from inspect_ai.model import ChatMessage, ModelOutput, ModelUsage, get_model  # noqa: PLC0415
    from inspect_ai.scorer import value_to_float  # noqa: PLC0415

    def answer(heard: list[ChatMessage], *_: object) -> ModelOutput:
        output = ModelOutput.from_content("mockllm/model", reply(heard[-1].text))
        output.usage = ModelUsage()  # or else it is counted, with what is downloaded for that
        return output

    model = get_model("mockllm/model", custom_outputs=answer)
    (log,) = evaluate(task, model, task_args=arguments, log_dir=logs, display="none", log_format="json")
    assert log.status == "success", log.error
    number = value_to_float()
    return {str(sample.id): number(next(iter((sample.scores or {}).values())).value) for sample in log.samples or []}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    asked: list[tuple[str, dict[str, Any]]] = json.loads(sys.argv[2])
    (folder / "scores.json").write_text(
        json.dumps([scores_of(task, arguments, str(folder / "logs")) for task, arguments in asked]), encoding="utf-8"
    )
