"""A worker in which one run ends in a crash each time, or (mode `stillborn`) that never starts at all."""

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__" and sys.argv.pop(1) == "stillborn":
    sys.exit("cannot start")

from limes.spec import RunSpec
from limes.sweep import worker

build_run = worker.build_run


def build_faulty(spec: RunSpec, *, base_dir: Path | None = None) -> tuple:
    """Crash as a fault in native code would; SIGKILL would look like somebody else's doing."""
    if spec.model.width == 16 and {entry.lr for entry in spec.tensors.values()} == {2.0**-5}:
        os.kill(os.getpid(), signal.SIGSEGV)
    return build_run(spec, base_dir=base_dir)


if __name__ == "__main__":
    worker.build_run = build_faulty
    sys.exit(worker.main())
