"""Attempts to reach beyond the sandbox. Each prints REACHED where it succeeds, and is a success where it should not be.

``{names}`` are facts of :class:`variants.Worker`. Where ``works_without`` is set, the same code must print REACHED
under ``Unsafe``, which shows that the attempt is a real one and that the row can fail.
"""

# ruff: noqa: E501 - a row of the table is a line

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """Python statements that raise OSError, or print nothing, where the attempt is in vain."""

    id: str
    code: str
    works_without: bool = True
    own_in_machines: bool = False
    """Whether code in a machine has such a thing of its own, or PRoot pretends so: there is nothing to reach."""
    sees_processes: bool = False
    """Whether it is about names of processes, which only pid namespaces hide from machines."""
    needs_another_user: bool = False
    """Whether it is about numbers of descriptors, which machines see of processes of their own user."""
    reaches_past_proot: bool = False
    """Whether it reaches out of a machine that nothing but PRoot keeps."""

    def source(self, facts: dict[str, object]) -> str:
        """Return the program, which ends with ``kept in`` if the attempt failed."""
        code = self.code
        for name, value in facts.items():
            code = code.replace("{" + name + "}", str(value))
        body = "".join(f"    {line}\n" for line in code.strip().splitlines())
        return f"import ctypes, os, signal, socket\nlibc = ctypes.CDLL(None, use_errno=True)\ntry:\n{body}except OSError:\n    pass\nprint('kept in')\n"


