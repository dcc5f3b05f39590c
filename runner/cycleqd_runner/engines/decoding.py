"""The decode loop: prompts in, answers out, one batch at a time; or texts in, and how likely they are.

Templates, waiting and weights are not known here.

Why not ``generate``: evaluation is nearly the whole cost of a run, and its many short prompts with common beginnings
are what a general loop is worst at. Here a shared prefix is computed once, linear layers see no padding, the output
head sees only the tokens that are sampled from, rows leave the batch when they end, and keys and values are written
in place and never copied to grow.

Numbers that are not finite stay within their row once answers grow. In a prompt they break every row that shares a
prefix with it, because a masked NaN is still a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from cycleqd.errors import UnsupportedHere
from cycleqd_runner.chat import Answer, Finish, Likelihood
from cycleqd_runner.engines.attention import Decode, Prefill, Slots, Step
from cycleqd_runner.engines.batching import Closed, Reading, Request
from cycleqd_runner.engines.prefixes import chunks, tree
from cycleqd_runner.engines.text import GrowingText

_PREFILL_TOKENS = 8192
"""Prompt tokens of one forward pass; bounds the memory of activations."""

_READ_TOKENS = 2048
"""The same where logits of many tokens are needed: 0.5 GiB of them with 128,000 words in bfloat16."""

_SOFTMAX_ROWS = 256
"""Rows of logits that are made float32 at a time."""


class _Row:
    """An answer that is growing."""

    def __init__(self, request: Request, tokenizer: Tokenizer, ends: frozenset[int]) -> None:
        self.request = request
        self.tokens: list[int] = []
        self.answer: Answer | None = None
        sampling = request.sampling
        self._tokenizer = tokenizer
        self._ends = ends
        self._text = GrowingText(tokenizer, sampling.stop) if sampling.stop else None
        # A generator of its own, keyed by the seed: what others in the batch draw does not matter.
        self._random = np.random.Generator(np.random.Philox(key=sampling.seed)) if sampling.temperature > 0 else None

    @property
    def draws(self) -> bool:
        return self._random is not None

    def draw(self, logits: Tensor) -> int:
        """Draw a token from (vocabulary,) logits by inverting the distribution function, in float64."""
        assert self._random is not None  # noqa: S101  (only called where draws is true)
        sampling, own = self.request.sampling, logits.double().cpu().numpy()
        shares = np.exp((own - own.max()) / sampling.temperature)
        if sampling.top_p < 1:
            order = np.argsort(-shares, kind="stable")
            before = np.cumsum(shares[order]) - shares[order]
            shares[order[before >= sampling.top_p * shares.sum()]] = 0  # never the first, before which there is nothing
        cumulated = np.cumsum(shares)
        return int(np.searchsorted(cumulated, self._random.random() * cumulated[-1], side="right"))

    def push(self, token: int) -> None:
        """Add a token; sets ``answer`` if it was the last one."""
        self.tokens.append(token)
        if token in self._ends:
            self._finish(self._decode(self.tokens[:-1]), "stop")
        elif self._text is not None and (text := self._text.push(token)) is not None:
            self._finish(text, "stop")
        elif len(self.tokens) >= self.request.sampling.max_tokens:
            self._finish(self._decode(self.tokens), "length")

    def break_off(self) -> None:
        """End the answer because what follows is not computed from the weights any more."""
        self._finish(self._decode(self.tokens), "broken")

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def _finish(self, text: str, finish: Finish) -> None:
        self.answer = Answer(text, len(self.request.prompt), len(self.tokens), finish)


class Decoder:
    """Answers batches with one model."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, ends: frozenset[int]) -> None:
        """``model`` runs with the attention of :mod:`.attention`; ``ends`` are the tokens that end an answer."""
        self._model = model
        self._tokenizer = tokenizer
        self._ends = ends

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request], unwanted: Callable[[], bool] = lambda: False) -> list[Answer]:
        """Answer requests (in lexicographic order of their prompts, so that prefixes are shared), in their order.

        Raises :class:`~cycleqd_runner.engines.batching.Closed` as soon as ``unwanted()`` is true.
        """
        rows = [_Row(request, self._tokenizer, self._ends) for request in requests]
        slots = Slots(len(rows), max(request.reserved for request in requests))
        self._choose(rows, self._prefill(requests, slots, unwanted))
        live = self._compact(rows, slots)
        while live:
            _stop_if(unwanted)
            self._choose(live, self._step(live, slots))
            live = self._compact(live, slots)
        return [row.answer for row in rows if row.answer is not None]

    @torch.inference_mode()
    def read(self, readings: Sequence[Reading], unwanted: Callable[[], bool] = lambda: False) -> list[Likelihood]:
        """Say how likely continuations are; order, errors and ``unwanted`` as in :meth:`answer`."""
        found: list[Likelihood] = []
        for part in chunks([reading.text for reading in readings], _READ_TOKENS):
            _stop_if(unwanted)
            found += self._read([readings[i] for i in part])
        return found

    def _read(self, readings: Sequence[Reading]) -> list[Likelihood]:
        nodes = tree([reading.text[:-1] for reading in readings])
        slots = Slots(len(readings), max(len(path) for path in nodes.paths))
        # A node predicts what follows it; the choices of one question are often predicted by the same nodes.
        counts = [len(reading.continuation) for reading in readings]
        asked = np.concatenate([path[-count:] for path, count in zip(nodes.paths, counts, strict=True)])
        kept, where = np.unique(asked, return_inverse=True)
        keep, rows = torch.from_numpy(kept).to(self._device), torch.from_numpy(where).to(self._device)
        step = Prefill(slots, nodes, 0, self._device)
        logits = self._forward(torch.from_numpy(nodes.tokens), torch.from_numpy(nodes.positions), step, keep)
        self._check_layers(slots)
        extents = [_extent(piece.float()) for piece in torch.split(logits, _SOFTMAX_ROWS)]
        lows, tops, masses = (torch.cat(parts)[rows] for parts in zip(*extents, strict=True))
        tokens = torch.tensor([token for reading in readings for token in reading.continuation], device=self._device)
        own = logits[rows, tokens].float()
        # Broken as in _choose.
        lost = ~tops.isfinite() | ((lows == 0) & (tops == 0))
        shares, greedy, broken = (torch.split(x.cpu(), counts) for x in (own - masses, own == tops, lost))
        return [
            reading.found(float(share.double().sum()), is_greedy=bool(best.all()), is_broken=bool(bad.any()))
            for reading, share, best, bad in zip(readings, shares, greedy, broken, strict=True)
        ]

    def _prefill(self, requests: Sequence[Request], slots: Slots, unwanted: Callable[[], bool]) -> Tensor:
        """Fill the slots with all prompts; return the logits (rows, vocabulary) of what follows them."""
        prompts = [request.prompt for request in requests]
        logits = []
        for part in chunks(prompts, _PREFILL_TOKENS):
            _stop_if(unwanted)
            nodes = tree([prompts[i] for i in part])
            step = Prefill(slots, nodes, part.start, self._device)
            last = torch.tensor([int(path[-1]) for path in nodes.paths], device=self._device)
            logits.append(self._forward(torch.from_numpy(nodes.tokens), torch.from_numpy(nodes.positions), step, last))
        self._check_layers(slots)
        return torch.cat(logits)

    def _check_layers(self, slots: Slots) -> None:
        if len(slots.layers) != self._model.config.num_hidden_layers:
            raise UnsupportedHere(
                f"{len(slots.layers)} of the model's {self._model.config.num_hidden_layers} layers attend the way the "
                "Transformers engine computes; use the VLLM engine for this model."
            )

    def _step(self, live: Sequence[_Row], slots: Slots) -> Tensor:
        """Compute the newest token of every live row; return the logits (rows, vocabulary) of what follows."""
        positions = [len(row.request.prompt) + len(row.tokens) - 1 for row in live]
        where = torch.tensor(positions)
        step = Decode(slots, where.to(self._device), max(positions) + 1)
        return self._forward(torch.tensor([row.tokens[-1] for row in live]), where, step, 0)

    def _forward(self, tokens: Tensor, positions: Tensor, step: Step, keep: int | Tensor) -> Tensor:
        out = self._model(
            input_ids=tokens[None].to(self._device),
            position_ids=positions[None].to(self._device),
            use_cache=False,
            logits_to_keep=keep,
            cycleqd_step=step,
        )
        logits: Tensor = out.logits[0]
        return logits

    @staticmethod
    def _choose(rows: Sequence[_Row], logits: Tensor) -> None:
        """Give every row its next token."""
        # The maximum is NaN if any logit is, so one pass finds both the greedy token and broken rows.
        tops, greedy = logits.max(dim=-1)
        for i, (row, token, top) in enumerate(zip(rows, greedy.tolist(), tops.tolist(), strict=True)):
            # A norm divides what overflows its sum of squares by infinity: then all logits are exactly 0.
            if not math.isfinite(top) or (top == 0 and not logits[i].any()):
                row.break_off()
            else:
                row.push(row.draw(logits[i]) if row.draws else token)

    def _compact(self, rows: Sequence[_Row], slots: Slots) -> list[_Row]:
        """Return the unfinished rows as 0..n-1 of the slots: rows from the end move into the gaps."""
        live = [i for i, row in enumerate(rows) if row.answer is None]
        count = len(live)
        gaps = sorted(set(range(count)) - set(live))
        movers = live[count - len(gaps) :]
        order = list(range(count))
        for gap, mover in zip(gaps, movers, strict=True):
            order[gap] = mover
        if gaps:
            # All columns in use: what a broken row leaves beyond a mover's end would break it when it gets there.
            columns = max(len(row.request.prompt) + len(row.tokens) for row in rows)
            slots.move(torch.tensor(gaps, device=self._device), torch.tensor(movers, device=self._device), columns)
        return [rows[i] for i in order]

    @property
    def _device(self) -> torch.device:
        device: torch.device = self._model.device
        return device


def _stop_if(unwanted: Callable[[], bool]) -> None:
    if unwanted():
        raise Closed("The batch was abandoned because nobody waits for it any more.")


def _extent(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each row of float32 logits the lowest, the highest, and the logarithm of the sum of exponentials."""
    low, top = logits.aminmax(dim=-1)
    return low, top, logits.logsumexp(dim=-1)
