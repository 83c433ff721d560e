"""The only training loop: schedules, clipping, divergence as data, probes, exact resume. It writes no files."""

from limes.train.loop import Data, train
from limes.train.loss import LOSSES
from limes.train.objective import Objective
from limes.train.probe import Probe
from limes.train.schedule import SCHEDULES, lr_factor
from limes.train.state import History, TrainState
from limes.train.trace import RunTrace

__all__ = [
    "LOSSES",
    "SCHEDULES",
    "Data",
    "History",
    "Objective",
    "Probe",
    "RunTrace",
    "TrainState",
    "lr_factor",
    "train",
]