ATTACKS = (
    Attack("tcp", "socket.create_connection(('127.0.0.1', {tcp}), 2); print('REACHED')", reaches_past_proot=True),
    Attack("udp", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp})); print('REACHED')", reaches_past_proot=True),
    Attack("tcp6-socket", "socket.socket(socket.AF_INET6); print('REACHED')", works_without=False),
    Attack("raw-socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('REACHED')"),
    Attack("packet-socket", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print('REACHED')"),
    Attack("netlink-socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); print('REACHED')"),
    Attack("unix-socket", "s = socket.socket(socket.AF_UNIX); s.connect('{socket}'); print('REACHED')"),
    Attack("abstract-unix-socket", "s = socket.socket(socket.AF_UNIX); s.connect(chr(0) + '{abstract}'); print('REACHED')", reaches_past_proot=True),
    Attack("unix-datagram", "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); print('REACHED')"),
    Attack("resolve-names", "socket.getaddrinfo('localhost', 80, proto=17)[0]; socket.socket(); print('REACHED')"),
    Attack("environment-token", "if 'CYCLEQD_TEST_TOKEN' in os.environ: print('REACHED')", works_without=False),
    Attack("worker-environ", "if b'CYCLEQD' in open('/proc/{worker}/environ', 'rb').read() or True: print('REACHED')"),
    Attack("worker-cmdline", "open('/proc/{worker}/cmdline', 'rb').read(); print('REACHED')", sees_processes=True),
    Attack("worker-memory", "open('/proc/{worker}/mem', 'rb'); print('REACHED')"),
    Attack("worker-maps", "open('/proc/{worker}/maps', 'rb').read(); print('REACHED')"),
    Attack("worker-cwd", "os.listdir('/proc/{worker}/cwd'); print('REACHED')"),
    Attack("worker-root", "os.listdir('/proc/{worker}/root/var'); print('REACHED')"),
    Attack("worker-descriptors", "os.listdir('/proc/{worker}/fd'); print('REACHED')", needs_another_user=True),
    Attack("worker-descriptor", "os.readlink('/proc/{worker}/fd/0'); print('REACHED')"),
    Attack("host-environ", "open('/proc/{host}/environ', 'rb').read(); print('REACHED')", reaches_past_proot=True),
    Attack("host-memory", "open('/proc/{host}/mem', 'rb'); print('REACHED')"),
    Attack("parent-memory", "open(f'/proc/{os.getppid()}/mem', 'r+b'); print('REACHED')", own_in_machines=True),
    Attack("process-vm-readv", "b = ctypes.create_string_buffer(8)\nv = (ctypes.c_size_t * 2)(ctypes.addressof(b), 8)\nif libc.process_vm_readv({worker}, v, 1, v, 1, 0) >= 0 or ctypes.get_errno() == 14: print('REACHED')"),
    Attack("list-processes", "if any(int(n) == {worker} for n in os.listdir('/proc') if n.isdigit()): print('REACHED')", sees_processes=True),
    Attack("own-descriptors", "for n in range(3, 256):\n    try: os.fstat(n); print('REACHED')\n    except OSError: pass", works_without=False),
    Attack("read-file", "open('{file}').read(); print('REACHED')"),
    Attack("read-through-symlink", "os.symlink('{file}', 'link'); open('link').read(); print('REACHED')"),
    Attack("read-through-dots", "open('../../../../../../..' + '{file}').read(); print('REACHED')"),
    Attack("write-file", "open('{file}', 'a'); print('REACHED')"),
    Attack("truncate-file", "os.truncate('{file}', os.stat('{file}').st_size); print('REACHED')"),
    Attack("list-folder", "os.listdir('{folder}'); print('REACHED')"),
    Attack("make-file", "open('{folder}/' + str(os.getpid()), 'x'); print('REACHED')"),
    Attack("rename-file", "os.rename('{file}', '{folder}/renamed'); os.rename('{folder}/renamed', '{file}'); print('REACHED')"),
    Attack("hard-link-to-file", "os.link('{file}', 'link'); print('REACHED')", works_without=False, own_in_machines=True),
    Attack("hard-link-from-system", "os.link('/usr/bin/env', 'link'); print('REACHED')", works_without=False, own_in_machines=True),
    Attack("shadow", "open('/etc/shadow').read(); print('REACHED')", own_in_machines=True),
    Attack("passwd", "open('/etc/passwd').read(); print('REACHED')", own_in_machines=True),
    Attack("home-folders", "os.listdir('/home'); print('REACHED')", own_in_machines=True),
    Attack("root-home", "if [n for n in os.listdir('/root') if n != '.pyenv']: print('REACHED')", own_in_machines=True),
    Attack("var", "os.listdir('/var/log'); print('REACHED')", own_in_machines=True),
    Attack("sys", "os.listdir('/sys'); print('REACHED')", own_in_machines=True),
    Attack("write-usr", "open('/usr/cycleqd-test', 'w'); os.unlink('/usr/cycleqd-test'); print('REACHED')", own_in_machines=True),
    Attack("write-tmp", "open(f'/tmp/cycleqd-test-{os.getpid()}', 'w'); os.unlink(f'/tmp/cycleqd-test-{os.getpid()}'); print('REACHED')", own_in_machines=True),
    Attack("write-shared-memory", "p = f'/dev/shm/cycleqd-{os.getpid()}'\nopen(p, 'w'); os.unlink(p); print('REACHED')", own_in_machines=True),
    Attack("other-directories", "import time; time.sleep(.2)\nn = [n for n in os.listdir('..') if n.startswith('slot-')]\nif n: print('REACHED')", own_in_machines=True),
    Attack("signal-worker", "os.kill({worker}, 0); print('REACHED')"),
    Attack("signal-host", "os.kill({host}, 0); print('REACHED')", reaches_past_proot=True),
    Attack("signal-by-pidfd", "signal.pidfd_send_signal(os.pidfd_open({worker}), 0); print('REACHED')"),
    Attack("limits-of-worker", "import resource; resource.prlimit({worker}, resource.RLIMIT_CORE); print('REACHED')"),
    Attack("priority-of-worker", "os.setpriority(os.PRIO_PROCESS, {worker}, os.getpriority(os.PRIO_PROCESS, {worker})); print('REACHED')"),
    Attack("affinity-of-worker", "os.sched_setaffinity({worker}, os.sched_getaffinity({worker})); print('REACHED')"),
    Attack("ptrace-parent", "if libc.ptrace(0x4206, os.getppid(), 0, 0) == 0: libc.ptrace(17, os.getppid(), 0, 0); print('REACHED')", own_in_machines=True),
    Attack("ptrace-me", "if libc.ptrace(0, 0, 0, 0) == 0: print('REACHED')", own_in_machines=True),
    Attack("mount", "os.mkdir('m')\nif libc.mount(b'none', b'm', b'tmpfs', 0, None) == 0: libc.umount2(b'm', 2); print('REACHED')"),
    Attack("chroot", "os.chroot('.'); print('REACHED')", own_in_machines=True),
    Attack("new-user-namespace", "if libc.unshare(0x10000000) == 0: print('REACHED')"),
    Attack("clone-user-namespace", "import platform\np = libc.syscall({'x86_64': 56, 'aarch64': 220}[platform.machine()], 0x10000000 | 17, 0, 0, 0, 0)\nif p == 0: os._exit(0)\nif p > 0: os.wait(); print('REACHED')"),
    Attack("set-user", "os.setuid(0); print('REACHED')", own_in_machines=True),
    Attack("set-group", "os.setgid(0); print('REACHED')", own_in_machines=True),
    Attack("set-groups", "os.setgroups([0]); print('REACHED')", own_in_machines=True),
    Attack("new-privileges", "if libc.prctl(39, 0, 0, 0, 0) != 1: print('REACHED')", works_without=False),
    Attack("device-node", "os.mknod('disk', 0o60600, os.makedev(254, 0)); os.unlink('disk'); print('REACHED')", own_in_machines=True),
    Attack("raise-limit", "import resource\ntry: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); print('REACHED')\nexcept ValueError: pass", works_without=False, own_in_machines=True),
    Attack("host-name", "socket.sethostname(socket.gethostname()); print('REACHED')", own_in_machines=True),
    Attack("memory-file", "os.memfd_create('m'); print('REACHED')", reaches_past_proot=True),
    Attack("system-v-shared-memory", "i = libc.shmget(0, 4096, 0o1600)\nif i >= 0: libc.shmctl(i, 0, None); print('REACHED')", reaches_past_proot=True),
    Attack("handle-of-file", "import struct\nb = ctypes.create_string_buffer(struct.pack('Ii', 100, 0), 128)\nif libc.name_to_handle_at(-100, b'{file}', b, ctypes.byref(ctypes.c_int()), 0) == 0: print('REACHED')"),
    Attack("kernel-keys", "import platform\nif libc.syscall({'x86_64': 250, 'aarch64': 219}[platform.machine()], 0, -3, 1) >= 0: print('REACHED')", reaches_past_proot=True),
    Attack("io-uring", "b = ctypes.create_string_buffer(120)\nif libc.syscall(425, 1, b) >= 0: print('REACHED')", works_without=False),
    Attack("performance-events", "import platform\nb = ctypes.create_string_buffer(128)\nif libc.syscall({'x86_64': 298, 'aarch64': 241}[platform.machine()], b, 0, -1, -1, 0) >= 0 or ctypes.get_errno() != 1: print('REACHED')"),
)  # fmt: skip

