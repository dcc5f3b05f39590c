"""``python -m cycleqd_cli`` is the ``cycleqd`` command."""

from cycleqd_cli import main

main()
