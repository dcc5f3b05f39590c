"""A conversation as a terminal shows it. What a model wrote is not trusted: control characters do not get there."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from cycleqd.records import Transcript

STYLES = {"system": "magenta", "user": "cyan", "assistant": "green"}

_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_CONTROLS |= dict.fromkeys(range(0x80, 0xA0), "\ufffd") | {0x7F: "\u2421"}
"""Control characters, which move the cursor and worse, and what stands for them: their pictures."""


def conversation(said: Transcript, who: str) -> RenderableType:
    """Return a conversation with its head.

    Args:
        said: the conversation.
        who: answered, in a few words.
    """
    turns = [*said.messages, {"role": "assistant", "content": said.answer}]
    parts: list[RenderableType] = [Rule(style="dim"), _head(said, who)]
    if said.reason:
        parts.append(Text(visible(said.reason), "yellow"))
    for turn in turns:
        parts.append(Text(f"\n{turn['role']}", f"bold {STYLES.get(turn['role'], '')}"))
        parts.append(Text(visible(turn["content"])) if turn["content"] else Text("(nothing)", "dim"))
    return Group(*parts, Text())


def _head(said: Transcript, who: str) -> Text:
    names = [who, said.task, said.item, *([said.group] if said.group else []), f"repeat {said.repeat}"]
    effort = f"{said.prompt_tokens} tokens read, {said.answer_tokens} written, {said.seconds:.1f} s"
    return Text.assemble((visible(" · ".join(names)), "bold"), "   ", _score(said.score), "   ", (effort, "dim"))


def _score(score: float | None) -> tuple[str, str]:
    if score is None:
        return "no score", "bold magenta"
    return f"score {score:.3g}", "bold green" if score == 1 else "bold red" if score == 0 else "bold yellow"


def visible(text: str) -> str:
    """Return text whose control characters, but line ends and tabs, are pictures of themselves."""
    return text.translate(_CONTROLS)
