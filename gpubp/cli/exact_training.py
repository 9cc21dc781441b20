"""`--exact`: what the model file of an exact training says of it, so that `gpubp verify` can do it again.

That is the SHA-256 of what was learnt (`network/fingerprint.py`), the options of `gpubp train` with all that it had
chosen by itself, and the SHA-256 of the rows and targets. Of files there are the names without their folders.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from .. import __version__, model_file
from ..backends import order
from ..config import ConfigError, Configurable, from_config
from ..data.row_groups import RowGroups
from ..endings import STDIN
from ..errors import ModelFileError
from ..model_file import described
from ..network import fingerprint
from ..network.network import Network
from ..optimizers import Optimizer
from ..report.facts import version
from .arguments import NAMED
from .defaults import OPTIMIZERS
from .large_data import EXACT_MEMORY
from .run_folder import arguments_of
from .train_job import TrainJob

METADATA = "exact"  # where a network's metadata has it
FILES = ("validation", "body")  # options that name files which a training depends on
BESIDE = (
    *("device", "workers", "shards", "out", "plot", "report", "log", "test", "folder"),
    *("checkpoint_dir", "checkpoint_every", "resume"),
)  # options that no number of a training depends on
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, repr=False)
class ExactTraining(Configurable):
    """What a model file says of the exact training that made it.

    version: of exact numerics, see `backends/order.py`. sha256: of the network. arguments: of `gpubp train`.
    data, body: the SHA-256 of the rows, and of the model of --from, "" without one. optimizer: with its schedule.
    finished: whether the training came to its end. made_with: the versions of what it ran on.

    >>> ExactTraining(1, "0" * 64, ("digits",), "1" * 64).arguments
    ('digits',)
    """

    version: int
    sha256: str
    arguments: tuple[str, ...]
    data: str
    body: str = ""
    optimizer: Optimizer | None = None
    finished: bool = True
    made_with: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("sha256", "data"):
            if not SHA256.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} is no SHA-256")
        if not isinstance(self.optimizer, Optimizer | None):
            raise ValueError(f"optimizer is no optimizer, but {self.optimizer!r}")

    @classmethod
    def of(cls, job: TrainJob, command: click.Command, finished: bool) -> ExactTraining:
        """The description of a training that has ended. command: `gpubp train`."""
        network, options = job.trainer.network, job.maker.options
        chosen = {
            "epochs": job.pace.epochs,
            "batch_size": job.pace.batch_size,
            "validation_fraction": None if options["validation"] else job.pace.validation,
            "lr": OPTIMIZERS[options["optimizer"]][1] if options["lr"] is None else options["lr"],
            "l2": job.trainer.settings["l2"],
            "memory": None if options["memory"] == EXACT_MEMORY else options["memory"],
        }
        values = {**options, **chosen, **dict.fromkeys(BESIDE)}
        values |= {name: Path(values[name]).name for name in FILES if values[name] is not None}
        if values["data"] not in (*NAMED, STDIN):
            values["data"] = Path(values["data"]).resolve().name
        if values["data"].lower().endswith(".npy"):
            values["target"] = Path(values["target"]).name
        return cls(
            order.VERSION,
            network.sha256(),
            tuple(arguments_of(command, values, ())),
            data_sha256(job),
            body_sha256(options["body"]) if options["body"] and Path(options["body"]).is_file() else "",
            job.trainer.optimizer,
            finished,
            made_with(),
        )

    @classmethod
    def read(cls, network: Network, path: str) -> ExactTraining:
        """The description in the file of a network. Raises ModelFileError where there is none, or a wrong one."""
        if METADATA not in network.metadata:
            raise ModelFileError(
                f"{path} does not say how to train it again: it is not of gpubp train --exact, which has the same bits "
                "on every machine, or is a checkpoint, and no model that it ended with"
            )
        with described(path, "an exact training"):
            found = from_config(network.metadata[METADATA], [cls])
            if not isinstance(found, cls):
                raise ConfigError(f"{found!r} is none")
            return found


def made_with() -> dict[str, str]:
    """The versions of what a training runs on.

    >>> made_with()["gpubp"] == __version__
    True
    """
    return {
        "gpubp": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "Numba": version("numba"),
        "machine": platform.machine(),
    }


def data_sha256(job: TrainJob) -> str:
    """The SHA-256 of the rows that a network is trained and validated with, as it takes them, and of their targets."""
    digest, kind = hashlib.sha256(), job.trainer.network.dtype
    parts = {"": (job.dataset.X, job.y)} | ({} if job.validation is None else {"validation ": job.validation})
    for name, (X, y) in parts.items():
        rows = (X.read(k) for k in range(X.groups)) if isinstance(X, RowGroups) else [X]
        fingerprint.add(digest, f"{name}X", kind, X.shape, rows)
        fingerprint.add(digest, f"{name}y", np.dtype(np.float64), y.shape, [y])
    return digest.hexdigest()


def body_sha256(path: str) -> str:
    """The SHA-256 of the network in a model file."""
    return fingerprint.sha256(model_file.of_network(model_file.read(path)[1]))
