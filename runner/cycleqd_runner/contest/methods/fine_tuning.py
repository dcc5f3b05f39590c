"""Fine-tuning in place of merging: a fresh LoRA adapter of the base model (peft).

It learns the same transcripts as the other methods, or what the experts were trained on.
Its weights leave the span of the experts' directions. It is trained inside the engine's model, which is afterwards what
it was before.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from torch import Tensor, nn

from cycleqd.errors import UnsupportedHere
from cycleqd.rng import generator
from cycleqd_runner.assess import Weights
from cycleqd_runner.contest.arena import Arena
from cycleqd_runner.contest.methods.contract import Candidate, Proposals
from cycleqd_runner.contest.methods.gradients import Schooling, label, laws, schooling
from cycleqd_runner.contest.spec import FreshLora, Lora, LoraOnTrainingData
from cycleqd_runner.engines.contract import Lent
from cycleqd_runner.engines.memory import memory_for
from cycleqd_runner.guide.descent import Law, answer_loss, parts
from cycleqd_runner.guide.targets import Draw, Target, batches

Factors = dict[str, tuple[Tensor, Tensor]]
"""(m, r) and (r, n) by parameter name, float32: ``W = W0 + left @ right``."""


def lora(arena: Arena, method: Lora) -> Proposals:
    """Propose adapters of the linear layers that the experts change; every pair of steps and learning rate."""
    targets = arena.targets(method)
    for law in laws(method):
        planned = schooling(arena, method, law, targets)
        yield _candidate(arena, method, law, targets, planned, label(law))


def lora_on_training_data(arena: Arena, method: LoraOnTrainingData) -> Proposals:
    """Propose the same on what the experts were trained on; how much of it is shown, the labels say."""
    targets = arena.targets(method)
    for law in laws(method):
        planned = schooling(arena, method, law, targets)
        share = f"{planned.shown:,} of {len(targets):,} examples"
        yield _candidate(arena, method, law, targets, planned, f"{label(law)}, {share}")


def _candidate(
    arena: Arena, method: FreshLora, law: Law, targets: Sequence[Target], planned: Schooling, name: str
) -> Candidate:
    return Candidate(name, lambda: _trained(arena, method, law, targets, planned), planned.tokens)


def _trained(arena: Arena, method: FreshLora, law: Law, targets: Sequence[Target], planned: Schooling) -> Weights:
    session = arena.session
    draw = batches(targets, [1.0] * arena.n_experts, method.batch_items, planned.rng())
    names = [matrix.name for matrix in session.layout.matrices]
    base = session.individual(session.nothing)
    # peft draws from the global generator; what it draws is ours, and what others draw stays as it was.
    with torch.random.fork_rng():
        torch.manual_seed(int(generator(arena.seed, -1, f"contest/{method.name}/adapter").integers(2**63)))
        factors = session.engine.lend(lambda lent: train(lent, names, method.rank, draw, law), base)
    digest = hashlib.sha256(f"lora/{arena.seed}/{method.model_dump_json()}/{law}".encode()).hexdigest()
    return Weights(digest, lambda: merged(arena, factors))


def merged(arena: Arena, factors: Factors) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors that an expert changes: the base's, plus the adapter where it has one."""
    for name, start in arena.session.materialiser.tensors(
        arena.session.nothing, dtype=torch.float32, changed_only=True
    ):
        if name in factors:
            left, right = (factor.to(start.device) for factor in factors[name])
            yield name, start + left @ right
        else:
            yield name, start


def train(lent: Lent, names: list[str], rank: int, draw: Draw, law: Law) -> Factors:
    """Return the factors of an adapter after Adam steps whose rate falls to zero along half a cosine.

    Args:
        lent: a model with the base's weights; it has them again afterwards.
        names: of the parameters that may be adapted; those that are no linear layer's are left alone.
        rank: of the adapter; its alpha is twice the rank.
        draw: the batch of each step.
        law: how steps are taken.

    Raises:
        UnsupportedHere: none of the parameters belongs to a linear layer.
        OutOfMemory: the memory does not suffice.
    """
    model: Any = lent.model
    linear = [name.removesuffix(".weight") for name in names]
    linear = [name for name, module in model.named_modules() if name in set(linear) and isinstance(module, nn.Linear)]
    if not linear:
        raise UnsupportedHere(
            "The experts change no linear layer, so there is nothing to adapt: leave out the methods with LoRA."
        )
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=linear)
    tuner: Any = LoraModel(model, config, "fresh")
    try:
        learned = [parameter for name, parameter in model.named_parameters() if "lora_" in name]
        _descend(lent, learned, draw, law)
        return {f"{name}.weight": _factors(model.get_submodule(name)) for name in linear}
    finally:
        tuner.unload()


def _descend(lent: Lent, learned: list[Tensor], draw: Draw, law: Law) -> None:
    optimiser = torch.optim.Adam(learned, lr=law.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (1 + math.cos(math.pi * step / law.steps)) / 2)
    for step in range(law.steps):
        optimiser.zero_grad()
        for part in parts(draw(step), law.batch_tokens):
            with memory_for("the gradient of a LoRA adapter", "leave out the methods with LoRA"):
                answer_loss(lent, part.targets, part.weights).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def _factors(layer: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - peft is untyped
    left, right = layer.lora_B["fresh"].weight, layer.lora_A["fresh"].weight
    return left.detach().float() * layer.scaling["fresh"], right.detach().float()
