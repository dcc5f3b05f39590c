"""How benchmarks let peers take turns: all do the same work, and nobody has the machine's good minutes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import genome, lora_batch
from cycleqd_runner.chat import Answer, Message, Sampling


class Model:
    """Answers with as many tokens as it may."""

    async def chat(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        return Answer("", 1, sampling.max_tokens, "length")


@dataclass
class Engine:
    """Notes who answers together."""

    served: list[str] = field(default_factory=list)

    def serve(self, individuals: Sequence[Any]) -> list[Model]:
        self.served.append("".join(individuals))
        return [Model() for _ in individuals]


def test_each_child_answers_alone_once_and_with_all_in_every_round() -> None:
    engine: Any = Engine()
    children: Any = "abcd"
    asked = [((Message("user", "?"),), Sampling(3))] * 2
    rates = lora_batch.rates(engine, children, asked)
    warm_up, *served = engine.served
    assert warm_up == "a"
    assert served == ["a", "c", "abcd", "b", "d", "abcd"]
    assert rates["alone"] > 0
    assert rates["together"] > 0


def test_genomes_and_dense_matrices_take_turns() -> None:
    done = ""

    def note(what: str) -> None:
        nonlocal done
        done += what

    own, dense = genome.seconds(lambda: note("g"), lambda: note("d"))
    assert done == ("g" * genome.CHILDREN + "d") * (genome.ROUNDS + 1)
    assert own >= 0
    assert dense >= 0
