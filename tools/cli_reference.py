"""Write docs/cli.md, the reference of the command, from its own help; ``--check`` only compares.

typer writes the commands' part: what the page says is what ``--help`` says.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from generated import write_or_check

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
COMMAND = ("-m", "typer", "cycleqd_cli", "utils", "docs", "--name", "cycleqd", "--title", "Commands")
INTRODUCTION = """\
# The cycleqd command

`pip install 'cycleqd[cluster]'` installs everything to look at runs and to steer them; torch is not among it. What
executes runs on this machine or makes weights (`run`, `export --child`) needs `cycleqd[runner]`, too; `compare FILE`
needs `cycleqd[compare]`.

**What a run is called.** `RUN` is a manifest, a run's folder, the URI of its storage, or its name in the cluster of the
kubeconfig. What exists on this machine wins; `cqd/NAME`, and any name beside `--namespace`, `--context` or
`--kubeconfig`, mean the cluster.

**The store of a run in the cluster** is opened with the Secret that its workers use, or, if you may not read that, with
the `AWS_*` variables of your environment. If the Secret's endpoint is a Service, as that of the chart's try-out store
is, it is reached through `kubectl port-forward` for as long as the command runs. `--endpoint-url` names another way.

**As a plugin of kubectl.** With the same installation on `PATH`, `kubectl cycleqd COMMAND` does the same, and
`kubectl`'s own completion (v1.26 and newer) completes it. `cycleqd --install-completion` is for the command itself.

**Exit codes.** 0: done. 1: a mistake of cycleqd. 2: a person has to change something, or the run that `--watch` waited
for has failed. 75: trying again may help. 130: interrupted. Every error is one sentence on standard error.

This page is generated from the command's own help by `make docs`; CI checks that it is current.

"""


def render() -> str:
    """Return the page as Markdown."""
    told = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, check=True)
    return INTRODUCTION + told.stdout.replace("# ", "## ").rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render, __doc__, "the command says"))
