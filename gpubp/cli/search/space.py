"""The space of a search: what is tried around the settings that `gpubp train` has by itself.

    hidden      layers and width: the first hidden layer has `width` units, each further one half of the one below; all
                have `width` in a bag, whose usual layers are equal
    lr          a tenth of the usual learning rate to five times of it
    prior       l2 times the rows; of data that are no table also no penalty at all
    batch_size  half of the usual size to four times of it
    epochs      half, once or twice of what `gpubp train` takes for this batch size, so that steps count and not passes

The penalty is searched as l2 · rows, and epochs as a factor, because both depend on the rows: a fold has fewer than the
training that follows. What was typed is not searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..defaults import OPTIMIZERS, PRIOR, WEAKER_PRIOR, Pace, make_l2
from ..l2_search import FROM

SEARCHED = ("hidden", "activation", "dropout", "lr", "l2", "batch_size", "epochs")  # options of `gpubp train`
TRIED = ("relu", "silu", "tanh")  # activations
LAYERS, WIDTHS = (0, 4), (16, 512)
MOST_DROPPED, DROPPED = 0.5, 0.05  # the largest dropout, and the steps to it
RATES = (0.1, 5.0)  # times the usual one
PRIORS = (0.2, 200.0)
FACTORS = (0.5, 1.0, 2.0)  # of the epochs
SMALLEST_BATCH = 8


@dataclass(frozen=True)
class Settings:
    """What a trial tries: an option that is None is as typed. prior: l2 times the rows; factor: of the epochs."""

    hidden: tuple[int, ...] | None = None
    activation: str | None = None
    dropout: float | None = None
    lr: float | None = None
    prior: float | None = None
    batch_size: int | None = None
    factor: float | None = None

    def options(self, rows: int, table: bool, batch_size: int | None = None) -> dict[str, Any]:
        """The options of `gpubp train` for a training on so many rows, of a table or not. batch_size: that was typed.

        >>> Settings(lr=0.01, prior=5.0, factor=2.0).options(1000, table=True)
        {'lr': 0.01, 'l2': 0.005, 'epochs': 126}
        """
        made: dict[str, Any] = {
            name: value
            for name in ("hidden", "activation", "dropout", "lr", "batch_size")
            if (value := getattr(self, name)) is not None
        }
        if self.prior is not None:
            made["l2"] = make_l2(None, rows, True, self.prior) if self.prior else 0.0
            if self.prior not in (PRIOR, WEAKER_PRIOR):  # which `gpubp train` takes to the last digit
                made["l2"] = float(f"{made['l2']:.3g}")
        if self.factor is not None:
            epochs = Pace.of(rows, 0.0, self.batch_size or batch_size, None, table).epochs
            made["epochs"] = max(1, round(self.factor * epochs))
        return made


@dataclass(frozen=True)
class Space:
    """The space of a search.

    names: the options of `gpubp train` that are searched. model: "mlp", "cnn" or "bag". table: whether the data are
    one. rate, batch_size, activation: the usual ones. hidden: the units of the usual hidden layers. rows: trained with.

    >>> Space.of({"model": "mlp", "optimizer": "adam", "activation": "relu"}, ("lr",), True, False, 1000).searched()
    {'lr': (0.0003, 0.015)}
    """

    names: tuple[str, ...]
    model: str
    table: bool
    rate: float
    batch_size: int
    hidden: tuple[int, ...]
    rows: int

    @classmethod
    def of(cls, options: Mapping[str, Any], free: tuple[str, ...], table: bool, texts: bool, rows: int) -> Space:
        """The space by the options that were typed. free: those of SEARCHED that were not. texts: in the table or not.

        What reads texts has no hidden layers by itself, or some beside it, and models other than mlp, cnn and bag have
        other sizes: their units are not searched.
        """
        model = options["model"]
        names = [name for name in free if name != "hidden" or (model in ("mlp", "cnn", "bag") and not texts)]
        hidden = {"cnn": (128,), "bag": (128, 128)}.get(model, (256, 128))
        batch = Pace.of(rows, 0.0, options.get("batch_size"), None, table).batch_size
        return cls(tuple(names), model, table, OPTIMIZERS[options["optimizer"]][1], batch, hidden, rows)

    def searched(self) -> dict[str, tuple[Any, ...]]:
        """The parameters of a trial, as Optuna knows them: (lowest, highest), or the choices."""
        sizes = tuple(b for k in (1, 2, 4, 8) if SMALLEST_BATCH <= (b := self.batch_size * k // 2) <= self.rows // 4)
        every: dict[str, dict[str, tuple[Any, ...]]] = {
            "hidden": {"layers": LAYERS, "width": WIDTHS},
            "activation": {"activation": TRIED},
            "dropout": {"dropout": (0.0, MOST_DROPPED)},
            "lr": {"lr": tuple(float(f"{k * self.rate:.2g}") for k in RATES)},
            "l2": {"prior": PRIORS} if self.table else {"penalty": (False, True), "prior": PRIORS},
            "batch_size": {"batch_size": tuple(sorted({*sizes, self.batch_size}))},
            "epochs": {"epochs": FACTORS},
        }
        return {name: bounds for option in SEARCHED if option in self.names for name, bounds in every[option].items()}

    def usual(self) -> list[dict[str, Any]]:
        """The parameters of the first trials: what `gpubp train` does by itself, with each penalty that it compares."""
        default: dict[str, Any] = {
            "layers": len(self.hidden),
            "width": self.hidden[0],
            "activation": "relu",
            "dropout": 0.0,
            "lr": self.rate,
            "batch_size": self.batch_size,
            "epochs": 1.0,
        } | ({"prior": PRIOR} if self.table else {"penalty": False})
        default = {name: value for name, value in default.items() if name in self.searched()}
        weaker = self.table and "l2" in self.names and self.rows >= FROM
        return [default, default | {"prior": WEAKER_PRIOR}] if weaker else [default]

    def suggest(self, trial: Any) -> Settings:
        """The settings of a trial of Optuna."""
        of = self.searched()
        found: dict[str, Any] = {}
        if "layers" in of:
            layers = trial.suggest_int("layers", *of["layers"])
            width = trial.suggest_int("width", *of["width"], log=True)
            found["hidden"] = tuple(max(1, width if self.model == "bag" else width >> k) for k in range(layers))
        if "activation" in of:
            found["activation"] = trial.suggest_categorical("activation", of["activation"])
        if "dropout" in of:
            found["dropout"] = round(trial.suggest_float("dropout", *of["dropout"], step=DROPPED), 2)
        if "lr" in of:
            found["lr"] = float(f"{trial.suggest_float('lr', *of['lr'], log=True):.2g}")
        if "prior" in of:
            on = trial.suggest_categorical("penalty", of["penalty"]) if "penalty" in of else True
            found["prior"] = float(f"{trial.suggest_float('prior', *of['prior'], log=True):.2g}") if on else 0.0
        if "batch_size" in of:
            found["batch_size"] = trial.suggest_categorical("batch_size", of["batch_size"])
        if "epochs" in of:
            found["factor"] = trial.suggest_categorical("epochs", of["epochs"])
        return Settings(**found)

    def different(self, settings: Settings, rows: int, batch_size: int | None = None) -> dict[str, Any]:
        """Of the options of a trial, those that are not what `gpubp train` takes by itself; of a table always l2.

        rows: trained with. batch_size: that was typed. With l2, `gpubp train` need not search for it.
        """
        made = settings.options(rows, self.table, batch_size)
        usual: dict[str, Any] = {
            "hidden": self.hidden,
            "activation": "relu",
            "dropout": 0.0,
            "lr": self.rate,
            "batch_size": self.batch_size,
        }
        if not self.table:
            usual["l2"] = 0.0
        if settings.factor == 1.0:
            made.pop("epochs")
        return {name: value for name, value in made.items() if name not in usual or usual[name] != value}

    def told(self) -> str:
        """What is searched, in words."""
        words = {"batch_size": "batch size", "lr": "learning rate", "l2": "penalty", "hidden": "hidden layers"}
        return ", ".join(words.get(name, name) for name in SEARCHED if name in self.names)
