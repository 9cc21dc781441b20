"""Watch: notices on the host what the guard found on the device, and does what was chosen: raise, skip, roll back.

The device is asked every `LOOK_EVERY` steps, at the end of an epoch, and before a checkpoint. A step that is not finite
has changed nothing (see `guard.py`). With "raise" and "rollback" no step after it has, either, so that it can be done
again, slowly, to find the layer where it went wrong.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends import Array, Backend
from ..errors import NonFiniteError
from ..flat import FlatArray
from ..step.batch import Batch, TargetShape
from ..step.step import Pass, TrainingStep, TrainJob

if TYPE_CHECKING:
    from ..layers import Workspace
    from .trainer import Trainer

__all__ = ["CHOICES", "Watch"]

CHOICES = ("raise", "skip", "rollback")
LOOK_EVERY = 32  # steps; a look waits for the device
KEEP_EVERY = 1024  # steps; what a rollback goes back to
LARGE = 1e3  # for weights and inputs, which learn best near 1
MOST_ROLLBACKS = 10  # to the same moment


class Watch:
    """Over the epochs of one trainer.

    trainer; choice: "raise", "skip" or "rollback".

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(4), bp.Dense(1)), 1, device="cpu")
    >>> trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(1e6), batch_size=4, on_nonfinite="raise")
    >>> trainer.fit(np.ones((8, 1)), np.ones(8), epochs=50)
    Traceback (most recent call last):
    ...
    gpubp.errors.NonFiniteError: step ...: ... layer ...
    """

    def __init__(self, trainer: Trainer, choice: str) -> None:
        self.trainer, self.choice = trainer, choice
        self.skipped = 0  # steps of this epoch
        self._count = 0  # steps since the last look
        self._weights: list[float] = []
        self._step: TrainingStep | None = None
        self._load: Callable[[Any, int], None] | None = None
        self._kept: tuple[Any, ...] | None = None
        self._rollbacks = 0

    def begin(self, step: TrainingStep, load: Callable[[Any, int], None]) -> None:
        """An epoch begins, or goes on. load(step, k): puts the epoch's batch number k in place."""
        self._step, self._load, self.skipped = step, load, 0
        self._reset()
        self._keep()

    def _reset(self) -> None:
        assert self._step is not None
        self._count, self._weights = 0, []
        self._step.begin_guard()

    def after_step(self) -> None:
        """One more is done."""
        self._count += 1
        if self.choice == "skip":
            assert self._step is not None
            self._weights.append(self._step.batch.weight)
        if self._count == LOOK_EVERY:
            self.look()

    def look(self) -> None:
        """Ask the device, and act. With "rollback" the trainer may stand further back afterwards."""
        trainer, step = self.trainer, self._step
        if step is None or not self._count or step.guard is None:
            return
        _, good = step.guard.read()
        bad = self._count - good
        if not bad:
            self._reset()
            if self.choice == "rollback" and trainer.step_count - self._kept_step() >= KEEP_EVERY:
                self._keep()
            return
        if self.choice == "skip":
            self.skipped += bad
            batch = step.batch
            batch.total_weight = max(0.0, batch.total_weight - bad * float(np.mean(self._weights)))
            self._reset()
            return
        first = self._count - good - 1  # how many steps ago
        trainer.update.t -= first + 1
        trainer.step_in_epoch -= first + 1
        self._rollbacks += 1
        if self.choice == "raise" or self._rollbacks > MOST_ROLLBACKS:
            raise self._found()
        self._roll_back()

    def end(self) -> None:
        """The epoch is over."""
        if self.skipped:
            steps = f"{self.skipped} step{'s' * (self.skipped > 1)} of epoch {self.trainer.epoch + 1}"
            text = f"{steps} had a loss or a gradient that is not finite, and changed nothing"
            warnings.warn(text, RuntimeWarning, stacklevel=5)
        self._step = self._load = self._kept = None

    # -- going back ---------------------------------------------------------------------------------------------------

    def _kept_step(self) -> int:
        return int(self._kept[0]) if self._kept is not None else 0

    def _keep(self) -> None:
        if self.choice != "rollback" or self._step is None:
            return
        t, network = self.trainer, self.trainer.network
        moments = {name: moment.flat.copy() for name, moment in t.update.moments.items()}
        arrays = (network.flat.copy(), network.states.flat.copy(), moments)
        self._kept = (t.update.t, t.step_in_epoch, arrays, self._step.progress())
        self._rollbacks = 0

    def _roll_back(self) -> None:
        assert self._kept is not None and self._step is not None
        t, network = self.trainer, self.trainer.network
        bad = t.update.t + 1
        t.update.t, t.step_in_epoch, (flat, states, moments), progress = self._kept
        network.flat[...], network.states.flat[...] = flat, states
        for name, moment in t.update.moments.items():
            moment.flat[...] = moments[name]
        self._step.go_on(progress)
        t.update.factor *= 0.5
        self._reset()
        back = f"back to step {t.update.t}, with half the learning rate, {t.learning_rate:g}"
        text = f"step {bad} had a loss or a gradient that is not finite: {back}"
        warnings.warn(text, RuntimeWarning, stacklevel=6)

    # -- finding the place --------------------------------------------------------------------------------------------

    def _found(self) -> NonFiniteError:
        """The step done again call by call, its numbers looked at; nothing is changed."""
        trainer, step = self.trainer, self._step
        assert step is not None and self._load is not None
        network, update = trainer.network, trainer.update
        states = network.states.flat.copy()
        batch = Batch(network, step.rows, TargetShape.of(step.batch.t))
        job = TrainJob(network, trainer.loss_function, seed=trainer.seed)
        slow = Pass(job, batch, gradients=update.gradients, training=True)
        slow.context.step, slow.context.reuses = update.step, False
        self._load(batch, trainer.step_in_epoch)
        update.advance()
        update.weigh(batch.weight)
        slow.forward(update.whole.penalize())
        slow.backward()
        number, update.t = update.t, update.t - 1
        network.states.flat[...] = states
        place, what = _place(slow, update.gradients)
        text = f"step {number}: {what}. {_cause(slow, trainer.learning_rate)}. The network is as it was before the step"
        return NonFiniteError(text, number, place)


