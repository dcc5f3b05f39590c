"""What every provider's machines do over several commands, with ordinary code and with code that asks for too much."""

# ruff: noqa: E501 - a row of the table is a line

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cycleqd_runner.sandbox import Completed, MachineSpec
from tests.runner.sandbox.behaviours import MARK

Outcomes = Sequence[Completed]


@dataclass(frozen=True)
class MachineBehaviour:
    """Bash scripts that are run one after the other in a fresh machine, and what must come of them."""

    id: str
    scripts: tuple[str, ...]
    expected: Callable[[Outcomes], bool]
    limits: dict[str, int] = field(default_factory=dict)
    spec: MachineSpec = field(default_factory=MachineSpec)
    stdin: bytes = b""
    """Of the first command."""
    needs_signals: bool = False
    needs_confinement: bool = False
    """Whether only a provider that keeps code in can be asked this without harm."""


def said(*outputs: str) -> Callable[[Outcomes], bool]:
    """Expect success and these outputs, without the line's end; ``...`` for one that does not matter."""
    return lambda done: (
        [each.stdout.decode().strip() for each in done if each.exit_code == 0 and each.limit is None]
        == [output if output != "..." else done[n].stdout.decode().strip() for n, output in enumerate(outputs)]
    )


def codes(*expected: int) -> Callable[[Outcomes], bool]:
    """Expect exit codes."""
    return lambda done: [each.exit_code for each in done] == list(expected)


def stopped_then(limit: str, output: str) -> Callable[[Outcomes], bool]:
    """Expect that a limit ends the first command, and that the machine goes on with the last."""
    return lambda done: (
        done[0].exit_code is None
        and done[0].limit == limit
        and done[0].timed_out == (limit == "time")
        and done[-1].stdout.decode().strip() == output
    )


_SHORT = {"timeout_seconds": 3}
_FILES = MachineSpec(
    files={"/root/data/a.txt": b"1", "/usr/local/bin/calc": b"#!/bin/bash\necho $(($*))\n", "/etc/hostname": b"own\n"},
    executable=("/usr/local/bin/calc",),
)