_OPEN_PAST_PROOT = """
b = ctypes.create_string_buffer(24)
d = libc.syscall(437, -100, b'{file}', b, 24)
if d >= 0: os.read(d, 1); print('REACHED')
"""
_STAT_PAST_PROOT = """
import platform
b = ctypes.create_string_buffer(256)
if libc.syscall({'x86_64': 332, 'aarch64': 291}[platform.machine()], -100, b'{file}', 0, 0xfff, b) == 0: print('REACHED')
"""
# The tracer is killed by a process that it does not stop; whoever it traced then sees the paths of the world outside.
_LOSE_PROOT = """
import time
tracer = int(open('/proc/self/status').read().split('TracerPid:')[1].split()[0])
os.kill(tracer, 9)
time.sleep(.3)
open('{file}').read(); print('REACHED')
"""
_PROC_ROOT = "open(f'/proc/{os.getpid()}/root{file}').read(); print('REACHED')"
_PARENT_ROOT = "print('REACHED') if open('/proc/{worker}/root{file}').read() else None"

MACHINE_ATTACKS = (
    Attack("open-past-proot", _OPEN_PAST_PROOT),
    Attack("stat-past-proot", _STAT_PAST_PROOT),
    Attack("lose-proot", _LOSE_PROOT, reaches_past_proot=True),
    Attack("own-root-in-proc", _PROC_ROOT),
    Attack("worker-root-in-proc", _PARENT_ROOT),
    Attack("other-slots", "import time; time.sleep(.2)\nn = [n for n in os.listdir('/proc/self/root{folder}/..') if n.startswith('slot-')]\nif n: print('REACHED')"),
    Attack("write-sysctl", "open('/proc/sys/kernel/hostname', 'a'); print('REACHED')"),
    Attack("write-oom-score-of-worker", "open('/proc/{worker}/oom_score_adj', 'w'); print('REACHED')"),
    Attack("sysrq", "open('/proc/sysrq-trigger', 'w'); print('REACHED')"),
    Attack("real-device", "os.mknod('disk', 0o60600, os.makedev(254, 0)); open('disk', 'rb').read(1); print('REACHED')", works_without=False),
)  # fmt: skip
