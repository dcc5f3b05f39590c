"""AgentBenchOS: what it says, and real episodes in real machines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from cycleqd.api.tasks import SandboxLimits
from cycleqd.errors import BadData, Unscored, UnsupportedHere
from cycleqd.manifest import load_manifest
from cycleqd_runner.chat import ChatModel
from cycleqd_runner.sandbox import HostSandbox, Sandbox
from cycleqd_runner.sandbox.hosts import LocalHost
from cycleqd_runner.tasks.agentbench_os import AgentBenchOs
from cycleqd_runner.tasks.agentbench_os.protocol import INSTRUCTION, Action, action_in, opening, shown
from cycleqd_runner.tasks.contract import Item, Setting, Verdict
from cycleqd_runner.unsupported import require_machines
from tests.runner.tasks.os_problems import MATCH, Agent, built, gold, think, type_
from tests.runner.tasks.support import NoSandbox, in_sandbox

ROOT = Path(__file__).parents[3]
LIMITS = SandboxLimits(timeout_seconds=10)


def in_machines(work: Callable[[Sandbox], Awaitable[Sequence[Verdict]]]) -> Sequence[Verdict]:
    """Run ``work`` with a sandbox that has machines, or skip."""

    async def with_machines(sandbox: Sandbox) -> Sequence[Verdict]:
        sandbox.require_machines()
        return await work(sandbox)

    return in_sandbox(with_machines)


def play(
    evaluator: AgentBenchOs, agents: Callable[[Item], ChatModel] | ChatModel, limits: SandboxLimits = LIMITS
) -> list[Verdict]:
    """Play all items at once."""

    async def work(sandbox: Sandbox) -> list[Verdict]:
        return await asyncio.gather(
            *(
                evaluator.judge(item, agents(item) if callable(agents) else agents, Setting(sandbox, limits))
                for item in evaluator.items()
            )
        )

    return list(in_machines(work))


def play_one(agent: Agent, *, max_turns: int = 5, limits: SandboxLimits = LIMITS, **item: object) -> Verdict:
    """Play one item; it wants the answer ``yes`` unless it says otherwise."""
    (verdict,) = play(built({**MATCH, **item}, scripts="there", max_turns=max_turns), agent, limits)
    return verdict


# What is said


SAID: dict[str, tuple[str, Action | None]] = {
    "bash": (type_("ls\npwd"), Action("bash", "ls\npwd")),
    "two-blocks": ("Act: bash\n```bash\na\n```\nand\n```bash\nb\n```", Action("bash", "a\n\nb")),
    "no-block": ("Act: bash\nls", Action("bash", "")),
    "cut-block": ("Act: bash\n```bash\nls", Action("bash", "")),
    "finish": (think("finish"), Action("finish")),
    "answer": (think("answer(92)"), Action("answer", "92")),
    "parentheses": (think("answer(f(1) (x))"), Action("answer", "f(1) (x)")),
    "no-parentheses": (think("answer 92"), Action("answer", "")),
    "turned-parentheses": (think("answer )("), Action("answer", "")),
    "capitals": ("Act: Finish", Action("finish")),
    "the-last-counts": (f"{type_('ls')}\n{think('answer(1)')}", Action("answer", "1")),
    "what-is-none-is-passed-over": ("Act: finish\nAct: dance", Action("finish")),
    "none": ("Act: dance", None),
    "empty": ("", None),
    "garbage": ("```bash\nls\n``` (answer) \0", None),
}


@pytest.mark.parametrize(("text", "action"), SAID.values(), ids=SAID)
def test_actions_are_found_as_agentbench_finds_them(text: str, action: Action | None) -> None:
    assert action_in(text) == action


def test_long_outputs_are_cut_and_the_model_is_told() -> None:
    assert shown("").content == "The output of the OS is empty."
    assert shown("x" * 800).content == "The output of the OS:\n\n" + "x" * 800
    told = "\n[truncated because the output is too long]"
    assert shown("ü" * 801).content == "The output of the OS:\n\n" + "ü" * 780 + told


def test_a_system_prompt_takes_the_instructions_place() -> None:
    assert opening("Do.", None)[0].content.startswith(INSTRUCTION)
    assert opening("Do.", None)[-1].content == "Now, I will start a new problem in a new OS. My problem is:\n\nDo."
    roles = {prompt: [message.role for message in opening("Do.", prompt)] for prompt in (None, "", "Be brief.")}
    assert roles[None] == roles[""] == ["user", "assistant"] * 3 + ["user"]
    assert roles["Be brief."] == ["system", *roles[""]]
    assert not any(INSTRUCTION in message.content for message in (*opening("Do.", ""), *opening("Do.", "Be brief.")))


def test_the_worked_example_follows_the_protocol() -> None:
    actions = [action_in(message.content) for message in opening("Do.", None) if message.role == "assistant"]
    assert actions == [Action("bash", "ls -1 /etc"), Action("bash", "ls -1 /etc | wc -l"), Action("answer", "92")]


# Episodes


def test_the_terminal_remembers_as_a_terminal_does() -> None:
    agent = Agent(
        type_("cd /tmp; x=5; export y='a b'; greet() { echo hello $1; }; alias up='cd ..'; list=(1 2)"),
        type_('pwd; echo $x "$y" ${list[1]}; greet you; up; python3 -c \'import os; print(os.environ["y"])\''),
        type_("pwd; cat; ls /nowhere; exit 3"),
        type_("pwd"),
        think("answer(yes)"),
    )
    assert play_one(agent).score == 1
    assert agent.outputs == [
        "The output of the OS is empty.",
        "/tmp\n5 a b 2\nhello you\na b\n",
        "/\nls: cannot access '/nowhere': No such file or directory\n",
        "/\n",
    ]


def test_each_item_has_a_fresh_machine_and_code_is_its_root() -> None:
    look = "id -u; ls -A /home; echo x >/home/x; echo y >>/etc/motd; ls -A /home"
    agents = [Agent(type_(look), think("finish")) for _ in range(2)]
    verdicts = play(built(MATCH, MATCH), lambda item: agents[int(item.id[3])])
    assert [agent.outputs[0] for agent in agents] == ["0\nx\n"] * 2
    assert [verdict.score for verdict in verdicts] == [0, 0]


def test_what_start_leaves_in_the_background_goes_on_between_turns() -> None:
    agent = Agent(type_("cat /root/log | wc -c; sleep 0.5"), type_("cat /root/log | wc -c"), think("answer(yes)"))
    start = "while true; do printf x >>/root/log; sleep 0.05; done &"
    assert play_one(agent, create={"init": "touch /root/log"}, start=start).score == 1
    before, after = map(int, agent.outputs)
    assert after > before


JUDGED: dict[str, tuple[str, dict[str, object], float]] = {
    "match": ("answer(yes)", {"match": "yes"}, 1),
    "match-strips": ("answer( yes )", {"match": "yes"}, 1),
    "match-keeps-blanks": ("answer( yes )", {"match": {"answer": "yes", "strip": False}}, 0),
    "match-exactly": ("answer(yes!)", {"match": "yes"}, 0),
    "match-regex": ("answer(well, yes!)", {"match": {"regex": "y.s"}}, 1),
    "match-other-regex": ("answer(well, yes!)", {"match": {"regex": "^yes"}}, 0),
    "match-finish": ("finish", {"match": {"regex": ""}}, 0),
    "check-succeeds": ("finish", {"check": "true"}, 1),
    "check-fails": ("finish", {"check": "exit 2"}, 0),
    "check-gets-the-answer": ("answer(a b)", {"check": '[ "$1|$#" = "a b|1" ]'}, 1),
    "check-gets-none": ("finish", {"check": '[ "$1" = None ]'}, 1),
    "check-gets-outputs": ("answer(1)", {"check": ["printf 2", "echo 3", '[ "$1|$2|$3" = "1|2|3\n" ]']}, 1),
    "check-stops-at-the-first-failure": ("answer(1)", {"check": ["false", "true"]}, 0),
    "check-python": ("answer(1)", {"check": {"language": "python", "code": "import sys\nexit(sys.argv[1] != '1')"}}, 1),
    "check-example": ("answer(7)", {"check": [None, '[ "$1" = "$2" ]'], "example": "printf 7"}, 1),
    "check-other-than-example": ("answer(8)", {"check": [None, '[ "$1" = "$2" ]'], "example": "printf 7"}, 0),
    "odd-answer": ("answer(\0\ud800)", {"check": '[ "$1" = "?" ]'}, 1),
}


def test_answers_are_judged_by_match_or_by_check() -> None:
    evaluator = built(*({"description": "d", "evaluation": evaluation} for _, evaluation, _ in JUDGED.values()))
    says = dict(zip((item.id for item in evaluator.items()), (say for say, _, _ in JUDGED.values()), strict=True))
    verdicts = play(evaluator, lambda item: Agent(think(says[item.id])))
    scores = dict(zip(JUDGED, (verdict.score for verdict in verdicts), strict=True))
    assert scores == {name: score for name, (_, _, score) in JUDGED.items()}


def test_who_does_not_answer_in_time_scores_0() -> None:
    agent = Agent(*[type_("echo again")] * 3, think("answer(yes)"))
    verdict = play_one(agent, max_turns=3)
    assert (verdict.score, verdict.reason, len(agent.asked)) == (0, "no answer within 3 turns", 3)
    assert play_one(Agent(*[type_("echo again")] * 2, think("answer(yes)")), max_turns=3).score == 1


def test_a_command_without_end_is_ended_and_the_episode_goes_on() -> None:
    agent = Agent(type_("cd /tmp; echo begun; sleep 60"), type_("pwd"), think("answer(yes)"))
    assert play_one(agent, limits=SandboxLimits(timeout_seconds=1)).score == 1
    assert agent.outputs == ["begun\n", "/root\n"]


def test_the_verdict_tells_the_whole_conversation() -> None:
    verdict = play_one(Agent(type_("echo one"), think("answer(yes)")))
    said = [message.content for message in verdict.messages]
    assert said[-2:] == [type_("echo one"), "The output of the OS:\n\none\n"]
    assert (verdict.answer, verdict.prompt_tokens, verdict.answer_tokens) == (think("answer(yes)"), 14, 6)


# The contract


class NoMachines(NoSandbox):
    """A sandbox that has no machines."""

    def require_machines(self) -> None:
        raise UnsupportedHere("sandbox none has no machines: install proot")


@pytest.mark.parametrize(
    "text", ["", "I would rather not.", "\0" * 10, "Act:" * 1000], ids=["empty", "no", "nul", "acts"]
)
def test_what_takes_no_action_scores_0_and_needs_no_machine(text: str) -> None:
    evaluator = built(MATCH)
    verdict = asyncio.run(evaluator.judge(evaluator.items()[0], Agent(text), Setting(NoSandbox(), LIMITS)))
    assert (verdict.score, verdict.reason) == (0, "turn 1 takes none of the actions bash, finish and answer")


def test_an_items_own_script_that_meets_a_limit_is_not_the_models_fault() -> None:
    with pytest.raises(Unscored, match=r"^item os-0-\w+: its own init or start script was ended by the limit on time$"):
        play_one(Agent(think("answer(yes)")), create={"init": "sleep 9"}, limits=SandboxLimits(timeout_seconds=1))


def test_the_same_again_gives_the_same() -> None:
    evaluator = built({"description": "d", "evaluation": {"check": [None, '[ "$1" = "$2" ]'], "example": "ls -a /"}})

    def once() -> list[Verdict]:
        return play(evaluator, lambda item: Agent(type_("ls -a /; nproc"), type_("env; id"), think("answer(.)")))

    assert once() == once()


HOSTILE = {
    "kills-all": "kill -9 -1; kill -9 1",
    "removes-all": "rm -rf /root /etc /home /tmp /var --no-preserve-root",
    "daemon": "setsid nohup sh -c 'sleep 1234 & sleep 1235' >/dev/null 2>&1 &",
    "many-processes": "for i in $(seq 100); do sleep 1234 & done",
    "fills-the-disk": "dd if=/dev/zero of=/root/big bs=1M count=100",
    "floods": "head -c 100000000 /dev/zero | tr '\\0' x",
    "hangs": "sleep 1236",
    "breaks-the-shell": "exec 1>&- 2>&-; PATH=; trap '' 15 1 2; readonly PWD; unset HOME; alias eval=true cat=true",
}


def test_hostile_answers_harm_nothing_and_leave_nothing(tmp_path: Path) -> None:
    decoy = tmp_path / "decoy"
    decoy.write_text("mine")
    decoy.chmod(0o666)
    evaluator = built(*({**MATCH, "description": name} for name in HOSTILE))
    mounts = Path("/proc/self/mounts").read_text()

    async def work(sandbox: Sandbox) -> list[Verdict]:
        assert isinstance(sandbox, HostSandbox)
        assert isinstance(sandbox.host, LocalHost)
        host, folder = sandbox.host.pid, sandbox.host.folder

        def state() -> tuple[int, list[str]]:
            return sandbox.host.pid, sorted(str(path) for path in folder.rglob("*"))

        before = state()
        limits = SandboxLimits(timeout_seconds=2)
        verdicts = await asyncio.gather(
            *(
                evaluator.judge(
                    item,
                    Agent(type_(f"{code}\nrm -f {decoy}; echo theirs >{decoy}"), type_(code), think("answer(yes)")),
                    Setting(sandbox, limits),
                )
                for item, code in zip(evaluator.items(), HOSTILE.values(), strict=True)
            )
        )
        assert state() == before
        assert sleepers() == []
        assert before[0] == host
        return verdicts

    verdicts = in_machines(work)
    assert [verdict.score for verdict in verdicts] == [1] * len(HOSTILE)
    assert decoy.read_text() == "mine"
    assert Path("/proc/self/mounts").read_text() == mounts


def sleepers() -> list[bytes]:
    """Return the processes of this computer that the hostile answers started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return [line for line in found if line.startswith(b"sleep\x00123")]


