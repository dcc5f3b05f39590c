"""``python -m cycleqd_runner`` is the ``cycleqd`` command."""

from cycleqd_runner.cli import main

main()
