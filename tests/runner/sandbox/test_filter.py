"""The system call filter, run by a small interpreter of its instructions: also for the architecture we are not on."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest

from cycleqd_runner.sandbox.jail import seccomp

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = "allow", "kill"
EPERM, ENOSYS, NO_FAMILY = errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT


def decide(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> str | int:
    """Return what the kernel would do with a call: allow, kill, or the error it returns."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return {0x7FFF0000: ALLOW, 0x80000000: KILL}.get(value) or int(value & 0xFFFF)
        else:
            true = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            position += if_true if true else if_false


CALLS = [
    # id, numbers on x86_64 and aarch64, arguments, decision
    ("read", (0, 63), (), ALLOW),
    ("execve", (59, 221), (), ALLOW),
    ("kill", (62, 129), (), ALLOW),
    ("fchmodat", (268, 53), (), ALLOW),
    ("socket-inet", (41, 198), (2, 1), NO_FAMILY),
    ("socket-unix", (41, 198), (1, 1), NO_FAMILY),
    ("socketpair-unix", (53, 199), (1, 1), ALLOW),
    ("socketpair-tipc", (53, 199), (30, 1), EPERM),
    ("fork", (56, 220), (17,), ALLOW),
    ("thread", (56, 220), (0x3D0F00,), ALLOW),
    ("clone-user", (56, 220), (0x10000011,), EPERM),
    ("clone-mounts", (56, 220), (0x00020011,), EPERM),
    ("clone3", (435, 435), (), ENOSYS),
    ("own-limit", (302, 261), (0, 7), ALLOW),
    ("others-limit", (302, 261), (4711, 7), EPERM),
    ("own-priority", (141, 140), (0, 0, 5), ALLOW),
    ("others-priority", (141, 140), (0, 4711, 5), EPERM),
    ("own-affinity", (203, 122), (0,), ALLOW),
    ("others-affinity", (203, 122), (4711,), EPERM),
    ("personality-query", (135, 92), (0xFFFFFFFF,), ALLOW),
    ("personality-without-randomisation", (135, 92), (0x0040000,), EPERM),
    ("window-size", (16, 29), (0, 0x5413), ALLOW),
    ("push-terminal-input", (16, 29), (0, 0x5412), EPERM),
    ("push-terminal-input-high-bits", (16, 29), (0, 0xF00005412), EPERM),
    ("ptrace", (101, 117), (), EPERM),
    ("mount", (165, 40), (), EPERM),
    ("bpf", (321, 280), (), EPERM),
]


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
@pytest.mark.parametrize(("numbers", "arguments", "decision"), [pytest.param(*c[1:], id=c[0]) for c in CALLS])
def test_decisions(column: int, numbers: tuple[int, int], arguments: tuple[int, ...], decision: str | int) -> None:
    """The filter decides alike on both architectures."""
    machine = ("x86_64", "aarch64")[column]
    assert decide(seccomp.program(machine), _ARCH[machine], numbers[column], arguments) == decision


def test_other_architectures_calls_kill() -> None:
    """A 32-bit call has other numbers, so no number of it can be judged; x32 numbers are refused."""
    program = seccomp.program("x86_64")
    assert decide(program, 0x40000003, 0) == KILL
    assert decide(program, _ARCH["x86_64"], 0x40000000 | 1) == EPERM


def test_every_denied_call_is_denied() -> None:
    """No entry of the list is skipped by a wrong jump."""
    for column, machine in enumerate(_ARCH):
        program = seccomp.program(machine, signals=False, truncate=False)
        tables = (seccomp._DENIED, seccomp._SIGNALS, seccomp._TRUNCATE)
        numbers = [entry[column] for table in tables for entry in table.values()]
        assert len({number for number in numbers if number is not None}) == sum(n is not None for n in numbers)
        for number in numbers:
            assert number is None or decide(program, _ARCH[machine], number) == EPERM


@pytest.mark.parametrize(
    ("number", "arguments"),
    [(62, ()), (234, ()), (424, ()), (72, (3, 8, 4711)), (72, (3, 15)), (72, (3, 10, 9)), (16, (3, 0x8901))],
)
def test_signals_can_be_denied(number: int, arguments: tuple[int, ...]) -> None:
    """Where nothing else keeps signals inside, none is sent, also not by way of a descriptor's owner."""
    assert decide(seccomp.program("x86_64", signals=False), _ARCH["x86_64"], number, arguments) == EPERM
    assert decide(seccomp.program("x86_64"), _ARCH["x86_64"], number, arguments) == ALLOW


def test_unknown_machine_is_refused() -> None:
    """Without numbers there is no filter, and without a filter no sandbox."""
    with pytest.raises(OSError, match="riscv64"):
        seccomp.program("riscv64")


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
@pytest.mark.parametrize("program", [seccomp.for_proot, lambda name: seccomp.program(name, machine_root=True)])
def test_proot_sees_no_call_that_it_does_not_know(program: Callable[[str], bytes], column: int) -> None:
    """Calls with paths that PRoot would not translate seem missing; a change of owner seems to succeed."""
    machine = ("x86_64", "aarch64")[column]
    for numbers in seccomp._UNKNOWN_TO_PROOT.values():
        assert decide(program(machine), _ARCH[machine], numbers[column]) == ENOSYS
    for owners in seccomp._CHANGING_OWNERS.values():
        number = owners[column]
        assert number is None or decide(program(machine), _ARCH[machine], number) == 0


def test_machines_may_trace_and_else_nothing_more() -> None:
    """What PRoot needs is all that a machine may do beyond other code."""
    program = seccomp.program("x86_64", machine_root=True)
    for name, (number, _) in seccomp._DENIED.items():
        allowed = name in ("ptrace", "process_vm_readv", "process_vm_writev")
        assert number is None or decide(program, _ARCH["x86_64"], number) == (ALLOW if allowed else EPERM)
    assert decide(program, _ARCH["x86_64"], 41, (16, 3)) == NO_FAMILY
