"""Codecs of the objects of training in files: optimizers, schedules, progress."""

from dataclasses import replace
from typing import Any

from mlp.files.encoding import Codec, Decoder, attributes_codec
from mlp.network.saving import CODECS as NETWORK_CODECS
from mlp.training.minibatch import Optimizer
from mlp.training.pairs import PairOptimizer
from mlp.training.schedules import (
    CosineDecay,
    InverseTimeDecay,
    Schedule,
    StepDecay,
)
from mlp.training.stopping import EarlyStopping, Progress

__all__ = ["CODECS"]


#: objects that are values of estimators' parameters
FEATURES = (CosineDecay, EarlyStopping, InverseTimeDecay, StepDecay)


def _pair_optimizer(schedule: Schedule, each: Any) -> PairOptimizer:
    made = PairOptimizer(each[0])
    made.schedule, made.each = schedule, each
    for optimizer in each:
        optimizer.schedule = schedule
    return made


SCHEDULE = attributes_codec(Schedule)


def _schedule(decoder: Decoder, content: dict[str, Any]) -> Any:
    """Decode a schedule without the constants of 'step', which files of version 1 have."""
    kept = {k: v for k, v in content.items() if k not in ("step_every", "step_drop")}
    return SCHEDULE.decode(decoder, kept)


#: codecs of networks and their training, by their names in files
CODECS: dict[str, Codec] = {
    **NETWORK_CODECS,
    "Optimizer": attributes_codec(Optimizer),
    "PairOptimizer": attributes_codec(
        PairOptimizer, ("schedule", "each"), _pair_optimizer
    ),
    "Progress": attributes_codec(Progress),
    "Schedule": replace(SCHEDULE, decode=_schedule),
    **{kind.__name__: attributes_codec(kind) for kind in FEATURES},
}
