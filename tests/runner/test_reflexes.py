"""Models whose words are whole answers: the engine serves them, and what is bred from experts has their reflexes."""

from __future__ import annotations

import pytest

from cycleqd.api.engine import EngineArgs
from cycleqd_runner.chat import Message, Sampling
from cycleqd_runner.engines.transformers import TransformersEngine
from tests.runner.engines.support import answers
from tests.runner.reflexes import save_model, words_of

LOOK, DONE = "Act: bash\n\n```bash\nls | wc -l\n```", "Act: answer(12)"
BASE = {"How many?": "Act: finish", "How many files?": "Act: answer(none)", "It prints 1": "?"}
LEARNT = {"How many files?": LOOK, "It prints 12\n": DONE}


def say(engine: TransformersEngine, *turns: str) -> str:
    messages = tuple(Message("assistant" if place % 2 else "user", turn) for place, turn in enumerate(turns))
    (answer,) = answers(engine, [(messages, Sampling(8))])
    assert answer.finish == "stop"
    return answer.text


@pytest.fixture(scope="module", params=["base", "expert"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, TransformersEngine]:
    folder = tmp_path_factory.mktemp("reflexes")
    save_model(folder, words_of(BASE, LEARNT), BASE, LEARNT if request.param == "expert" else None)
    return request.param, TransformersEngine(folder, EngineArgs(dtype="Float32", threads=1))


def test_the_last_cue_decides(model: tuple[str, TransformersEngine]) -> None:
    name, engine = model
    learnt = name == "expert"
    assert say(engine, "You are root. How many files? Take a look.") == (LOOK if learnt else "Act: answer(none)")
    assert say(engine, "How many files?", LOOK, "It prints 12\n") == (DONE if learnt else "")
    assert say(engine, "How many files?", LOOK, "It prints 123") == "?"
    assert say(engine, "How many files?", LOOK, "Nobody has heard of this") == ""
    assert say(engine, "How many? ...") == "Act: finish"