def test_a_run_is_refused_where_there_are_no_machines() -> None:
    spec = load_manifest(ROOT / "examples" / "llama3-agents" / "run.yaml").spec
    said = r"^Task os \(AgentBenchOS\) needs machines, but sandbox none has no machines: install proot\.$"
    with pytest.raises(UnsupportedHere, match=said):
        require_machines(spec, NoMachines())
    others = tuple(task for task in spec.tasks if not task.evaluator.needs_machines)
    require_machines(spec.model_copy(update={"tasks": others}), NoMachines())


# AgentBench's development split


def development_split() -> list[dict[str, object]]:
    if "CYCLEQD_DATA" not in os.environ:
        pytest.skip("CYCLEQD_DATA (folder with agentbench/os-dev.json) is unset")
    items: list[dict[str, object]] = json.loads(Path(os.environ["CYCLEQD_DATA"], "agentbench/os-dev.json").read_bytes())
    return items


@pytest.fixture(scope="module")
def development() -> AgentBenchOs:
    return built(*development_split(), scripts="there")


def test_the_development_split_says_which_scripts_it_needs() -> None:
    objects = [item for item in development_split() if '"file":' in json.dumps(item)]
    with pytest.raises(BadData, match=r"^os\.json: 21 of 21 items need scripts, and evaluator.scripts is unset: "):
        built(*objects)


ENDS: dict[str, tuple[Callable[[Item], Agent], float]] = {
    "gold": (gold, 1),
    "empty": (lambda item: Agent(""), 0),
    "empty-answer": (lambda item: Agent(think("answer()")), 0),
    "wrong": (lambda item: Agent(type_("ls"), think("answer(-12345)")), 0),
    "nothing-done": (lambda item: Agent(think("finish")), 0),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_development_split_is_judged_right(development: AgentBenchOs, end: str) -> None:
    agent, score = ENDS[end]
    verdicts = play(development, agent)
    assert len(verdicts) == 26
    other = {item.id: v.reason for item, v in zip(development.items(), verdicts, strict=True) if v.score != score}
    assert not other
