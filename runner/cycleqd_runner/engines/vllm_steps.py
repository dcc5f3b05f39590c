"""vLLM's engine, one step at a time, and what its outputs mean. Its owner is :mod:`.vllm`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import vllm
from vllm.logprobs import Logprob
from vllm.outputs import RequestOutput

from cycleqd.errors import UnsupportedHere
from cycleqd_runner.chat import Answer, Finish, Likelihood, Sampling
from cycleqd_runner.engines.batching import Asked, Found, Reading
from cycleqd_runner.engines.conversation import Conversations
from cycleqd_runner.engines.memory import memory_for
from cycleqd_runner.engines.vllm_calls import call

Shares: TypeAlias = "Sequence[Mapping[int, Logprob]]"
"""For each token, the probabilities of itself and of others that vLLM was asked for."""

TOO_LARGE = "lower engine.args.maxModelLen or maxBatchTokens, or raise tensorParallelSize or gpuMemoryUtilization"
"""What to do where vLLM has too little memory."""


class Steps:
    """See :class:`cycleqd_runner.engines.continuous.Stepper`.

    Attributes:
        adapters: of the individuals that are served together, by the numbers that requests have.
        heads_differ: whether they change the output head.
    """

    def __init__(self, llm: vllm.LLMEngine, conversations: Conversations) -> None:
        self.adapters: dict[int, Any] = {}
        self.heads_differ = False
        self._readings: dict[int, Reading] = {}
        self._llm = llm
        self._conversations = conversations

    def add(self, request: Asked, ticket: int) -> None:
        """See Stepper."""
        call(self._llm, "cycleqd_check")
        if isinstance(request, Reading):
            if request.served and self.heads_differ:
                raise UnsupportedHere(
                    "The experts' LoRA adapters change the output head, and vLLM cannot read texts with such adapters; "
                    "set engine.args.concurrentChildren to 1."
                )
            tokens, params = request.text, self._to_read()
            self._readings[ticket] = request
        else:
            tokens, params = request.prompt, self._to_answer(request.sampling)
        prompt = vllm.TokensPrompt(prompt_token_ids=list(tokens))
        self._llm.add_request(str(ticket), prompt, params, lora_request=self.adapters.get(request.served))

    def _to_read(self) -> vllm.SamplingParams:
        return vllm.SamplingParams(
            max_tokens=1,  # vLLM always generates one
            temperature=0,
            detokenize=False,
            prompt_logprobs=1,  # the token itself and the likeliest
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def _to_answer(self, drawn: Sampling) -> vllm.SamplingParams:
        return vllm.SamplingParams(
            max_tokens=drawn.max_tokens,
            temperature=drawn.temperature,
            stop=[stop for stop in drawn.stop if stop],
            top_p=drawn.top_p,
            seed=drawn.seed if drawn.temperature > 0 else None,
            stop_token_ids=sorted(self._conversations.ends),
            detokenize=any(drawn.stop),
            # The probability of a token is NaN if any logit was, and nothing else tells.
            logprobs=0,
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )

    def step(self) -> Iterator[tuple[int, Found]]:
        """See Stepper."""
        fork = torch.random.fork_rng(devices=[])  # vLLM draws for all, also for those who have their own generator
        with fork, memory_for("what vLLM answers at the time", TOO_LARGE):
            outputs = self._llm.step()
        for output in outputs:
            ticket = int(output.request_id)
            reading = self._readings.pop(ticket, None)
            yield ticket, self._answer(output) if reading is None else self._likelihood(reading, output.prompt_logprobs)

    def _answer(self, output: RequestOutput) -> Answer:
        said = output.outputs[0]
        tokens, whole = said.token_ids, self._whole(said.token_ids, said.logprobs)
        # Stop strings and end tokens are both "stop".
        ended: Finish = "length" if said.finish_reason == "length" else "stop"
        finish = ended if whole == len(tokens) else "broken"
        text = said.text if isinstance(said.stop_reason, str) and finish == "stop" else self._decode(tokens[:whole])
        return Answer(text, len(output.prompt_token_ids), whole, finish)

    def _likelihood(self, reading: Reading, shares: Shares) -> Likelihood:
        tokens, own = reading.continuation, shares[-len(reading.continuation) :]
        return reading.found(
            math.fsum(found[token].logprob for token, found in zip(tokens, own, strict=True)),
            is_greedy=all(
                found[token].logprob >= max(one.logprob for one in found.values())
                for token, found in zip(tokens, own, strict=True)
            ),
            is_broken=self._whole(tokens, own) < len(tokens),
        )

    def _whole(self, tokens: Sequence[int], shares: Shares) -> int:
        """Return how many tokens come before the logits were NaN or infinite, or all alike (overflow)."""
        size = self._conversations.config.vocab_size
        for i, (token, found) in enumerate(zip(tokens, shares, strict=True)):
            # Of logits that are all alike, each token is the last, with the same share.
            alike = found[token].rank == size and math.isclose(found[token].logprob, -math.log(size), rel_tol=1e-6)
            if alike or not math.isfinite(found[token].logprob):
                return i
        return len(tokens)

    def _decode(self, tokens: Sequence[int]) -> str:
        """Return the text of whole answers as all engines do; vLLM's own would lack half a character at its end."""
        own = tokens[:-1] if tokens and tokens[-1] in self._conversations.ends else tokens
        return str(self._conversations.tokenizer.backend_tokenizer.decode(own, skip_special_tokens=True))

    def drop(self, tickets: Sequence[int]) -> None:
        """See Stepper."""
        for ticket in tickets:
            self._readings.pop(ticket, None)
        self._llm.abort_request([str(ticket) for ticket in tickets])
