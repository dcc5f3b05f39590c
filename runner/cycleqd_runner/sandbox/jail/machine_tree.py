"""What a machine is made of: a small tree with Debian's folders, and PRoot, which lets code take it for the root.

The tree is one that nobody kept secrets in: accounts of our own, and of the system's /etc only what programs read as
a matter of course. Programs and libraries are the system's, read-only; /usr/bin and its like are folders of links to
them, so that code can put programs of its own beside. PRoot makes nothing safe, the provider does that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import processes
from .providers import DEVICES, MissingError

PLACES = 128
"""Machines at one time."""
ENTRIES = 4096
"""Files, folders and links that the tree may begin with."""
MEBIBYTES = 8
"""Disk space that the tree may begin with."""
OWN_PROCESSES = 8
"""Processes of ours among those of a machine: its keeper, and for each command PRoot and a shell."""
REPORT = 9
"""Descriptor on which a command's exit code is told."""

_ROOT, _LOADER, _SYSTEM = "root", "loader", "/.system"
_ACCOUNTS = os.path.join(os.path.dirname(__file__), "accounts")
_FOLDERS = (
    ".system/usr", "boot", "dev/pts", "dev/shm", "etc/pam.d", "home", "media", "mnt", "opt", "proc", "root", "run",
    "srv", "sys", "tmp", "usr/local/etc", "usr/local/src", "var/backups", "var/cache", "var/lib", "var/local",
    "var/log", "var/mail", "var/opt", "var/spool", "var/tmp",
)  # fmt: skip
_OPEN_TO_ALL = ("tmp", "var/tmp", "dev/shm")
_LINKS = (
    ("dev/fd", "/proc/self/fd"), ("dev/stdin", "/proc/self/fd/0"), ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"), ("etc/mtab", "/proc/self/mounts"), ("var/run", "/run"),
)  # fmt: skip
_OF_THE_SYSTEM = (
    "adduser.conf", "bash.bashrc", "debian_version", "default/useradd", "deluser.conf", "host.conf",
    "inputrc", "issue", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "login.defs", "magic", "mime.types",
    "os-release", "perl", "protocols", "rpc", "services", "shells", "skel", "timezone", "xattr.conf",
)  # fmt: skip
"""Below /etc, copied where everybody may read it."""
_OWN: dict[str, bytes] = {
    "etc/hostname": b"machine\n",
    "etc/hosts": b"127.0.0.1\tlocalhost\n127.0.1.1\tmachine\n",
    "etc/nsswitch.conf": b"passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "etc/profile": b"export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    "etc/environment": b"",
    # The one for all services: root may do all, others have to give a password.
    "etc/pam.d/other": b"auth sufficient pam_rootok.so\nauth required pam_unix.so\naccount required pam_permit.so\n"
    b"password required pam_unix.so yescrypt\nsession required pam_permit.so\n",
    "root/.bashrc": b"",
    "root/.profile": b"",
}
_BOUND = ("etc/alternatives",)
_MERGED = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
"""Folders of links to the system's programs."""

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "PWD": "/root",
    "LC_CTYPE": "C.UTF-8",  # not LANG: of the other categories a dozen files would be opened by every program
    "PYTHONHASHSEED": "0",
}
# The shell tells the exit code: PRoot itself goes on for as long as anything that the command left behind.
_TELLING = f'ulimit -v "$1"; shift; "$@" {REPORT}>&-; echo "S$?" >&{REPORT}'


@dataclass
class Template:
    """The tree that each machine begins with, in memory; paths are relative to the machine's root."""

    loader: bytes
    """The program through which PRoot starts others."""
    folders: list[str] = field(default_factory=list)
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """Content and mode."""
    links: dict[str, str] = field(default_factory=dict)
    bound: list[str] = field(default_factory=list)
    """Folders of the system that are seen in place of the machine's."""

    def write(self, directory: str, files: Mapping[str, bytes], executable: Sequence[str], owner: int | None) -> None:
        """Fill the fresh directory with the tree and a machine's own files (absolute paths). Raises OSError."""
        root = os.path.join(directory, _ROOT)
        made = [directory, root]
        os.mkdir(root, 0o755)
        for path in self.folders:
            made.append(os.path.join(root, path))
            os.mkdir(made[-1], 0o755)
        for path, target in self.links.items():  # whose they are does not matter, their folders do
            os.symlink(target, os.path.join(root, path))
        for path, (content, mode) in self.files.items():
            made.append(os.path.join(root, path))
            _write(made[-1], content, mode)
        for path in _OPEN_TO_ALL:
            os.chmod(os.path.join(root, path), 0o1777)  # noqa: S103 - as everywhere
        os.chmod(os.path.join(root, "root"), 0o700)
        for path, content in files.items():
            absolute = root + path
            with contextlib.suppress(FileExistsError):
                made += _make_folders(os.path.dirname(absolute))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(absolute)
            made.append(absolute)
            _write(absolute, content, 0o755 if path in executable else 0o644)
        made.append(os.path.join(directory, _LOADER))
        _write(made[-1], self.loader, 0o755)
        if owner is not None:
            for path in made:
                os.chown(path, owner, owner, follow_symlinks=False)

    def command(self, directory: str, argv: Sequence[str], memory_mebibytes: int) -> tuple[list[str], dict[str, str]]:
        """Return program, arguments and environment that run ``argv`` in the machine in ``directory``.

        ``memory_mebibytes``: of each of its processes.
        """
        system = [f"--bind=/usr:{_SYSTEM}/usr", *(f"--bind=/{path}" for path in self.bound)]
        devices = [f"--bind={path}" for path in (*DEVICES, "/proc") if os.path.exists(path)]
        proot = ["/usr/bin/proot", "-0", "-r", os.path.join(directory, _ROOT), *system, *devices, "-w", "/root"]
        environment = {**ENVIRONMENT, "PROOT_LOADER": os.path.join(directory, _LOADER)}
        return [*proot, "/bin/sh", "-c", _TELLING, "sh", str(memory_mebibytes * 1024), *argv], environment

    def in_directory(self, directory: str, path: str) -> str:
        """Return where a path of the machine is in its directory."""
        return os.path.join(directory, _ROOT, path.lstrip("/"))


