"""AgentBenchOS: what it reads of files as AgentBench writes them."""

from __future__ import annotations

import pytest

from cycleqd.api.tasks import AgentBenchOsEvaluator
from cycleqd.errors import BadData
from cycleqd_runner.tasks.registry import make_evaluator
from tests.runner.tasks.os_problems import MATCH, SCRIPTS, built


def test_items_are_read_as_agentbench_writes_them() -> None:
    evaluator = built(
        {
            "description": "Count.",
            "create": {"local": "default", "init": "touch a"},
            "start": "sleep 60 &",
            "evaluation": {"check": [None, {"language": "python", "file": "check/integer-match.py"}], "example": "ls"},
            "labels": ["file"],
        },
        {"description": "Say.", "create": {"init": [{"code": "a"}, "b"]}, "evaluation": {"match": {"regex": "^y"}}},
        {"description": "Do.", "create": [None], "evaluation": {"check": "true"}, "example": {"file": "example/0.sh"}},
        scripts="there/",
    )
    count, say, do = (item.payload for item in evaluator.items())
    integers = {"language": "python", "code": SCRIPTS["check/integer-match.py"].decode()}
    assert count["init"] == [{"language": "bash", "code": "touch a"}]
    assert count["check"] == [{"language": "bash", "code": "ls"}, integers]
    assert (count["start"], count["match"]) == ("sleep 60 &", None)
    assert say["match"] == {"answer": None, "regex": "^y", "strip": True}
    assert say["init"] == [{"language": "bash", "code": "a"}, {"language": "bash", "code": "b"}]
    assert do["init"] == []
    assert do["example"] == {"language": "bash", "code": SCRIPTS["example/0.sh"].decode()}


def test_ids_are_of_place_and_content() -> None:
    ids = [item.id for item in built(MATCH, MATCH).items()]
    assert [name[:5] for name in ids] == ["os-0-", "os-1-"]
    assert ids == [item.id for item in built(MATCH, {**MATCH, "labels": ["x"]}).items()]
    assert ids[0] != built({**MATCH, "start": "sleep 1 &"}).items()[0].id


BROKEN: dict[str, tuple[object, str]] = {
    "no-object": (3, r"os\.json, item 0: the item: input should be .*"),
    "no-description": ({"evaluation": {"match": "1"}}, r"os\.json, item 0: description: field required\."),
    "no-evaluation": ({"description": "d"}, r"os\.json, item 0: evaluation: field required\."),
    "nothing-to-judge": ({"description": "d", "evaluation": {}}, ".* has neither match nor check.*"),
    "no-example": ({"description": "d", "evaluation": {"check": [None]}}, ".*stands for the example.*there is none.*"),
    "c++": ({"description": "d", "evaluation": {"check": {"language": "c++", "code": ""}}}, r".* got 'c\+\+'\."),
    "python-start": ({**MATCH, "start": {"language": "python", "code": ""}}, ".*typed into bash, got python.*"),
    "both": ({**MATCH, "start": {"code": "", "file": "f"}}, ".*either code or a file.*"),
    "escape": ({"description": "d", "evaluation": {"check": {"file": "../x"}}}, r".*plain path.*got '\.\./x'\."),
    "pattern": ({"description": "d", "evaluation": {"match": {"regex": "("}}}, ".*none of python's re.*"),
    "two-matches": (
        {"description": "d", "evaluation": {"match": {"regex": "a", "answer": "b"}}},
        ".*answer or regex.*",
    ),
}


@pytest.mark.parametrize(("item", "said"), BROKEN.values(), ids=BROKEN)
def test_broken_items_are_named(item: object, said: str) -> None:
    with pytest.raises(BadData, match=f"^{said}$"):
        built(item, scripts="there")


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[]"], ids=["syntax", "no-utf-8", "empty"])
def test_broken_files_are_refused(data: bytes) -> None:
    with pytest.raises(BadData, match=r"^os\.json (is not JSON|has no items).*expected AgentBench's array of items\.$"):
        make_evaluator(AgentBenchOsEvaluator(type="AgentBenchOS", data="os.json"), lambda _: data)


@pytest.mark.parametrize(
    ("folder", "where"), [(None, "evaluator.scripts is unset"), ("there", "there lacks them")], ids=["unset", "lacking"]
)
def test_missing_scripts_are_listed_with_the_items_that_need_them(folder: str | None, where: str) -> None:
    def needing(*files: str) -> object:
        return {"description": "d", "evaluation": {"check": [{"file": file} for file in files]}}

    with pytest.raises(BadData) as caught:
        built(needing("check/b.sh"), MATCH, needing("check/a.sh", "check/b.sh"), scripts=folder)
    assert str(caught.value) == (
        f"os.json: 2 of 3 items need scripts, and {where}: check/a.sh (items 2); check/b.sh (items 0, 2); give "
        "AgentBench's scripts folder as evaluator.scripts, or take these items out of the file."
    )
