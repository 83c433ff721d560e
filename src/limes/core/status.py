"""Status words, one sentence each, shared by the store, the solvers and the report."""

from enum import StrEnum


class RunStatus(StrEnum):
    """What became of one training run."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"
    QUARANTINED = "quarantined"

    @property
    def finished(self) -> bool:
        """No worker will touch the run again."""
        return self in (RunStatus.DONE, RunStatus.DIVERGED, RunStatus.QUARANTINED)

    @property
    def sentence(self) -> str:
        """What the word means, for a person."""
        return _RUN_SENTENCES[self]


_RUN_SENTENCES = {
    RunStatus.PENDING: "Waiting for a worker.",
    RunStatus.RUNNING: "A worker holds it.",
    RunStatus.DONE: "Trained to the last step.",
    RunStatus.DIVERGED: "The loss stopped being finite or left the stated bound; that is a result, not a fault.",
    RunStatus.FAILED: "The last try ended in an error; it will be tried again.",
    RunStatus.QUARANTINED: "It failed three times and is left alone; see its error text.",
}


class SolveStatus(StrEnum):
    """How an iterative solver, or a fit, ended."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "max_iterations"
    DIVERGED = "diverged"
    ILL_CONDITIONED = "ill_conditioned"

    @property
    def sentence(self) -> str:
        """What the word means, and what to do."""
        return _SOLVE_SENTENCES[self]


_SOLVE_SENTENCES = {
    SolveStatus.CONVERGED: "Reached the requested tolerance.",
    SolveStatus.MAX_ITERATIONS: "The iteration limit was reached. Raise it, or loosen the tolerance.",
    SolveStatus.DIVERGED: "The values stopped being finite. Lower the learning rate or the step.",
    SolveStatus.ILL_CONDITIONED: "The data do not determine the answer; see the flags.",
}
