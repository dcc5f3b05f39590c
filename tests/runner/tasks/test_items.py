from __future__ import annotations

import json
from typing import Literal, get_args

import pytest

from cycleqd.api.tasks import Evaluator, EvaluatorBase, PythonTestsEvaluator, ShellEvaluator, SqlEvaluator
from cycleqd.errors import BadData
from cycleqd_runner.local_copies import read_data
from cycleqd_runner.tasks.items import SqlItem
from cycleqd_runner.tasks.registry import FACTORIES, make_evaluator
from cycleqd_runner.tasks.sql import sql_evaluator

GOOD = {"id": "a", "prompt": "p", "gold": "SELECT 1", "setup": ""}
BAD_FILES = [
    pytest.param("", r"q\.jsonl has no items: expected one JSON object a line\.", id="empty"),
    pytest.param("{}\n", r"q\.jsonl, line 1: id: field required \(and 3 more\)\.", id="fields-missing"),
    pytest.param("\n{", r"q\.jsonl, line 2: not JSON \(", id="cut"),
    pytest.param("[1]", r"q\.jsonl, line 1: expected a JSON object, got list\.", id="no-object"),
    pytest.param(
        json.dumps({**GOOD, "answer": 1}), r"line 1: answer: extra inputs are not permitted", id="unknown-field"
    ),
    pytest.param(
        json.dumps({**GOOD, "pool": "train"}), r"line 1: pool: input should be 'seen', 'unseen' or 'any'", id="pool"
    ),
    pytest.param(json.dumps(GOOD) + "\n" + json.dumps(GOOD), r"line 2: the id 'a' was used before", id="id-twice"),
    pytest.param("\xff", r"q\.jsonl is not UTF-8 text \(byte 0\)", id="not-utf-8"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_broken_items_files_name_file_and_line(text: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        sql_evaluator(SqlEvaluator(type="Sql", data="q.jsonl"), text.encode("latin-1"))


def test_a_good_file_is_read_in_order() -> None:
    lines = [json.dumps({**GOOD, "id": name, "pool": "unseen"}) for name in "cab"]
    evaluator = sql_evaluator(SqlEvaluator(type="Sql", data="q.jsonl"), "\n\n".join(lines).encode())
    assert [(item.id, item.pool) for item in evaluator.items()] == [("c", "unseen"), ("a", "unseen"), ("b", "unseen")]
    assert SqlItem.model_validate(evaluator.items()[0].payload).gold == "SELECT 1"


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        pytest.param(SqlEvaluator(type="Sql"), 800, id="Sql"),
        pytest.param(ShellEvaluator(type="Shell"), 800, id="Shell"),
        pytest.param(PythonTestsEvaluator(type="PythonTests"), 800, id="PythonTests"),
    ],
)
def test_generated_items_depend_on_the_items_seed(spec: EvaluatorBase, count: int) -> None:
    items = make_evaluator(spec, read_data).items()
    again = make_evaluator(spec, read_data).items()
    other = make_evaluator(spec.model_copy(update={"items_seed": 5}), read_data).items()
    assert [item.payload for item in items] == [item.payload for item in again]
    assert len({item.id for item in items}) == len(items) == count
    assert not {item.id for item in items} & {item.id for item in other}


def test_every_evaluator_of_the_schema_can_be_made() -> None:
    kinds = get_args(get_args(Evaluator)[0])
    assert {kind.model_fields["type"].annotation for kind in kinds} == {Literal[kind] for kind in FACTORIES}
