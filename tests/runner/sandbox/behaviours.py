"""What every provider does with ordinary code and with code that asks for too much: one table for all of them."""

# ruff: noqa: E501 - a row of the table is a line

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from cycleqd_runner.sandbox import Completed, Entry, Execution

MARKER = "PYTEST_XDIST_WORKER"
"""Variable that says who tests, as others do beside it: gw and a number, by default 0."""


def mark_of(tester: str) -> str:
    """Return the argument of the ``sleep`` commands that must not survive their execution, where ``tester`` tests."""
    return f"314{int(tester[2:]):05}"


MARK = mark_of(os.environ.get(MARKER, "gw0"))


def bash(script: str, **more: object) -> Execution:
    """Return the execution of a bash script."""
    return Execution(argv=("bash", "-c", script), **more)  # type: ignore[arg-type]


def python(source: str, **more: object) -> Execution:
    """Return the execution of Python source."""
    return Execution(python=source, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Behaviour:
    """An execution, its limits where they differ from the suite's, and what must come of it."""

    id: str
    execution: Execution
    expected: Callable[[Completed], bool]
    limits: dict[str, int] = field(default_factory=dict)
    needs_signals: bool = False
    needs_confinement: bool = False
    """Whether only a provider that keeps code in can be asked this without harm."""


def says(stdout: bytes, code: int = 0) -> Callable[[Completed], bool]:
    """Expect an output and an exit code."""
    return lambda done: done.stdout == stdout and done.exit_code == code and done.limit is None


def ends(code: int, stderr: bytes = b"") -> Callable[[Completed], bool]:
    """Expect an exit code and a part of standard error."""
    return lambda done: done.exit_code == code and stderr in done.stderr


def stopped(limit: str) -> Callable[[Completed], bool]:
    """Expect that a limit ended the code."""
    return lambda done: done.exit_code is None and done.limit == limit and done.timed_out == (limit == "time")


def _tree(**expected: Entry | None) -> Callable[[Completed], bool]:
    return lambda done: done.tree is not None and dict(done.tree) == expected


_FLOOD = {"output_kibibytes": 16}
_SHORT = {"timeout_seconds": 1}
_NAMES = b"HOME LANG PATH PWD PYTHONHASHSEED TMPDIR\n"

BEHAVIOURS = (
    # exit codes
    Behaviour("success", bash("echo hello"), says(b"hello\n")),
    Behaviour("exit-code", bash("exit 7"), ends(7)),
    Behaviour("killed-by-own-signal", python("import ctypes; ctypes.string_at(0)"), ends(-11)),
    Behaviour("killed-by-kill", bash("kill -USR1 $$"), ends(-10), needs_signals=True),
    Behaviour("no-such-program", Execution(argv=("no-such-program",)), ends(127, b"No such file")),
    Behaviour("not-executable", Execution(argv=("./f",), files={"f": b"x"}), ends(126, b"Permission denied")),
    Behaviour("nul-in-argument", Execution(argv=("bash", "-c", "echo \0")), ends(126, b"null byte")),
    Behaviour("half-a-character", Execution(argv=("bash", "-c", "echo \ud83d")), ends(126, b"surrogates")),
    Behaviour("argument-too-long", bash("#" * 200_000), ends(126, b"Argument list too long")),
    Behaviour("script-file", Execution(argv=("./s",), files={"s": b"#!/bin/bash\necho in"}, executable=("s",)), says(b"in\n")),
    # Python in the forked interpreter
    Behaviour("python", python("print(__name__, 6 * 7)"), says(b"__main__ 42\n")),
    Behaviour("python-exception", python("x = 1\nx / 0"), ends(1, b'File "main.py", line 2, in <module>\n    x / 0\n')),
    Behaviour("python-only-own-frames", python("1/0"), lambda done: done.stderr.count(b"File ") == 1),
    Behaviour("python-syntax-error", python("def f(:"), ends(1, b"SyntaxError")),
    Behaviour("python-nul-in-source", python("a\0b"), ends(1, b"null bytes")),
    Behaviour("python-sys-exit", python("import sys; sys.exit(3)"), ends(3)),
    Behaviour("python-sys-exit-none", python("import sys; print(1); sys.exit()"), says(b"1\n")),
    Behaviour("python-sys-exit-text", python("import sys; sys.exit('no')"), ends(1, b"no\n")),
    Behaviour("python-exit-builtin", python("exit(4)"), ends(4)),
    Behaviour("python-os-exit", python("import os; os._exit(5)"), ends(5)),
    Behaviour("python-recursion", python("def f(): f()\nf()"), ends(1, b"RecursionError")),
    Behaviour("python-output-before-exception", python("print('said')\n1/0"), says(b"said\n", 1)),
    Behaviour("python-atexit-and-threads", python("import atexit, threading\natexit.register(print, 'end')\nthreading.Timer(.05, print, ['thread']).start()"), says(b"thread\nend\n")),
    Behaviour("python-no-inherited-future", python("def f(x: print('evaluated')): pass"), says(b"evaluated\n")),
    Behaviour("python-import-own-file", python("import helper; print(helper.x)", files={"helper.py": b"x = 3"}), says(b"3\n")),
    Behaviour("python-late-import", python("import xml.dom.minidom, email.mime.text; print('yes')"), says(b"yes\n")),
    Behaviour("python-sqlite", python("import sqlite3; print(sqlite3.connect(':memory:').execute('select 1').fetchall())"), says(b"[(1,)]\n")),
    Behaviour("python-without-host", python("import sys; print(any(n.split('.')[0] == 'jail' for n in sys.modules))"), says(b"False\n")),
    Behaviour("python-input", python("print(input())", stdin="grüße\n".encode()), says("grüße\n".encode())),
    Behaviour("python-asyncio", python("import asyncio; print(asyncio.run(asyncio.sleep(0, 1)))"), says(b"1\n")),
    Behaviour("python-subprocess", python("import subprocess; print(subprocess.check_output(['echo', 'x']))"), says(b"b'x\\n'\n")),
    Behaviour("python-small-memory", python("import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 65536)"), says(b"True\n")),
    # input and output
    Behaviour("environment-names", python("import os; print(*sorted(os.environ))"), says(_NAMES)),
    Behaviour("bash-environment", bash("test $HOME = $PWD -a $TMPDIR = $PWD; echo $? $PATH $LANG"), says(b"0 /usr/bin:/bin C.UTF-8\n")),
    Behaviour("invalid-utf8", bash(r"printf '\xff\xfe\x00x'"), says(b"\xff\xfe\0x")),
    Behaviour("unicode", python("print('żółć 字 🙂')"), says("żółć 字 🙂\n".encode())),
    Behaviour("large-stdin", bash("wc -c", stdin=b"x" * 5_000_000), says(b"5000000\n")),
    Behaviour("stdin-not-read", bash("echo done", stdin=b"x" * 5_000_000), says(b"done\n")),
    Behaviour("no-stdin", bash("cat; echo end"), says(b"end\n")),
    Behaviour("pipes-and-substitution", bash("diff <(seq 3) <(seq 3) && seq 5 | tail -1; cat <<< here"), says(b"5\nhere\n")),
    Behaviour("devices", bash("head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x > /dev/null"), says(b"4\n4\n")),
    Behaviour("temporary-files", bash("f=$(mktemp) && echo t > $f && cat $f; seq 9 | sort -rn | head -1"), says(b"t\n9\n")),
    Behaviour("stdout-flood", bash("yes"), lambda done: stopped("output")(done) and len(done.stdout) == 16384, _FLOOD),
    Behaviour("stderr-flood", bash("yes >&2"), lambda done: stopped("output")(done) and len(done.stderr) == 16384, _FLOOD),
    Behaviour("output-up-to-limit", bash("head -c 16384 /dev/zero"), says(bytes(16384)), _FLOOD),
    Behaviour("output-after-end", python("import os\nprint('x' * 20000)"), lambda done: len(done.stdout) == 16384 and done.limit == "output", _FLOOD),
    # time
    Behaviour("busy-loop", python("while True: pass"), stopped("time"), _SHORT),
    Behaviour("sleep", bash(f"sleep {MARK}"), stopped("time"), _SHORT),
    Behaviour("ignoring-sigterm", bash(f"trap '' TERM INT HUP; while :; do sleep {MARK}; done"), stopped("time"), _SHORT),
    Behaviour("output-before-time-out", bash(f"echo early; sleep {MARK}"), lambda done: done.stdout == b"early\n" and done.timed_out, _SHORT),
    Behaviour("closing-outputs", bash(f"exec >&- 2>&-; sleep {MARK}"), stopped("time"), _SHORT),
    Behaviour("timeout-command", bash(f"timeout 0.1 sleep {MARK}"), ends(124), needs_signals=True),
    # processes
    Behaviour("background-process", bash(f"sleep {MARK} & echo started"), says(b"started\n")),
    Behaviour("daemon", bash(f"(setsid bash -c 'setsid sleep {MARK} >/dev/null 2>&1 &' &) ; echo started"), says(b"started\n")),
    Behaviour("daemon-python", python(f"import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: os.execvp('sleep', ['sleep', '{MARK}'])\n    os._exit(0)\nos.wait()\nprint('started')"), says(b"started\n")),
    Behaviour("zombies", python("import os\nfor _ in range(15):\n    if os.fork() == 0: os._exit(0)\nprint('left')"), says(b"left\n")),
    Behaviour("stopped-processes", bash(f"sleep {MARK} & kill -STOP $! ; echo stopped"), says(b"stopped\n"), needs_signals=True),
    Behaviour("fork-bomb", python("import os, time\nfor _ in range(9):\n    try: os.fork()\n    except OSError: pass\ntime.sleep(.5)"), lambda done: done.exit_code in (None, 0)),
    Behaviour("many-processes", python("import os, time\nn = 0\ntry:\n    for n in range(400):\n        if os.fork() == 0: time.sleep(60); os._exit(0)\nexcept OSError: pass\ntime.sleep(.5)\nprint(n)"), lambda done: done.limit == "processes" or int(done.stdout or b"999") < 24),
    Behaviour("many-threads", python("import threading, time\nn = 0\ntry:\n    for n in range(100): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nexcept RuntimeError: pass\ntime.sleep(.5)\nprint(n)"), lambda done: done.limit == "processes" or int(done.stdout or b"999") < 24),
    Behaviour("enough-processes", bash("for i in 1 2 3 4 5 6 7 8; do sleep 0.05 & done; wait; echo ok"), says(b"ok\n")),
    Behaviour("kill-everybody", bash(f"sleep {MARK} & kill -9 -1 2>/dev/null; echo survived"), says(b"survived\n"), needs_confinement=True),
    Behaviour("kill-pid-1", python("import os\ntry: os.kill(1, 9)\nexcept OSError: pass\nprint('survived')"), says(b"survived\n"), needs_confinement=True),
    Behaviour("kill-parent", python("import os, time\ntry: os.kill(os.getppid(), 9)\nexcept OSError: pass\ntime.sleep(.1)\nprint('survived')"), says(b"survived\n"), needs_confinement=True),
    # memory
    Behaviour("memory", python("bytearray(1 << 30)"), ends(1, b"MemoryError")),
    Behaviour("memory-in-steps", python("x = []\nwhile True: x.append(bytearray(1 << 22))"), ends(1, b"MemoryError")),
    Behaviour("memory-of-bash", bash("x=$(head -c 500000000 /dev/zero | tr '\\0' x); echo ${#x}"), lambda done: done.stdout != b"500000000\n"),
    Behaviour("memory-enough", python("print(len(bytearray(100 << 20)))"), says(b"104857600\n")),
    # files
    Behaviour("big-file", bash("head -c 64M /dev/zero > big; stat -c %s big"), lambda done: int(done.stdout or b"0") <= 4 << 20),
    Behaviour("big-file-python", python("open('big', 'wb').write(bytes(64 << 20))"), ends(1, b"OSError")),
    Behaviour("many-files", python("for i in range(100): open(str(i), 'wb').write(bytes(100_000))"), lambda done: done.limit == "files"),
    Behaviour("many-empty-files", python("for i in range(4200): open(str(i), 'w').close()"), lambda done: done.limit == "files"),
    Behaviour("files-within-limit", bash("head -c 3M /dev/zero > f; stat -c %s f"), says(b"3145728\n")),
    Behaviour("fresh-directory", bash("ls -A; touch left"), says(b"")),
    Behaviour("given-files", bash("cat a/b/c d; ls e", files={"a/b/c": b"1", "d": b"2"}, directories=("e",)), says(b"12")),
    Behaviour("given-files-are-the-codes", bash("echo x > f; rm -r a; mv f g; ls", files={"f": b"", "a/b": b""}), says(b"g\n")),
    Behaviour("rename-between-folders", bash("mv a/f b/g; cat b/g", files={"a/f": b"1"}, directories=("b",)), says(b"1")),
    # the final state
    Behaviour("tree", bash("mkdir d; echo 1 > d/f; chmod 640 d/f; rm old", files={"old": b"x"}, collect=True), _tree(d=Entry("directory", 0o755), **{"d/f": Entry("file", 0o640, b"1\n")})),
    Behaviour("tree-not-asked-for", bash("touch f"), lambda done: done.tree is None),
    Behaviour("tree-executable", bash("true", files={"f": b"", "x": b""}, executable=("x",), collect=True), _tree(f=Entry("file", 0o644), x=Entry("file", 0o755))),
    Behaviour("tree-symlinks", bash("ln -s /etc/shadow a; ln -s / b; ln -s ../.. c; ln -s none d", collect=True), _tree(a=Entry("symlink", 0o777, target="/etc/shadow"), b=Entry("symlink", 0o777, target="/"), c=Entry("symlink", 0o777, target="../.."), d=Entry("symlink", 0o777, target="none"))),
    Behaviour("tree-hard-links", bash("echo 1 > a; ln a b", collect=True), _tree(a=Entry("file", 0o644, b"1\n"), b=Entry("file", 0o644, b"1\n"))),
    Behaviour("tree-fifo", bash("mkfifo p", collect=True), _tree(p=Entry("other", 0o644))),
    Behaviour("tree-closed", bash("mkdir d; echo 1 > d/f; chmod 000 d/f d", collect=True), _tree(d=Entry("directory", 0), **{"d/f": Entry("file", 0, b"1\n")})),
    Behaviour("tree-closed-top", bash("echo 1 > f; chmod 000 .", collect=True), _tree(f=Entry("file", 0o644, b"1\n"))),
    Behaviour("tree-odd-names", python("open(b'\\xff \\n', 'w').close()", collect=True), _tree(**{"\udcff \n": Entry("file", 0o644)})),
    Behaviour("tree-sparse-file", bash("truncate -s 4M a; truncate -s 4M b", collect=True), lambda done: done.limit == "files" and len(done.tree["a"].content) == 4 << 20 and not done.tree["b"].content),  # type: ignore[index]
    Behaviour("tree-deep", python("import os\nfor _ in range(100): os.mkdir('d'); os.chdir('d')", collect=True), lambda done: done.limit == "files" and len(done.tree or ()) == 65),
    Behaviour("tree-deeper-than-paths", python("import os\nfor _ in range(700): os.mkdir('folder'); os.chdir('folder')\nopen('f', 'w').close()"), lambda done: done.exit_code in (0, None)),
    Behaviour("tree-after-time-out", bash(f"echo 1 > f; sleep {MARK}", collect=True), lambda done: done.timed_out and done.tree == {"f": Entry("file", 0o644, b"1\n")}, _SHORT),
)  # fmt: skip
