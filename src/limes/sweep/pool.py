"""Worker processes of one driver: start, watch, replace, stop."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from limes.core.errors import StoreError
from limes.store import Store

# Ends of a worker that say nothing about its run: somebody, or the memory killer, ended the process.
_OUTSIDE_SIGNALS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# How a worker is started; the folder and its options follow.
WORKER_COMMAND = (sys.executable, "-m", "limes.sweep.worker")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
CHECKPOINT_S = 20.0
_MAX_FRUITLESS = 6
_TAIL_BYTES = 3000


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(kw_only=True, slots=True, eq=False)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    errors: IO[bytes]


@dataclass(kw_only=True, slots=True, eq=False)
class Pool:
    """Up to `size` workers on one store."""

    folder: Path
    size: int
    checkpoint_s: float
    _children: list[_Child] = field(default_factory=list)
    _fruitless: int = 0
    _complaint: str = ""

    @property
    def alive(self) -> int:
        """Workers that have not been seen to end."""
        return len(self._children)

    def fill(self, *, limit: int) -> None:
        """Start workers until there are `size`, or `limit` if that is less.

        Raises:
            StoreError: Worker after worker ended before it could take a run.
        """
        if self._fruitless >= _MAX_FRUITLESS:
            raise StoreError(
                f"{self.folder}: {self._fruitless} workers in a row ended before they took a run; the last said: "
                f"{self._complaint or 'nothing'}"
            )
        while len(self._children) < min(self.size, limit):
            self._children.append(self._start())

    def reap(self, store: Store) -> int:
        """Give back at once what ended workers held; returns how many workers had ended.

        Raises:
            StoreError: A worker ended because the store failed it (disk full, not writable, ...).
        """
        ended = 0
        for child in list(self._children):
            code = _peek(child.process)
            if code is None:
                continue
            complaint = _tail(child.errors)
            if code == StoreError.exit_code:
                store.release_worker(child.name)
                self._forget(child)
                raise StoreError(complaint.splitlines()[-1] if complaint else f"{self.folder}: a worker failed")
            outside = code < 0 and -code in _OUTSIDE_SIGNALS
            error = None if outside or code == 0 else f"its worker ended with {_described(code)}\n{complaint}"
            # Before the process is reaped: no other worker must find its pid gone and count it as killed.
            held = store.release_worker(child.name, error=error)
            self._fruitless = self._fruitless + 1 if held == 0 and code > 0 else 0
            self._complaint = complaint.splitlines()[-1] if complaint else self._complaint
            self._forget(child)
            ended += 1
        return ended

    def ask_to_leave(self) -> None:
        """Let every worker finish its run and end."""
        for child in self._children:
            child.process.send_signal(signal.SIGTERM)

    def kill(self, store: Store | None) -> None:
        """End every worker now; what they held goes back to the queue."""
        for child in list(self._children):
            child.process.kill()
        for child in list(self._children):
            child.process.wait()
            if store is not None:
                store.release_worker(child.name)
            self._forget(child)

    def _forget(self, child: _Child) -> None:
        child.process.wait()
        child.errors.close()
        self._children.remove(child)

    def _start(self) -> _Child:
        name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
        options = {"--driver": os.getpid(), "--name": name, "--checkpoint-s": self.checkpoint_s}
        process = subprocess.Popen(
            [*WORKER_COMMAND, str(self.folder), *(str(text) for item in options.items() for text in item)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=os.environ | dict.fromkeys(_THREAD_VARIABLES, "1"),
            # Ctrl-C in the terminal must reach the driver only.
            start_new_session=True,
        )
        return _Child(name=name, process=process, errors=errors)


def _peek(process: subprocess.Popen[bytes]) -> int | None:
    """Exit code of an ended process, which stays a zombie where the system allows; None while it lives."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll()
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _tail(file: IO[bytes]) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(file.tell() - _TAIL_BYTES, 0))
    return file.read().decode(errors="replace").strip()


def _described(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {-code} ({signal.Signals(-code).name})"
