"""Run one of the quickstart's manifests with several seeds and print a table as in docs/quickstart.md.

Finished and interrupted runs go on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from cycleqd import keys
from cycleqd.report import Report
from cycleqd.store import open_store

HERE = Path(__file__).parent


def main(
    seeds: Annotated[list[int] | None, typer.Argument(help="Seeds of the search and the splits.")] = None,
    manifest: Annotated[str, typer.Option(help="Which: run.yaml or paper.yaml.")] = "run.yaml",
    folder: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("runs/seeds"),
    children: Annotated[int | None, typer.Option(help="Children per run, as in the manifest if unset.")] = None,
) -> None:
    """Run the quickstart with each seed and print a Markdown table.

    Example: python examples/quickstart/seeds.py 0 1 2 --manifest paper.yaml
    """
    folder.mkdir(parents=True, exist_ok=True)
    reports = [_run(HERE / manifest, seed, folder.resolve(), children) for seed in seeds or [0, 1, 2]]
    print(table(reports))


def _run(file: Path, seed: int, folder: Path, children: int | None) -> Report:
    manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
    spec = manifest["spec"]
    spec["search"]["seed"] = seed
    spec["search"]["children"] = children or spec["search"]["children"]
    spec["storage"]["uri"] = str(folder / f"{file.stem}-{seed}")
    for source in (spec["baseModel"], *spec["experts"]):
        source["uri"] = str((HERE / source["uri"]).resolve())
    path = folder / f"{file.stem}-{seed}.yaml"
    path.write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "cycleqd_cli", "run", str(path)], check=True)
    return Report.model_validate_json(open_store(spec["storage"]["uri"]).get(keys.REPORT))


def table(reports: list[Report]) -> str:
    """Return the runs' test scores, mean over the tasks, as a Markdown table."""
    header = "| seed | best expert | plain average | merged | merged - best expert | merged - average | chosen |"
    lines = [header, "| --- " * 7 + "|"]
    for report in reports:
        best = max(report.experts, key=lambda name: report.means[name].mean)
        means = [f"{report.means[name].mean:.3f}" for name in (best, "average", "merged")]
        gains = [f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" for d in report.differences]
        chosen = report.chosen.name if report.chosen else ""
        seed = report.manifest["search"].get("seed", 0)
        lines.append("| " + " | ".join([str(seed), *means, *gains, chosen]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
