"""The PythonTests evaluator: description to function, judged by unit tests. Items: generated, own format or MBPP's."""

from __future__ import annotations

import hashlib
import json
import secrets
from functools import partial

from cycleqd.api.tasks import PythonTestsEvaluator, SandboxLimits
from cycleqd_runner.sandbox import Execution, Sandbox
from cycleqd_runner.tasks.answers import code_in
from cycleqd_runner.tasks.executable import ExecutableEvaluator, Judgement, build_evaluator, one_line
from cycleqd_runner.tasks.generate.python import generate_python
from cycleqd_runner.tasks.inside import program
from cycleqd_runner.tasks.items import PythonItem
from cycleqd_runner.tasks.mbpp import parse_python_line
from cycleqd_runner.tasks.prompts import PYTHON_PROMPT

STOP = ("\n\n",)


def python_tests_evaluator(spec: PythonTestsEvaluator, data: bytes | None) -> ExecutableEvaluator[PythonItem]:
    """Build the evaluator; see :func:`~cycleqd_runner.tasks.executable.build_evaluator`."""
    return build_evaluator(
        spec,
        data,
        kind=PythonItem,
        generate=generate_python,
        parse=partial(parse_python_line, extra_tests=spec.extra_tests),
        prompt=PYTHON_PROMPT,
        stop=STOP,
        check=check_python,
    )


async def check_python(item: PythonItem, text: str, sandbox: Sandbox, limits: SandboxLimits) -> Judgement:
    """Run an answer with its tests: 1 if all pass, else 0."""
    code = code_in(text)
    if not code:
        return 0.0, "no code in the answer"
    secret = secrets.token_hex(16)
    work = json.dumps({"setup": item.setup, "answer": code, "tests": item.tests})
    execution = Execution(python=program("python_check"), stdin=f"{work}\n{secret}".encode())
    completed = await sandbox.run(execution, limits)
    if completed.limit is not None:
        return 0.0, f"ended by the limit on {completed.limit}"
    try:
        report = json.loads(completed.stdout)
    except ValueError:
        return 0.0, f"the answer ended the process (exit code {completed.exit_code})"
    if not isinstance(report, dict):
        return 0.0, "the answer wrote a report of its own"
    if report.get("proof") == hashlib.sha256(f"passed:{secret}".encode()).hexdigest():
        return 1.0, None
    return 0.0, one_line(str(report.get("failed", "the answer wrote a report of its own")))
