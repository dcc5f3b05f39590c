"""Text of a growing answer and the search for stop strings in it."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


class GrowingText:
    """Decodes an answer token by token, which costs the same for the thousandth token as for the first.

    Bytes of an incomplete character and special tokens give no text.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        """An empty string in ``stop`` is ignored."""
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(s for s in stop if s)
        self._reach = max((len(s) for s in self._stop), default=1) - 1
        self._text = ""

    def push(self, token: int) -> str | None:
        """Add a token. Returns the text before the first stop string, once there is one."""
        new = self._stream.step(self._tokenizer, token)
        if not new:
            return None
        # A stop string that this token completes begins at most reach characters before the token's text.
        begin = max(0, len(self._text) - self._reach)
        self._text += new
        found = [at for at in (self._text.find(s, begin) for s in self._stop) if at >= 0]
        return self._text[: min(found)] if found else None
