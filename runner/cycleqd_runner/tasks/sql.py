"""The Sql evaluator: question and schema to SQL, executed on SQLite. Items are made by ``generate.sql``."""

from __future__ import annotations

import json

from cycleqd.api.tasks import SandboxLimits, SqlEvaluator
from cycleqd.errors import BadData, Unscored
from cycleqd_runner.sandbox import Execution, Sandbox
from cycleqd_runner.tasks.answers import statement_in
from cycleqd_runner.tasks.executable import ExecutableEvaluator, Judgement, build_evaluator, one_line
from cycleqd_runner.tasks.generate.sql import generate_sql
from cycleqd_runner.tasks.inside import program
from cycleqd_runner.tasks.items import SqlItem
from cycleqd_runner.tasks.prompts import SQL_PROMPT

STOP = (";", "\n\n")


def sql_evaluator(spec: SqlEvaluator, data: bytes | None) -> ExecutableEvaluator[SqlItem]:
    """Build the evaluator; see :func:`~cycleqd_runner.tasks.executable.build_evaluator`."""
    return build_evaluator(
        spec,
        data,
        kind=SqlItem,
        generate=generate_sql,
        parse=SqlItem.model_validate,
        prompt=SQL_PROMPT,
        stop=STOP,
        check=check_sql,
    )


async def check_sql(item: SqlItem, text: str, sandbox: Sandbox, limits: SandboxLimits) -> Judgement:
    """Run an answer: the tables must end as after the gold statement, and its rows must be the same.

    Rows are compared as a bag unless the item asks for an order; floats to six decimals.

    Raises:
        Unscored: the sandbox gave no verdict although no limit was met.
        BadData: the item's setup or gold statement fails.
    """
    statement = statement_in(text)
    if not statement:
        return 0.0, "no statement in the answer"
    work = {"setup": item.setup, "gold": item.gold, "answer": statement, "ordered": item.ordered}
    execution = Execution(python=program("sql_check"), stdin=json.dumps(work).encode())
    completed = await sandbox.run(execution, limits)
    if completed.limit is not None:
        return 0.0, f"ended by the limit on {completed.limit}"
    try:
        verdict = json.loads(completed.stdout)
    except ValueError as error:
        detail = one_line(completed.stderr.decode(errors="replace")) or f"exit code {completed.exit_code}"
        if "MemoryError" in detail:
            return 0.0, "ended by the limit on memory"
        raise Unscored(f"The SQL check of item {item.id} gave no verdict ({detail}): see the sandbox's log.") from error
    if "broken" in verdict:
        raise BadData(f"Sql item {item.id}: its own setup or gold statement fails ({verdict['broken']}): correct it.")
    return float(verdict["score"]), verdict["reason"] and one_line(verdict["reason"])