MACHINE_BEHAVIOURS = (
    # who and where
    MachineBehaviour("root", ("id -un; id -u; pwd; echo $HOME $USER",), said("root\n0\n/root\n/root root")),
    MachineBehaviour("environment-names", ("env | cut -d= -f1 | sort | xargs",), lambda done: set(done[0].stdout.split()) <= set(b"HOME LC_CTYPE LOGNAME PATH PWD PYTHONHASHSEED SHELL USER PROOT_LOADER SHLVL OLDPWD _".split())),
    MachineBehaviour("accounts", ("getent passwd | wc -l; getent group | wc -l; getent passwd nobody | cut -d: -f3",), said("18\n38\n65534")),
    MachineBehaviour("folders", ("ls -d /bin /boot /dev /etc /home /lib /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /var | wc -l; ls -A /home /mnt /opt /tmp /srv | grep -vc :",), lambda done: done[0].stdout.split()[0] == b"18"),
    MachineBehaviour("python", ("python3 -c 'import json, sys; print(6 * 7)'",), said("42")),
    MachineBehaviour("processor-count", ("nproc; cat /proc/sys/kernel/threads-max",), lambda done: done[0].exit_code == 0 and len(done[0].stdout.split()) == 2),
    # a file system that lives
    MachineBehaviour("write-anywhere", ("for f in /etc/x /root/x /home/x /tmp/x /var/log/x /usr/x /usr/bin/x /usr/sbin/x /usr/local/x /usr/local/bin/x /opt/x /srv/x /x; do echo 1 > $f || echo $f; done", "cat /etc/x /root/x /home/x /tmp/x /var/log/x /usr/x /usr/bin/x /usr/local/bin/x /x | wc -l"), said("", "9")),
    MachineBehaviour("state-lives-on", ("mkdir a; echo kept > a/f; cd a", "cat a/f; pwd"), said("", "kept\n/root")),
    MachineBehaviour("new-command", ("echo 'echo $(($*))' > /usr/bin/calc; chmod +x /usr/bin/calc", "calc 2 + 3", "command -v calc"), said("", "5", "/usr/bin/calc")),
    MachineBehaviour("replace-a-program", ("printf '#!/bin/sh\necho mine\n' > mine; chmod 755 mine; mv mine /usr/bin/tac", "tac"), said("", "mine")),
    MachineBehaviour("system-is-read-only", ("touch /usr/lib/cycleqd-test /usr/share/cycleqd-test 2> /dev/null; ls /usr/lib/cycleqd-test /usr/share/cycleqd-test 2> /dev/null | wc -l",), said("0"), needs_confinement=True),
    MachineBehaviour("given-files", ("cat data/a.txt; calc 2 '*' 3; cat /etc/hostname; stat -c %a data/a.txt /usr/local/bin/calc",), said("16\nown\n644\n755"), spec=_FILES),
    MachineBehaviour("links", ("ln -s /etc/passwd l; ln l2 h 2>/dev/null; readlink l; wc -l < l; cat l | md5sum | cut -c1-2 > /tmp/a; md5sum /etc/passwd | cut -c1-2 | cmp - /tmp/a && echo same",), said("/etc/passwd\n18\nsame")),
    MachineBehaviour("find-and-du", ("mkdir -p /home/d; touch /home/d/e; echo 1 > /home/f", "find /home -type f -size 0 | wc -l; find /home -mtime -1 -type f | wc -l; du -s /home > /dev/null && echo ok"), said("", "1\n2\nok")),
    MachineBehaviour("odd-names", ("touch $'a\\nb' $'\\xff' 'ż 字'", "ls | wc -l; ls ż*"), lambda done: done[1].stdout.decode().split()[-2:] == ["ż", "字"]),
    # users and permissions
    MachineBehaviour("useradd", ("useradd -m -s /bin/bash -G root,sudo ann && useradd -m bob", "getent passwd | wc -l; groups ann; ls /home | xargs; test -d /home/ann && echo there"), said("", "20\nann : ann root sudo\nann bob\nthere")),
    MachineBehaviour("groupadd", ("groupadd -g 4242 team; useradd -M -g team cat; id -gn cat; getent group team", "userdel cat; groupdel team; getent group team | wc -l"), said("team\nteam:x:4242:", "0")),
    MachineBehaviour("switch-user", ("useradd -m ann; su - ann -c 'id -un; pwd; whoami'",), said("ann\n/home/ann\nann")),
    MachineBehaviour("modes", ("echo 'echo ran' > t; chmod 000 t; stat -c %a t; chmod 4711 t; stat -c %a t; ./t",), said("0\n4711\nran")),
    MachineBehaviour("owners-are-accepted", ("useradd -m ann; touch f; chown ann:ann f && echo ok; chgrp sudo f && echo ok",), said("ok\nok")),
    MachineBehaviour("agentbench-permission-item", ("useradd -s /bin/bash -d /home/jack -m jack && cd /home/jack && echo 'echo Awesome-AgentBench' > test && chmod 000 test && chown jack test && su - jack < /dev/null", "cd /home/jack; chmod 777 test && /home/jack/test"), said("", "Awesome-AgentBench")),
    # commands
    MachineBehaviour("exit-codes", ("exit 7", "true", "no-such-program", "kill -TERM $$"), codes(7, 0, 127, 143), needs_signals=True),
    MachineBehaviour("input", ("cat", "cat"), said("grüße", ""), stdin="grüße\n".encode()),
    MachineBehaviour("large-input", ("wc -c", "echo on"), said("3000000", "on"), stdin=b"x" * 3_000_000),
    MachineBehaviour("input-not-read", ("echo done", "echo on"), said("done", "on"), stdin=b"x" * 3_000_000),
    MachineBehaviour("standard-error", ("echo out; echo err >&2; exit 3",), lambda done: (done[0].stdout, done[0].stderr, done[0].exit_code) == (b"out\n", b"err\n", 3)),
    MachineBehaviour("output-up-to-limit", ("head -c 65536 /dev/zero", "echo on"), lambda done: len(done[0].stdout) == 65536 and done[0].limit is None),
    MachineBehaviour("output-flood", ("yes", "echo on"), stopped_then("output", "on")),
    MachineBehaviour("error-flood", ("yes >&2", "echo on"), stopped_then("output", "on")),
    MachineBehaviour("pipes-and-substitution", ("diff <(seq 3) <(seq 3) && seq 5 | tail -1; cat <<< here",), said("5\nhere")),
    # time
    MachineBehaviour("time-out", (f"sleep {MARK}", "echo on"), stopped_then("time", "on"), _SHORT),
    MachineBehaviour("busy-loop", ("while :; do :; done", "echo on"), stopped_then("time", "on"), _SHORT),
    MachineBehaviour("time-out-ends-its-daemons", (f"(setsid sleep {MARK}7 &) ; sleep {MARK}", f"ps ax -o args= | grep -c '^sleep {MARK}7$'"), lambda done: done[0].timed_out and done[1].stdout == b"0\n", _SHORT),
    MachineBehaviour("time-out-spares-the-others", (f"sleep {MARK}8 > /dev/null 2>&1 & echo $! > pid", f"sleep {MARK}", "kill -0 $(cat pid) && echo alive"), lambda done: done[1].timed_out and done[2].stdout == b"alive\n", _SHORT, needs_signals=True),
    MachineBehaviour("output-before-time-out", (f"echo early; sleep {MARK}", "echo on"), lambda done: done[0].stdout == b"early\n" and stopped_then("time", "on")(done), _SHORT),
    MachineBehaviour("ignoring-sigterm", (f"trap '' TERM INT HUP; sleep {MARK}", "echo on"), stopped_then("time", "on"), _SHORT),
    # processes
    MachineBehaviour("background-lives-on", ("(while :; do echo x >> /root/log; sleep 0.05; done) & echo started", "sleep 0.5; test $(wc -l < /root/log) -gt 3 && echo writes"), said("started", "writes")),
    MachineBehaviour("background-python", ("python3 -c 'import time\nwhile True:\n\twith open(\"/root/log\", \"a+\") as f:\n\t\tf.write(\"succeed\")\n\ttime.sleep(0.05)' &", "sleep 0.7; grep -c succeed /root/log"), said("", "1")),
    MachineBehaviour("background-output-is-thrown-away", ("(sleep 0.3; yes | head -c 300000; touch /root/end) & echo started", "sleep 1.2; ls"), said("started", "end")),
    MachineBehaviour("daemon-lives-on", (f"(setsid bash -c 'setsid sleep {MARK}9 >/dev/null 2>&1 &' &); echo started", f"sleep .2; ps ax -o args= | grep -c '^sleep {MARK}9$'"), said("started", "1")),
    MachineBehaviour("kill-background", (f"sleep {MARK} & echo $! > pid", "kill $(cat pid); sleep .3; kill -0 $(cat pid) 2> /dev/null || echo gone"), said("", "gone"), needs_signals=True),
    MachineBehaviour("kill-by-name", (f"python3 -c 'import time; time.sleep({MARK})' & echo", f"sleep .3; pkill -9 python3; sleep .3; ps ax -o args= | grep -c '^python3.*time.sleep({MARK})'; echo on"), lambda done: done[1].stdout == b"0\non\n", needs_signals=True, needs_confinement=True),
    MachineBehaviour("zombies-are-reaped", ("cp /bin/true zomby; for i in $(seq 15); do ./zomby & done; sleep .1", "sleep .1; ps ax -o comm=,stat= | grep -c 'zomby.*Z'"), lambda done: int(done[1].stdout) < 10),
    MachineBehaviour("many-commands", ("echo 1",) * 12, lambda done: all(each.stdout == b"1\n" for each in done)),
    MachineBehaviour("fork-bomb", ("f() { f | f & }; f; sleep .5", "echo on"), lambda done: done[1].stdout == b"on\n" or done[1].exit_code != 0, {"timeout_seconds": 5}, needs_confinement=True),
    MachineBehaviour("many-processes", ("python3 -c 'import os, time\nn = 0\ntry:\n    for n in range(400):\n        if os.fork() == 0: time.sleep(60); os._exit(0)\nexcept OSError: pass\ntime.sleep(.5)\nprint(n)'",), lambda done: done[0].limit == "processes" or int(done[0].stdout or b"999") < 40),
    MachineBehaviour("kill-everybody", ("kill -9 -1", "echo on"), lambda done: done[0].exit_code in (-9, 0, 137) and done[1].exit_code in (-9, 0), needs_confinement=True),
    MachineBehaviour("kill-the-keeper", ("kill -9 1; kill -TERM 1; kill -9 $(ps ax -o pid=,comm= | awk '$2 == \"sandbox\" {print $1}') ; echo said", "echo on"), lambda done: done[0].stdout in (b"said\n", b"") and done[1].exit_code in (-9, 0), needs_confinement=True),
    # memory and files
    MachineBehaviour("memory", ("python3 -c 'bytearray(1 << 30)'", "echo on"), lambda done: done[0].exit_code == 1 and b"MemoryError" in done[0].stderr and done[1].stdout == b"on\n"),
    MachineBehaviour("big-file", ("head -c 64M /dev/zero > big; stat -c %s big",), lambda done: int(done[0].stdout or b"0") <= 12 << 20),
    MachineBehaviour("disk-fill", ("for i in $(seq 30); do head -c 1M /dev/zero > f$i || exit 1; sleep .05; done", "echo on"), lambda done: done[0].limit == "files"),
    MachineBehaviour("disk-fill-and-empty", ("for i in $(seq 30); do head -c 1M /dev/zero > f$i || exit 1; sleep .05; done", "rm -f f*", "echo on > f; cat f"), lambda done: done[0].limit == "files" and done[2].stdout == b"on\n"),
    MachineBehaviour("many-files", ("python3 -c 'for i in range(9000): open(str(i), \"w\").close()'",), lambda done: done[0].limit == "files"),
    MachineBehaviour("files-within-limit", ("head -c 3M /dev/zero > f; stat -c %s f",), said("3145728")),
    MachineBehaviour("hard-to-remove", ("mkdir -p a/b; chmod 000 a; mkdir d; cd d; for i in $(seq 80); do mkdir d; cd d; done; echo made",), said("made")),
)  # fmt: skip
