"""The sampler of a search: Optuna's TPE, seeded anew for each trial.

The seed of trial k is made of the seed of the search and k. So processes that share a study never propose the same by
chance, and a study that is resumed goes on as if it had not been interrupted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...training.pruning import require_optuna

STARTUP = 8  # trials that are drawn at random before TPE begins
KEY = 0x5EA2


def sampler_of(seed: int) -> Any:
    """The sampler of a search with this seed."""
    optuna = require_optuna()

    class TPEByTrial(optuna.samplers.BaseSampler):  # type: ignore[misc,name-defined,unused-ignore]
        """TPE with a seed for each trial."""

        def __init__(self) -> None:
            self._number, self._tpe = -1, None

        def _of(self, trial: Any) -> Any:
            if trial.number != self._number or self._tpe is None:
                drawn = int(np.random.SeedSequence([seed, KEY, trial.number]).generate_state(1)[0])
                self._tpe = optuna.samplers.TPESampler(
                    seed=drawn,
                    n_startup_trials=STARTUP,
                    multivariate=True,
                    group=True,
                    constant_liar=True,
                )
                self._number = trial.number
            return self._tpe

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            """As TPE does."""
            return self._of(trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            """As TPE does."""
            return self._of(trial).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            """As TPE does."""
            return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            """As TPE does."""
            self._of(trial).after_trial(study, trial, state, values)

    return TPEByTrial()
