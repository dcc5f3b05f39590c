from __future__ import annotations

import pytest

from cycleqd_runner.tasks.answers import code_in, command_in, statement_in

CODE = [
    pytest.param("x = 1", "x = 1", id="bare"),
    pytest.param("```python\nx = 1\n```", "x = 1", id="fence"),
    pytest.param("```\nx = 1\n```", "x = 1", id="fence-without-tag"),
    pytest.param("Sure!\n```python\nx = 1\n```\nThis sets x.", "x = 1", id="talk-around"),
    pytest.param("```python\nx = 1", "x = 1", id="cut-before-the-fence-closed"),
    pytest.param("```python\nx = 1\n```\n```python\ny = 2\n```", "x = 1", id="first-of-two"),
    pytest.param("`ls -l`", "ls -l", id="inline"),
    pytest.param("echo `date` `id`", "echo `date` `id`", id="backticks-that-are-code"),
    pytest.param("x = 1<|im_end|>\n<|im_start|>user\nhello", "x = 1", id="end-of-turn-left-in"),
    pytest.param("def f():\n    return 1\n", "def f():\n    return 1", id="indentation-kept"),
    pytest.param("    return 1", "    return 1", id="leading-indentation-kept"),
    pytest.param("```SELECT 1```", "SELECT 1", id="fence-on-one-line"),
    pytest.param("", "", id="empty"),
    pytest.param(" \n\t", "", id="blank"),
    pytest.param("```", "", id="only-a-fence"),
    pytest.param("```sql\n```", "", id="empty-fence"),
]


@pytest.mark.parametrize(("text", "expected"), CODE)
def test_code_in(text: str, expected: str) -> None:
    assert code_in(text) == expected


STATEMENTS = [
    pytest.param("SELECT 1;", "SELECT 1", id="semicolon"),
    pytest.param("SELECT 1; This is the query.", "SELECT 1", id="talk-behind"),
    pytest.param("SELECT ';' FROM t; more", "SELECT ';' FROM t", id="semicolon-in-text"),
    pytest.param("```sql\nSELECT 1;\n```", "SELECT 1", id="fence"),
    pytest.param(";", "", id="nothing-before-it"),
    pytest.param("SELECT '\0'; more", "SELECT '\0'", id="NUL"),
    pytest.param("SELECT '\ud800'; more", "SELECT '\ud800'", id="half-a-character"),
]


@pytest.mark.parametrize(("text", "expected"), STATEMENTS)
def test_statement_in(text: str, expected: str) -> None:
    assert statement_in(text) == expected


def test_the_prompt_of_a_shell_is_dropped() -> None:
    assert command_in("```bash\n$ cd a\n$ ls $HOME\n```") == "cd a\nls $HOME"
