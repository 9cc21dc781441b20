"""OptunaPruning: a callback that tells a trial of Optuna each epoch's number, and ends the training of a bad trial."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from ..errors import MissingDependencyError
from .callbacks import RunningTrainer
from .monitors import Monitor


def require_optuna() -> Any:
    """The library Optuna; MissingDependencyError, with the command that mends it, where it is missing.

    >>> int(require_optuna().__version__.split(".")[0]) >= 4
    True
    """
    try:
        import optuna
    except ImportError:
        raise MissingDependencyError("searches need Optuna: pip install 'gpubp[search]'") from None
    return optuna


class OptunaPruning(Monitor):
    """Reports a number of each epoch to a trial of Optuna, and ends the training where the trial is pruned.

    trial: what Optuna gives the objective. monitor: the number's name in the history; "auto" for "val_loss", or "loss"
    without validation. mode: as in EarlyStopping; a study that looks for the other direction is a ValueError.

    The number of epoch k, counted over resumes too, is reported as step k. Where `trial.should_prune()` then says so,
    the training ends after this epoch as by EarlyStopping: every other callback gets the epoch, a Checkpoint writes it,
    and EarlyStopping puts the best parameters back. Then `fit` raises optuna.TrialPruned, which the objective lets
    through, and so it does when that training is resumed from its checkpoint.
    Ctrl-C ends the fit, and then raises KeyboardInterrupt: without it the study would take what is half trained for a
    result, and begin the next trial.

    best, best_epoch: the best value and the epoch (from 1) that had it, which the objective may return.
    Raises MissingDependencyError without Optuna, TypeError if `trial` is no trial.

    >>> import numpy as np, optuna, gpubp as bp
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> X = np.random.default_rng(0).normal(size=(64, 2))
    >>> def objective(trial):
    ...     net = bp.Network(bp.Dense(1), 2, device="cpu")
    ...     trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(trial.suggest_float("rate", 1e-3, 1, log=True)))
    ...     pruning = bp.OptunaPruning(trial)
    ...     trainer.fit(X, X @ [1.0, -2.0], epochs=20, validation_fraction=0.25, callbacks=[pruning], verbose=False)
    ...     return pruning.best
    >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    >>> study.optimize(objective, n_trials=5)
    >>> study.best_value < 1.0
    True
    """

    of_fit: ClassVar[dict[str, Any]] = {"_pruned": False, "_interrupted": False}

    def __init__(self, trial: Any, monitor: str = "auto", mode: str = "auto") -> None:
        super().__init__(monitor, patience=0, min_delta=0.0, mode=mode)
        require_optuna()
        if isinstance(trial, type) or not all(hasattr(trial, name) for name in ("report", "should_prune")):
            raise TypeError(
                f"OptunaPruning needs trial to be a trial of Optuna, as an objective gets it, and got {trial!r:.200}"
            )
        self.trial = trial
        self._pruned = self._interrupted = False

    def on_train_begin(self, trainer: Any) -> None:
        """Check the name and the direction of the number. Raises ValueError where they can't be."""
        self._pruned = self._interrupted = False
        super().on_train_begin(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and whether the trial was pruned."""
        return super().state_dict() | {"pruned": self._pruned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore them."""
        super().load_state_dict(state)
        self._pruned = bool(state.get("pruned", False))

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Report the number of the epoch, and end the training if the trial is to be pruned."""
        self.improved(trainer, logs)
        self.trial.report(float(logs[self._watched["monitor"]]), trainer.epoch)
        if self.trial.should_prune():
            self._pruned = trainer.stop = True

    def on_interrupt(self, trainer: Any) -> None:
        """Note it."""
        self._interrupted = True

    def on_train_end(self, trainer: Any) -> None:
        """Raise TrialPruned or KeyboardInterrupt, unless an error ends the training already."""
        if sys.exc_info()[1] is not None:
            return
        if self._interrupted:
            raise KeyboardInterrupt
        if self._pruned:
            raise require_optuna().TrialPruned(
                f"pruned after epoch {trainer.epoch}, with a best {self._watched['monitor']} of {self.best:.4g}"
            )

    def _number(self, name: str, trainer: RunningTrainer) -> dict[str, str]:
        """What is watched; ValueError if the study looks for the other direction."""
        found = super()._number(name, trainer)
        directions = getattr(getattr(self.trial, "study", None), "directions", ())
        if len(directions) > 1:
            raise ValueError("a study of several numbers prunes no trials: leave OptunaPruning out")
        direction = directions[0].name if directions else ""
        if direction in ("MINIMIZE", "MAXIMIZE") and found["mode"] != direction[:3].lower():
            better, wanted = ("higher", "maximize") if found["mode"] == "max" else ("lower", "minimize")
            raise ValueError(
                f"OptunaPruning watches {name!r}, of which {better} values are better, and the study is to "
                f'{direction.lower()}: optuna.create_study(direction="{wanted}"), or give OptunaPruning another mode'
            )
        return found