def _write(path: str, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _make_folders(path: str) -> list[str]:
    """Make a folder and those above it; return those that were not there."""
    made: list[str] = []
    while not os.path.isdir(path):
        made.append(path)
        path = os.path.dirname(path)
    for path in reversed(made):
        os.mkdir(path, 0o755)
    return made


def read_template() -> Template:
    """Look at this system and return the tree for its machines. Raises MissingError if it can have none."""
    template = Template(_loader())
    folders: set[str] = set()
    for path in (*_FOLDERS, *_MERGED):
        _add_folder(folders, path)
    _show_the_system(template, folders)
    for path in _OF_THE_SYSTEM:
        _copy(template, folders, f"etc/{path}")
    for name in ("passwd", "group"):
        with open(os.path.join(_ACCOUNTS, name), "rb") as file:
            template.files[f"etc/{name}"] = (file.read(), 0o644)
    for name, source, rest in (("shadow", "passwd", b":*:20000:0:99999:7:::\n"), ("gshadow", "group", b":*::\n")):
        lines = template.files[f"etc/{source}"][0].splitlines()
        template.files[f"etc/{name}"] = (b"".join(line.partition(b":")[0] + rest for line in lines), 0o640)
    template.files.update({path: (content, 0o644) for path, content in _OWN.items()})
    template.files.update({path.lstrip("/"): (b"", 0o666) for path in DEVICES})  # covered by the devices
    template.links.update(_LINKS)
    template.folders = sorted(folders)
    if len(template.folders) + len(template.links) + len(template.files) > ENTRIES:
        raise MissingError(f"/usr/bin and /etc have more than {ENTRIES} entries; use a smaller image")
    return template


def _show_the_system(template: Template, folders: set[str]) -> None:
    """Make the system's programs and libraries part of the template."""
    for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin"):
        if os.path.islink(f"/{name}"):
            template.links[name] = os.readlink(f"/{name}").lstrip("/")
        elif os.path.isdir(f"/{name}"):
            template.bound.append(name)
    template.bound += [path for path in _BOUND if os.path.isdir(f"/{path}")]
    template.bound += _system_folders("usr", folders) + _system_folders("usr/local", folders)
    for folder in _MERGED:
        for name in os.listdir(f"/{folder}") if os.path.isdir(f"/{folder}") else ():
            template.links[f"{folder}/{name}"] = f"{_SYSTEM}/{folder}/{name}"
    for path in template.bound:
        _add_folder(folders, path)


def _add_folder(folders: set[str], path: str) -> None:
    while path:
        folders.add(path)
        path = os.path.dirname(path)


def _system_folders(folder: str, own: set[str]) -> list[str]:
    """Return the folders of the system's ``folder`` that are not among the machine's own."""
    paths = (f"{folder}/{name}" for name in sorted(os.listdir(f"/{folder}")))
    return [path for path in paths if path not in own and os.path.isdir(f"/{path}")]


def _copy(template: Template, folders: set[str], path: str) -> None:
    """Take a file, link or folder of the system into the template, as far as everybody may read it."""
    try:
        status = os.lstat(f"/{path}")
        _add_folder(folders, os.path.dirname(path))
        if stat.S_ISLNK(status.st_mode):
            template.links[path] = os.readlink(f"/{path}")
        elif stat.S_ISDIR(status.st_mode):
            folders.add(path)
            for name in os.listdir(f"/{path}"):
                _copy(template, folders, f"{path}/{name}")
        elif stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IROTH:
            with open(f"/{path}", "rb") as file:
                template.files[path] = (file.read(), stat.S_IMODE(status.st_mode) & 0o777)
    except OSError:  # not there, or not for us
        return


def _loader() -> bytes:
    """Return PRoot's loader, which it brings along and would write to /tmp each time. Raises MissingError."""
    program = shutil.which("proot", path="/usr/bin")
    if program is None:
        raise MissingError("machines need PRoot; install Debian's package proot")
    with subprocess.Popen(
        [program, "-0", "/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}
    ) as proot:
        with contextlib.suppress(BrokenPipeError):
            os.write(proot.stdin.fileno(), b"x")  # type: ignore[union-attr]
        if os.read(proot.stdout.fileno(), 1) == b"x":  # type: ignore[union-attr]
            (traced,) = processes.children(proot.pid)
            with open(f"/proc/{traced}/exe", "rb") as file:
                return file.read()
        _, message = proot.communicate()
    raise MissingError(f"machines need PRoot, which fails here ({message.decode(errors='replace').strip()[:200]})")
