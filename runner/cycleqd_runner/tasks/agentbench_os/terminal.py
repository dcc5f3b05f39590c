"""What of an item runs in its machine: scripts of its own, each by itself, and the terminal that the model types into.

Code goes in through standard input, not as an argument: arguments end at 128 KiB, and background processes see them.
Under PRoot each program that is started costs more than what most commands do, so what is done here is all the shell's
own: no ``cat``, no ``mv``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cycleqd_runner.sandbox import Completed, Machine
from cycleqd_runner.tasks.agentbench_os.items import Script

# With -N bash reads a pipe in blocks, else byte by byte.
_EVALUATE = 'read -rN 1000000000; eval "unset -v REPLY;$REPLY"'
_RUNNERS = {
    "bash": ("bash", "-c", _EVALUATE, "--"),
    "python": ("python3", "-c", "import sys; exec(compile(sys.stdin.read(), '<string>', 'exec'))"),
}

_STATE = "/dev/shm/.terminal"  # noqa: S108 - of the machine, where no item looks
_TYPE = f"""\
exec 2>&1
if [ -r {_STATE} ]; then . {_STATE}; fi 2>/dev/null
keep_terminal() {{
  {{ declare -p; declare -f; alias -p; printf 'cd -- %q\\nreturn\\n' "$PWD"; }} 1<>{_STATE}
}} 2>/dev/null
trap keep_terminal EXIT
shopt -s expand_aliases
{_EVALUATE}
"""
"""A login shell that goes on where the last one ended: variables, functions, aliases and folder.

What is kept is written over what was, up to a ``return``, so that a full disk has room for it.
"""


async def run_script(machine: Machine, script: Script, arguments: Sequence[str] = ()) -> Completed:
    """Run a script of the item's own; its standard input is empty. Raises Unscored if the machine is lost."""
    return await machine.run((*_RUNNERS[script.language], *map(plain, arguments)), stdin=_encoded(script.code))


async def type_into(machine: Machine, code: str) -> Completed:
    """Run code in the terminal; both outputs are the standard output. Raises Unscored if the machine is lost."""
    return await machine.run(("bash", "--login", "-c", _TYPE), stdin=_encoded(plain(code)))


def printed(completed: Completed) -> str:
    """Return what a command printed, as text."""
    return completed.stdout.decode(errors="replace")


def plain(text: str) -> str:
    """Return text as it can be an argument: without NUL, and encodable."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _encoded(code: str) -> bytes:
    return f"{code}\n".encode()
