"""A sweep as a process: folder, study, workers, seconds between checkpoints, and a mode for the workers."""

import json
import sys
from pathlib import Path

from limes.core.errors import LimesError
from limes.spec import parse_study
from limes.sweep import pool, run_sweep


def main() -> int:
    folder, study, workers, checkpoint_s, mode = sys.argv[1:6]
    if mode:
        pool.WORKER_COMMAND = (sys.executable, str(Path(__file__).with_name("faulty_worker.py")), mode)
    try:
        outcome = run_sweep(
            parse_study(json.loads(Path(study).read_text()), name=study),
            Path(folder),
            workers=int(workers),
            checkpoint_s=float(checkpoint_s),
        )
    except LimesError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(outcome.status)
    return 1 if outcome.num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
