"""The codecs of training's objects in files: solvers' memory, schedules, progress."""

from typing import Any

from mlp.files.encoding import Codec, attributes_codec
from mlp.network.saving import CODECS as NETWORK_CODECS
from mlp.training.minibatch import Optimizer
from mlp.training.pairs import PairOptimizer
from mlp.training.schedules import Schedule
from mlp.training.stopping import Progress

__all__ = ["CODECS"]


def _pair_optimizer(schedule: Schedule, each: Any) -> PairOptimizer:
    made = PairOptimizer(each[0])
    made.schedule, made.each = schedule, each
    for optimizer in each:
        optimizer.schedule = schedule
    return made


#: what files hold of networks and their training, by the names there
CODECS: dict[str, Codec] = {
    **NETWORK_CODECS,
    "Optimizer": attributes_codec(Optimizer),
    "PairOptimizer": attributes_codec(
        PairOptimizer, ("schedule", "each"), _pair_optimizer
    ),
    "Progress": attributes_codec(Progress),
    "Schedule": attributes_codec(Schedule),
}
