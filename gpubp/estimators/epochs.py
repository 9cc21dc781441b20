"""What an estimator does after each epoch, as in scikit-learn: scores, learning rates, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..formula.host import host_numerics, power
from ..training.callbacks import Callback, RunningTrainer, known_rate


class EpochRules(Callback):
    """Fills an estimator's `loss_curve_` and other attributes, and ends training by its parameters.

    estimator: whose attributes it fills. rows: of the training data. score: function of no arguments giving the
    validation score, or None without validation rows.
    """

    def __init__(self, estimator: Any, rows: int, score: Callable[[], float] | None) -> None:
        self.of, self.rows, self.score = estimator, rows, score
        self.kept: tuple[Any, Any] | None = None

    def on_epoch_end(self, trainer: RunningTrainer, logs: dict[str, float]) -> None:
        """Note the numbers of the epoch, then apply the rules."""
        of = self.of
        of.n_iter_ += 1
        of.t_ += self.rows
        of.loss_ = logs["loss"]
        of.loss_curve_.append(of.loss_)
        self._say(f"Iteration {of.n_iter_}, loss = {of.loss_:.8f}")
        if "val_loss" in logs:
            of.validation_loss_curve_.append(logs["val_loss"])
        if self.score is not None:
            with trainer.update.validating():
                of.validation_scores_.append(self.score())
            self._say(f"Validation score: {of.validation_scores_[-1]:f}")
        self._count(trainer)
        of.learning_rate_ = known_rate(trainer)
        if of.solver == "sgd" and of.learning_rate == "invscaling" and of.schedule is None:
            with host_numerics(of.network_.numerics):
                of.learning_rate_ = of.learning_rate_init / power(of.t_ + 1, of.power_t)
            trainer.update.factor = of.learning_rate_ / of.learning_rate_init
        if of._no_improvement_count > of.n_iter_no_change:
            self._stop(trainer)

    def _count(self, trainer: RunningTrainer) -> None:
        """Count epochs that improved by less than `tol`: in the score with early stopping, else in the loss."""
        of, tol = self.of, float(self.of.tol)
        if of.early_stopping:
            score = of.validation_scores_[-1]
            worse = score < of.best_validation_score_ + tol
            if score > of.best_validation_score_:
                of.best_validation_score_ = score
                self.kept = (trainer.update.validated_vector(), trainer.network.states.flat.copy())
        else:
            worse = of.loss_ > of.best_loss_ - tol
            of.best_loss_ = min(of.best_loss_, of.loss_) if not math.isnan(of.loss_) else of.best_loss_
            if of.validation_scores_:
                scores = [s for s in (of.best_validation_score_, of.validation_scores_[-1]) if not math.isnan(s)]
                of.best_validation_score_ = max(scores, default=-math.inf)
        of._no_improvement_count = of._no_improvement_count + 1 if worse else 0

    def _stop(self, trainer: RunningTrainer) -> None:
        of = self.of
        what = "Validation score" if of.early_stopping else "Training loss"
        text = f"{what} did not improve by more than tol={of.tol:f} for {of.n_iter_no_change} epochs in a row."
        adaptive = of.solver == "sgd" and of.learning_rate == "adaptive" and of.schedule is None
        if adaptive and trainer.learning_rate > 1e-6:
            trainer.update.factor /= 5.0
            of.learning_rate_ = trainer.learning_rate
            of._no_improvement_count = 0
            self._say(f"{text} Learning rate set to {trainer.learning_rate:g}.")
        else:
            self._say(f"{text} Stopping.")
            trainer.stop = True

    def on_train_end(self, trainer: RunningTrainer) -> None:
        """Put the parameters of the best score back."""
        if self.kept is not None:
            trainer.network.flat[...], trainer.network.states.flat[...] = self.kept
            self.kept = None

    def _say(self, text: str) -> None:
        if self.of.verbose:
            print(text)
