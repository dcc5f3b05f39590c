"""One sample through a task's solvers and scorer, in the context that inspect's own runner gives them.

That runner runs one evaluation a process at a time, with a display and log files. What it keeps of a sample is in
context variables; they are set here as ``inspect_ai._eval.task.run`` sets them, so that hundreds of samples can share
an event loop, each in an asyncio task of its own.
"""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any, Literal

from inspect_ai import Task
from inspect_ai._eval.context import init_model_context
from inspect_ai._eval.task.generate import task_generate
from inspect_ai._eval.task.run import resolve_plan
from inspect_ai._eval.task.util import sample_messages
from inspect_ai._util.exception import TerminateSampleError
from inspect_ai._util.notgiven import NOT_GIVEN
from inspect_ai.dataset import Sample
from inspect_ai.log._transcript import Transcript, init_transcript
from inspect_ai.model import GenerateConfig, Model, ModelName
from inspect_ai.model._assistant_internal import init_sample_assistant_internal
from inspect_ai.model._model import init_sample_model_data
from inspect_ai.scorer import Score, Scorer, Target
from inspect_ai.scorer._score import init_scoring_context
from inspect_ai.solver import TaskState
from inspect_ai.solver._fork import set_task_generate
from inspect_ai.solver._task_state import sample_state, set_sample_state
from inspect_ai.util import LimitExceededError, apply_limits, time_limit, turn_limit
from inspect_ai.util._store import init_subtask_store

_log = logging.getLogger(__name__)


def begin(task: Task, sample: Sample, model: Model, epoch: int) -> TaskState:
    """Begin a sample in the present context; nothing of an earlier one is left in it.

    Args:
        task: whose sample it is.
        sample: is copied: solvers may change what they get.
        model: the one that solvers and scorers ask if they name none.
        epoch: which time the sample is asked: 1, 2, ...
    """
    sample = deepcopy(sample)
    state = TaskState(
        model=ModelName(model),
        sample_id=sample.id if sample.id is not None else 0,
        epoch=epoch,
        input=sample.input,
        target=Target(sample.target),
        choices=sample.choices,
        messages=sample_messages(sample),
        message_limit=task.message_limit,
        token_limit=task.token_limit,
        token_limit_type=task.token_limit_type or "all",
        metadata=sample.metadata,
    )
    init_model_context(model, task.model_roles, task.config)
    init_sample_model_data()
    set_sample_state(state)
    init_transcript(Transcript(log_model_api=False))
    init_subtask_store(state.store)
    init_scoring_context(task.scorer or [], state.target)
    init_sample_assistant_internal()
    return state


async def solve(task: Task, state: TaskState, model: Model) -> TaskState:
    """Return what the solvers made of a sample; where they met a limit of the task, as it stood then.

    Raises whatever the task's code raises.
    """

    async def generate(
        state: TaskState,
        tool_calls: Literal["loop", "single", "none"] = "loop",
        **settings: Any,  # noqa: ANN401 - inspect's own
    ) -> TaskState:
        return await task_generate(model, state, tool_calls, NOT_GIVEN, task.config.merge(GenerateConfig(**settings)))

    set_task_generate(generate)
    own = [state._token_limit, state._message_limit]  # noqa: SLF001 - solvers may change those of their state
    try:
        with apply_limits([*own, turn_limit(task.turn_limit), time_limit(task.time_limit)]):
            state = await resolve_plan(task, None)(state, generate)
    except (LimitExceededError, TerminateSampleError):
        state = sample_state() or state
    state.completed = True
    set_sample_state(state)
    return state


async def score(task: Task, scorer: Scorer, state: TaskState) -> Score | None:
    """Return what a scorer says of a solved sample, in at most half the time of solving, as inspect has it.

    Raises whatever the task's code raises.
    """
    with time_limit(task.time_limit / 2 if task.time_limit else None):
        return await scorer(state, state.target)


async def clean_up(task: Task, state: TaskState) -> None:
    """Let a task clean up after a sample; its failure is logged and changes nothing, as in inspect."""
    if task.cleanup:
        try:
            await task.cleanup(state)
        except Exception:  # noqa: BLE001 - users' code may raise anything
            _log.warning("Cleaning up after sample %s of %s failed.", state.sample_id, task.name, exc_info=True)
