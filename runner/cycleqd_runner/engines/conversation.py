"""Conversations and plain texts as tokens. All engines share it, so that all ask the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from jinja2 import TemplateError
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedConfig, PreTrainedTokenizerFast

from cycleqd.errors import BadData, BadManifest, BadModel
from cycleqd_runner.chat import Answer, Message, Sampling
from cycleqd_runner.engines.batching import Reading, Request

_REMEMBERED_PROMPTS = 4096
"""Conversations, and texts, whose tokens are kept: the search items of a run come again with every child."""


class Conversations:
    """The tokenizer of one checkpoint, and what fits into its context.

    Attributes:
        tokenizer: fast, with a chat template.
        config: of the text model.
        ends: tokens that end an answer.
        limit: longest prompt plus answer, in tokens.
    """

    def __init__(self, folder: Path, max_model_len: int | None) -> None:
        """Read tokenizer and configuration of the Hugging Face checkpoint in ``folder``.

        Raises:
            ~cycleqd.errors.BadModel: no configuration, no fast tokenizer, or no chat template.
            ~cycleqd.errors.BadManifest: ``max_model_len`` is more than the model has positions.
        """
        self.tokenizer = _read_tokenizer(folder)
        self.config = _read_config(folder)
        self.ends = _ends(folder, self.config, self.tokenizer)
        self.limit = _context(self.config, max_model_len)
        self._prompts: dict[tuple[Message, ...], tuple[int, ...]] = {}
        self._tokens = lru_cache(_REMEMBERED_PROMPTS)(self._tokenise)

    def request(self, messages: Sequence[Message], sampling: Sampling) -> Request | Answer:
        """Return what an engine computes, or the empty answer to a conversation that outgrew the context.

        Raises:
            ~cycleqd.errors.BadData: it does not fit before the model has said anything.
            ~cycleqd.errors.BadModel: the chat template refuses the conversation.
        """
        prompt = self._encode(tuple(messages))
        room = self.limit - len(prompt)
        if room < 1:
            if any(message.role == "assistant" for message in messages):
                return Answer("", len(prompt), 0, "length")
            raise BadData(
                f"A prompt has {len(prompt)} tokens, but prompt and answer together may have {self.limit}; "
                "shorten the items or raise engine.args.maxModelLen."
            )
        return Request(prompt, replace(sampling, max_tokens=min(room, sampling.max_tokens), stop=tuple(sampling.stop)))

    def completion(self, prompt: str, sampling: Sampling) -> Request:
        """Return what an engine computes to go on with a text.

        The room of the longest answer is kept free, but a prompt may always have half of the context.
        """
        room = max(self.limit - sampling.max_tokens, self.limit // 2)
        tokens = self._tokens(prompt) or (self._beginning(),)
        kept = tokens[-room:]
        most = min(sampling.max_tokens, self.limit - len(kept))
        return Request(kept, replace(sampling, max_tokens=most), cut=len(tokens) - len(kept))

    def reading(self, context: str, continuation: str) -> Reading:
        """Return what an engine computes to say how likely a continuation is.

        Blanks at the end of the context belong to the continuation, because tokens begin with the blank before a word.

        Raises:
            ~cycleqd.errors.BadData: the continuation has no tokens, or too many.
        """
        if context:
            before = self._tokens(context.rstrip())
            own = self._tokens(context + continuation)[len(before) :]
        else:
            before, own = (), self._plain(continuation)
        if not before:
            before = (self._beginning(),)
            own = own[1:] if own[:1] == before else own
        # vLLM always generates a token.
        room = self.limit - 1 - len(own)
        if not own or room < 1:
            raise BadData(
                f"A continuation has {len(own)} tokens, expected 1 to {self.limit - 2}; correct the task, or raise "
                "engine.args.maxModelLen."
            )
        return Reading(before[-room:], own, cut=max(0, len(before) - room))

    def _tokenise(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text from its beginning on, which tokenizers may mark with a token of their own."""
        marked = text.startswith(str(self.tokenizer.decode([self._beginning()])))
        return self._plain(text) if marked else tuple(self.tokenizer(text)["input_ids"])

    def _plain(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _beginning(self) -> int:
        """Return the token that stands before a text of which nothing is known."""
        marks = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        found = next((mark for mark in marks if mark is not None), None)
        if found is None:
            raise BadModel("The tokenizer has neither bos_token nor eos_token; name one in tokenizer_config.json.")
        return int(found)

    def complete(self, messages: Sequence[Message], answer: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the tokens of a conversation and of the answer to it, with the token that ends the turn."""
        said = [*messages, Message("assistant", answer)]
        prompt, whole = self._text(messages, ask=True), self._text(said, ask=False)
        # A template that rewrites what assistants said before cannot be cut; most end a turn by their end token.
        rest = whole.removeprefix(prompt) if whole.startswith(prompt) else f"{answer}{self.tokenizer.eos_token}"
        tokens = tuple(self.tokenizer(rest, add_special_tokens=False)["input_ids"])
        end = next((i for i, token in enumerate(tokens) if token in self.ends), len(tokens) - 1)
        return self._encode(tuple(messages)), tokens[: end + 1]

    def _encode(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """Return the tokens of a conversation, ready for the assistant's turn."""
        if messages not in self._prompts:
            text = self._text(messages, ask=True)
            # The template has written all special tokens itself.
            tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            while len(self._prompts) >= _REMEMBERED_PROMPTS:
                del self._prompts[next(iter(self._prompts))]
            self._prompts[messages] = tuple(tokens)
        return self._prompts[messages]

    def _text(self, messages: Sequence[Message], *, ask: bool) -> str:
        """Return a conversation in the model's own chat template; ``ask``: with the beginning of the next turn."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(self.tokenizer.apply_chat_template(turns, add_generation_prompt=ask, tokenize=False))
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise BadModel(
                f"The model's chat template refuses a conversation of the roles {roles}: {error}; "
                "for a model without system turns set the evaluator's systemPrompt to an empty string."
            ) from error


def _read_config(folder: Path) -> PreTrainedConfig:
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadModel(f"The model in {folder} cannot be read: {error}") from error
    return config.get_text_config()


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BadModel(f"The tokenizer in {folder} cannot be read: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BadModel(f"The tokenizer in {folder} has no tokenizer.json; convert it to a fast tokenizer.")
    if not tokenizer.chat_template:
        # A guessed format would score a model on something that it was never trained on.
        raise BadModel(
            f"The tokenizer in {folder} has no chat template; add the one of the instruction-tuned model "
            "(chat_template.jinja) to the base model's folder."
        )
    return tokenizer


def _ends(folder: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Return the tokens that end an answer: the generation config's and the tokenizer's."""
    try:
        ends = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
    except OSError:  # a model without generation_config.json has its defaults in config.json
        ends = getattr(config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)


def _context(config: PreTrainedConfig, wanted: int | None) -> int:
    """Return the longest prompt plus answer, in tokens."""
    able = getattr(config, "max_position_embeddings", None)
    if wanted is not None and able is not None and wanted > able:
        raise BadManifest(
            f"engine.args.maxModelLen is {wanted}, but the model has only {able} positions; lower it to {able}."
        )
    limit = wanted or able
    if limit is None:
        raise BadManifest("The model's configuration does not say its longest context; set engine.args.maxModelLen.")
    return int(limit)