def _largest(be: Backend, a: Array) -> float:
    """The largest absolute value; not a number if one is none."""
    return float(np.abs(np.asarray(be.to_host(a), np.float64)).max(initial=0.0))


def _cause(slow: Pass, rate: float) -> str:
    weights = max((_largest(slow.be, a) for a in slow.job.network.parameters.values()), default=0.0)
    inputs = _largest(slow.be, slow.x)
    if weights > LARGE:
        return (
            f"The weights reach {weights:.3g}: training has diverged; try a lower learning rate than {rate:.3g}, "
            "a Warmup, or clip_norm=1.0"
        )
    if inputs > LARGE:
        return f"The inputs reach {inputs:.3g}: scale X, as (X - X.mean(0)) / X.std(0)"
    return (
        f"The weights reach {weights:.3g} and the inputs {inputs:.3g}, which is not much: a formula has no value there "
        f"(a logarithm of 0, 0/0), or the learning rate of {rate:.3g} is too high for it"
    )


def _leaves(ws: Workspace) -> list[Workspace]:
    found = [leaf for child in ws.children for leaf in _leaves(child)]
    return found or [ws]


def _place(slow: Pass, gradients: FlatArray) -> tuple[str, str]:
    """(layer's path, what is wrong there): the first output that is not finite, or else the last gradient."""
    be = slow.be
    for leaf in _leaves(slow.ws):
        y = leaf.__dict__.get("output")
        if y is not None and y.dtype.kind == "f" and not math.isfinite(_largest(be, y)):
            return leaf.path, f'the output of layer "{leaf.path}", {leaf._layer!r}, is not finite'
    if not math.isfinite(_largest(be, slow.z)):
        return "", f"the output of {slow.job.network.layers!r} is not finite"
    if not math.isfinite(_largest(be, slow.sums)):
        return "", f"the loss, {slow.job.loss!r}, is not finite, and the network's output is"
    sizes = {name: _largest(be, gradients[name]) for name in slow.job.network.declared if name in gradients}
    wrong = [name for name, size in sizes.items() if not math.isfinite(size)]
    name = wrong[-1] if wrong else max(sizes, key=lambda n: sizes[n])
    path = name.rpartition(".")[0]
    size = (
        "is not finite, and the loss is"
        if wrong
        else f"reaches {sizes[name]:.3g}, whose square is beyond {slow.z.dtype}"
    )
    return path, f'the gradient of {name}, in layer "{path}", {size}'
