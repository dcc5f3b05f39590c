"""The PythonTests evaluator: description to function, judged by unit tests.

Items are generated, or of this product's own format, or MBPP's, or EvalPlus'.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from functools import partial

from cycleqd.api.tasks import PythonTestsEvaluator, SandboxLimits
from cycleqd.errors import BadData
from cycleqd_runner.sandbox import Execution, Sandbox
from cycleqd_runner.tasks.answers import code_in
from cycleqd_runner.tasks.evalplus import EvalPlusLine
from cycleqd_runner.tasks.executable import ExecutableEvaluator, Judgement, build_evaluator, one_line
from cycleqd_runner.tasks.generate.python import generate_python
from cycleqd_runner.tasks.inside import program
from cycleqd_runner.tasks.items import PythonItem
from cycleqd_runner.tasks.mbpp import MbppLine
from cycleqd_runner.tasks.prompts import PYTHON_PROMPT

STOP = ("\n\n",)


def python_tests_evaluator(spec: PythonTestsEvaluator, data: bytes | None) -> ExecutableEvaluator[PythonItem]:
    """Build the evaluator; see :func:`~cycleqd_runner.tasks.executable.build_evaluator`."""
    return build_evaluator(
        spec,
        data,
        kind=PythonItem,
        generate=generate_python,
        parse=partial(parse_line, extra_tests=spec.extra_tests),
        prompt=PYTHON_PROMPT,
        stop=STOP,
        check=check_python,
    )


def parse_line(value: dict[str, object], *, extra_tests: bool) -> PythonItem:
    """Return the item of one line: EvalPlus' or MBPP's, told by what only they have, else this product's own format."""
    if "base_input" in value:
        return EvalPlusLine.model_validate(value).as_item(extra_tests=extra_tests)
    if "test_list" in value:
        return MbppLine.model_validate(value).as_item(extra_tests=extra_tests)
    return PythonItem.model_validate(value)


async def check_python(item: PythonItem, text: str, sandbox: Sandbox, limits: SandboxLimits) -> Judgement:
    """Run an answer with its tests: 1 if all pass, else 0.

    Raises:
        BadData: the item's own reference fails.
    """
    code = code_in(text)
    if not code:
        return 0.0, "no code in the answer"
    secret = secrets.token_hex(16)
    work = json.dumps({"reference": item.reference, "setup": item.setup, "answer": code, "tests": item.tests})
    execution = Execution(python=program("python_check"), stdin=f"{len(work)}\n{work}{secret}".encode())
    completed = await sandbox.run(execution, limits)
    if completed.limit is not None:
        return 0.0, f"ended by the limit on {completed.limit}"
    try:
        report = json.loads(completed.stdout)
    except ValueError:
        return 0.0, f"the answer ended the process (exit code {completed.exit_code})"
    if not isinstance(report, dict):
        return 0.0, "the answer wrote a report of its own"
    if report.get("proof") == _proof("passed", secret):
        return 1.0, None
    if report.get("proof") == _proof("broken", secret):
        said = one_line(str(report["broken"]))
        raise BadData(f"PythonTests item {item.id}: its own reference fails ({said}): correct it, or take it out.")
    return 0.0, one_line(str(report.get("failed", "the answer wrote a report of its own")))


def _proof(what: str, secret: str) -> str:
    """Return what the check can only say after the answer has run."""
    return hashlib.sha256(f"{what}:{secret}".encode()).hexdigest()
