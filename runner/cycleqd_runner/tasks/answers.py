"""From what a model said to the code in it: fences, tags and trailing talk removed. Nothing is executed here."""

from __future__ import annotations

import re
import sqlite3

_FENCE = re.compile(r"```[ \t]*([\w+-]*)[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_MARKERS = re.compile(r"<\|[^|<>]{1,40}\|>")
"""End-of-turn tokens that an engine left in the text; whatever follows the first is another turn."""


def code_in(text: str) -> str:
    """Return the code of an answer: the first fenced block if there is one, else the text itself.

    An answer without code gives an empty string.
    """
    text = _MARKERS.split(text, maxsplit=1)[0]
    fenced = _FENCE.search(text)
    if fenced:
        # In ```SELECT 1``` the first word is code, not the language: a tag ends its line.
        tag, body = fenced.group(1), fenced.group(2)
        on_one_line = not re.match(r"```[ \t]*[\w+-]*[ \t]*\n", fenced.group(0))
        text = f"{tag} {body}" if tag and on_one_line else body
    text = text.strip("\r\n").rstrip()
    bare = text.strip()
    if bare.count("`") == len("``") and bare[0] == bare[-1] == "`":
        text = bare[1:-1]
    return text if text.strip() else ""


def statement_in(text: str) -> str:
    """Return the first SQL statement of an answer, without what is said after its semicolon."""
    code = code_in(text).strip()
    legible = code.replace("\0", " ").encode(errors="replace").decode()  # of the same length; SQLite refuses the rest
    for found in re.finditer(";", code):
        if sqlite3.complete_statement(legible[: found.end()]):
            return code[: found.start()].strip()
    return code


def command_in(text: str) -> str:
    """Return the shell command of an answer, without the ``$`` of a prompt."""
    lines = code_in(text).strip().split("\n")
    return "\n".join(re.sub(r"^\$ ", "", line) for line in lines)
