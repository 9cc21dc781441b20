"""Optimizers: update rules on all parameters at once.

θ are the parameters as one vector, g = ∂L/∂θ, η the learning rate, t = 1, 2, ... the number of the step. A rule is a
formula (see `gpubp.formula`), number by number on the whole vector, and one kernel on a GPU; sums over gradients are no
part of it. What changes from step to step besides vectors, such as η and Adam's bias corrections, is computed on the
host in float64 by `step_scalars`, so that every device reads the same bits.

Decoupled weight decay λ (Loshchilov and Hutter 2017) comes before the rule:  (0) θ ← (1 - η λ) θ,  biases and
normalization parameters left out where `decayed` does not name them.

base        the base class
descent     SGD, Lion
scaled      RMSprop, Adagrad, Adadelta
adam        Adam, AdamW, Adamax, NAdam
"""

from .adam import Adam, Adamax, AdamW, NAdam
from .base import Numbers, Optimizer, Value
from .descent import SGD, Lion
from .scaled import Adadelta, Adagrad, RMSprop

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam", "Numbers", "Optimizer", "RMSprop",
    "Value",
]  # fmt: skip
