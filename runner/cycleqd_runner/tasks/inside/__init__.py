"""Programs that run inside the sandbox. They import nothing but the standard library and nothing imports them."""

from __future__ import annotations

from importlib.resources import files


def program(name: str) -> str:
    """Return the source of one of this folder's programs, to be handed to the sandbox."""
    return files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
