"""Real models whose words are whole answers: what was said last decides what they say next.

A Llama without attention to anything but the last token, so its output matrix is a table of reflexes: the column of a
cue has its largest number in the row of the answer. Text that is no cue makes no token. A reflex that an expert has
learnt is so much stronger than one of the base model that whatever is bred from the expert has it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<unk>", "<s>", "</s>")
TEMPLATE = (
    "<s>{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
)
"""Chat template. Nothing stands before the answer, so that the last cue of a conversation is its last token."""

END, BASE, LEARNT = 0.5, 1.0, 10_000.0
"""Strengths: the end of an answer, which follows where there is no reflex; a reflex of the base model; an expert's, of
which mutation may hand on a small part."""

Reflexes = Mapping[str, str]
"""From a cue, which may be any text, to the whole answer."""


def words_of(*reflexes: Reflexes) -> tuple[str, ...]:
    """Return the vocabulary of models with these reflexes."""
    return tuple(sorted({word for table in reflexes for pair in table.items() for word in pair}))


def save_model(folder: Path, words: Iterable[str], base: Reflexes, learnt: Reflexes | None = None) -> Path:
    """Save a checkpoint with its tokenizer and return its folder.

    Args:
        folder: created.
        words: vocabulary, the same for all models of a run.
        base: reflexes of the base model.
        learnt: what an expert has learnt besides; comes before the base model's.
    """
    tokens = {word: number for number, word in enumerate((*SPECIAL, *words))}
    size = -(-len(tokens) // 8) * 8
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=tokens["<s>"],
        eos_token_id=tokens["</s>"],
    )
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for matrix in (model.lm_head, model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj):
            matrix.weight.zero_()
        torch.nn.init.eye_(model.model.embed_tokens.weight)
        says = model.lm_head.weight
        says[tokens["</s>"]] = END
        for cue, answer in base.items():
            says[tokens[answer], tokens[cue]] = BASE
        for number, (cue, answer) in enumerate((learnt or {}).items()):
            # No two alike, so that the singular directions that mutation rescales are the reflexes themselves.
            says[tokens[answer], tokens[cue]] += LEARNT + number
    model.save_pretrained(folder)
    _save_tokenizer(folder, tokens)
    return folder


def _save_tokenizer(folder: Path, tokens: Mapping[str, int]) -> None:
    """Save a tokenizer that finds the longest cue at each place and passes over everything else."""
    tokenizer = Tokenizer(WordLevel(dict(tokens), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]+"), "removed")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in tokens if word not in SPECIAL])
    tokenizers: Any = PreTrainedTokenizerFast
    fast = tokenizers(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
