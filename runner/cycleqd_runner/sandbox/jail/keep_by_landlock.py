"""The provider that needs no privileges: Landlock for files and signals, a seccomp filter for sockets and the rest."""

from __future__ import annotations

import os

from . import landlock, linux, seccomp
from .providers import DEVICES, MissingError, Setup, Unsafe

_READ_AND_ENTER = 0o005


class Landlock(Unsafe):
    """Landlock for files and signals, a seccomp filter for sockets and the rest; no privileges needed."""

    name = "Landlock"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._abi = 0
        self._filter = self._filter_of_machines = b""
        self._rules: list[tuple[int, int]] = []
        self._rules_of_machines: list[tuple[int, int]] = []

    def prepare(self) -> None:
        """See :meth:`Unsafe.prepare`."""
        self._abi = min(landlock.version(), self.setup.newest_landlock)
        if self._abi < 1:
            raise MissingError(
                "the kernel does not offer Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK and lsm=landlock)"
            )
        super().prepare()
        self.claim_users()
        alone = self.users is not None
        if alone and not _open_to_all(self.setup.library):
            self.copy_library()
        try:
            signals = alone or self._abi >= landlock.SIGNALS_SINCE
            truncate = alone or self._abi >= landlock.TRUNCATE_SINCE
            self._filter = seccomp.program(signals=signals, truncate=truncate)
            if not signals:
                self.template = None
                self.no_machines = (
                    "machines need Linux 6.12, whose Landlock keeps signals inside, or a worker that is root"
                )
            self._filter_of_machines = seccomp.program(signals=signals, truncate=truncate, machine_root=True)
        except OSError as error:
            raise MissingError(str(error)) from error
        self._rules = [(os.open(path, os.O_PATH), landlock.READ) for path in self.readable()]
        for device in DEVICES:
            if os.path.exists(device):
                self._rules.append((os.open(device, os.O_PATH), landlock.READ_FILE | landlock.WRITE_FILE))
        # Names and command lines of the container's processes; their memory, environment and files stay closed to code.
        self._rules_of_machines = [(os.open("/proc", os.O_PATH), landlock.READ)]
        self._try()

    def _try(self) -> None:
        """Confine a process for trial: better no sandbox at start than at the first answer."""
        child = os.fork()
        if child == 0:
            try:
                self.confine(0, self.setup.root)
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise MissingError("the kernel refuses Landlock or seccomp filters to this process")

    def confine(self, slot: int, directory: str, *, machine: bool = False) -> None:
        """See :meth:`Unsafe.confine`."""
        linux.no_new_privileges()
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        rules = [*self._rules, *(self._rules_of_machines if machine else ())]
        landlock.restrict(self._abi, [*rules, (descriptor, landlock.all_access(self._abi))])
        owner = self.owner(slot)
        if owner is not None:
            linux.drop_user(owner)
        linux.drop_capabilities()
        seccomp.install(self._filter_of_machines if machine else self._filter)


def _open_to_all(path: str) -> bool:
    """Whether every user may read a folder and reach it from the root."""
    if os.stat(path).st_mode & _READ_AND_ENTER != _READ_AND_ENTER:
        return False
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True
