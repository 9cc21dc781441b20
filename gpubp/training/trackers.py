"""Callbacks that log training runs for TensorBoard and MLflow, each through its own library."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..backends import as_numpy
from ..backends.process import renew_in_children
from ..config import argument, as_plain
from ..errors import MissingDependencyError
from .callbacks import Callback, RunningTrainer, known_rate
from .log_files import row_of
from .settings import Settings

LONGEST = 500  # characters of a parameter, which is what MLflow takes everywhere


def require_tensorboard() -> Any:
    """The library; MissingDependencyError, with the command that mends it, where it is missing.

    >>> require_tensorboard().__name__
    'tensorboardX'
    """
    try:
        import tensorboardX
    except ImportError:
        raise MissingDependencyError(
            "logs for TensorBoard need tensorboardX: pip install 'gpubp[tensorboard]'"
        ) from None
    return tensorboardX


def _require_mlflow() -> Any:
    try:
        import mlflow
    except ImportError:
        raise MissingDependencyError("logs for MLflow need mlflow: pip install 'gpubp[mlflow]'") from None
    return mlflow


def settings_of(trainer: RunningTrainer) -> dict[str, str]:
    """The settings of a training run as text: network, loss, optimizer, and the trainer's settings.

    >>> import gpubp as bp
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError(), bp.SGD(0.1), l2=0.01)
    >>> settings_of(trainer)["optimizer"], settings_of(trainer)["l2"]
    ('SGD(0.1)', '0.01')
    """
    network = trainer.network
    told: dict[str, Any] = {
        "network": network.layers,
        "input_shape": network.input_shape,
        "parameters": sum(math.prod(p.shape) for p in network.declared.values()),
        "frozen": ", ".join(sorted(network.frozen)),
        "dtype": network.dtype,
        "device": network.device,
        "numerics": "exact" if network.backend.numerics == "exact" else "",
        "network_seed": network.seed,
        "loss": trainer.loss_function,
        "optimizer": trainer.optimizer,
        "metrics": ", ".join(metric.name for metric in trainer.metrics),
    }
    told |= {name: value for name, value in trainer.settings.items() if name != "metrics"}
    usual = vars(Settings())
    unset = (None, False, "", 0.0)
    return {
        name: str(value)
        for name, value in told.items()
        if name in ("batch_size", "seed", "network_seed")
        or not any(value is u or value == u for u in (*unset, usual.get(name)))
    }


class TensorBoard(Callback):
    """Writes the numbers of epochs for TensorBoard: `tensorboard --logdir FOLDER` draws them during training.

    Training and validation go into two folders below `folder`, so that TensorBoard draws both into one chart; the
    step of its axis is the epoch. A resumed training takes back what the folder has of the epochs after the one it
    resumes from, and a new one all of it.

    folder: is made if need be. histograms: of every parameter, after every epoch.

    Raises MissingDependencyError without tensorboardX (`pip install 'gpubp[tensorboard]'`).

    >>> import os, tempfile, numpy as np, gpubp as bp
    >>> folder = tempfile.mkdtemp()
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD(0.1))
    >>> logs = bp.TensorBoard(folder)
    >>> _ = trainer.fit(np.eye(3), [1, 2, 3], epochs=2, validation_data=(np.eye(3), [1, 2, 3]), callbacks=[logs])
    >>> sorted(os.listdir(folder))
    ['training', 'validation']
    """

    comes_last = True
    of_fit = {"_writers": {}}
    one_process = True

    def __init__(self, folder: str | os.PathLike[str], histograms: bool = False) -> None:
        require_tensorboard()
        self.folder, self.histograms = Path(folder), argument("TensorBoard", "histograms", bool, histograms)
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, trainer: Any) -> None:
        """Open a file of events, and write the settings."""
        renew_in_children(self)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._first = trainer.epoch + 1  # TensorBoard forgets what files before this one have from there on
        rows = [f"|{name}|`{value}`|" for name, value in settings_of(trainer).items()]
        self._writer("training").add_text("settings", "\n".join(["|setting|value|", "|-|-|", *rows]), trainer.epoch)

    def after_fork(self) -> None:
        """Open files of its own in a forked process: those of the parent are written by a thread of the parent's."""
        self._writers = {}

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            name = f".{time.time_ns()}.{os.getpid()}"  # the library's own names repeat within a second
            (self.folder / part).mkdir(exist_ok=True)  # the library fails if another process makes it meanwhile
            self._writers[part] = require_tensorboard().SummaryWriter(
                str(self.folder / part), purge_step=self._first, filename_suffix=name
            )
        return self._writers[part]

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Add a point to every curve."""
        for name, value in (logs | {"learning_rate": known_rate(trainer)}).items():
            part = "validation" if name.startswith("val_") else "training"
            self._writer(part).add_scalar(name.removeprefix("val_"), value, trainer.epoch)
        if self.histograms:
            for name, a in trainer.network.parameters.items():
                self._writer("training").add_histogram(f"parameters/{name}", as_numpy(a), trainer.epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, trainer: Any) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


class MLflow(Callback):
    """Logs training as a run of MLflow: settings as parameters, the numbers of epochs as metrics.

    Into the run that is active, if there is one, which is left open; else into a run of its own, which is ended with
    the training, as FAILED where an error ended it and KILLED where Ctrl-C did. A resumed training goes on in its run.

    experiment: its name; "gpubp" by default. run_name: MLflow invents one by default. tracking_uri: of the server or
    store, such as "sqlite:///mlflow.db"; MLflow's own setting by default. tags: name -> value. log_model: whether the
    network is put into the run at the end, as model.safetensors. parameters: more of them, beside the settings.

    run_id: of the run, to be found again.

    Raises MissingDependencyError without mlflow (`pip install 'gpubp[mlflow]'`), and what MLflow raises if it can't be
    reached when training begins. What fails later becomes a warning.

    >>> import gpubp as bp
    >>> issubclass(bp.MLflow, bp.Callback)                 # bp.MLflow(experiment="digits", log_model=True)
    True
    """

    comes_last = True
    of_fit = {"_client": None}
    one_process = True

    def __init__(
        self,
        experiment: str | None = None,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, str] | None = None,
        log_model: bool = False,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        _require_mlflow()
        self.experiment, self.run_name, self.tracking_uri = experiment, run_name, tracking_uri
        self.log_model = argument("MLflow", "log_model", bool, log_model)
        self.tags, self.parameters = dict(tags or {}), dict(parameters or {})
        self.run_id: str | None = None
        self._client: Any = None

    def state_dict(self) -> dict[str, Any]:
        """The id of the run."""
        return {"run_id": self.run_id or ""}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the id of the run to go on with."""
        self.run_id = str(state["run_id"]) or None

    def on_train_begin(self, trainer: Any) -> None:
        """Begin a run. A resumed training learns its run later, by `load_state_dict`."""
        self.run_id, self._client, self._told = None, None, ""
        self._start = time.perf_counter()
        if not trainer.resumes_fit:
            self._open(trainer)

    def _open(self, trainer: RunningTrainer) -> None:
        mlflow = _require_mlflow()
        active = mlflow.active_run()
        self._client = client = mlflow.MlflowClient(self.tracking_uri)
        self._logged = 0
        if self.run_id is not None:
            # A resumed training reports the same numbers again: those that are there are left.
            names = client.get_run(self.run_id).data.metrics
            points = [point for name in names for point in client.get_metric_history(self.run_id, name)]
            self._logged = max((point.step for point in points), default=0)
            self._own = active is None or active.info.run_id != self.run_id
            if self._own:
                client.update_run(self.run_id, status="RUNNING")
            return
        self._own = active is None
        self.run_id = self._new_run() if active is None else active.info.run_id
        told = settings_of(trainer) | {name: str(as_plain(value)) for name, value in self.parameters.items()}
        parameter = mlflow.entities.Param
        client.log_batch(self.run_id, params=[parameter(name, value[:LONGEST]) for name, value in told.items()])

    def _new_run(self) -> str:
        name = self.experiment or "gpubp"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found is not None else self._client.create_experiment(name)
        return str(self._client.create_run(experiment, tags=self.tags, run_name=self.run_name).info.run_id)

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Log the epoch's metrics."""
        if self._client is None:
            self._open(trainer)
        if trainer.epoch <= self._logged:
            return
        row = row_of(trainer, logs, 0.0)
        now, metric = int(time.time() * 1000), _require_mlflow().entities.Metric
        numbers = [metric(k, float(v), now, trainer.epoch) for k, v in row.items() if k not in ("epoch", "seconds")]
        self._try(lambda: self._client.log_batch(self.run_id, metrics=numbers))

    def on_train_end(self, trainer: Any) -> None:
        """Log the model, if asked for, and end the run."""
        if self._client is None:
            return
        if self.log_model:
            self._try(lambda: self._put_model(trainer))
        if self._own:
            status = "KILLED" if trainer.history.interrupted else "FINISHED" if trainer.finished else "FAILED"
            self._try(lambda: self._client.set_terminated(self.run_id, status))

    def _put_model(self, trainer: RunningTrainer) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.safetensors")
            trainer.network.save(path)
            self._client.log_artifact(self.run_id, path)

    def _try(self, work: Callable[[], Any]) -> None:
        """Call `work`; an error becomes a warning, and training goes on."""
        try:
            work()
        except Exception as problem:
            reason = str(problem).partition("\n")[0] or type(problem).__name__
            if reason != self._told:
                text = f"MLflow's run {self.run_id} is not complete: {reason}; training goes on"
                warnings.warn(text, RuntimeWarning, stacklevel=4)
            self._told = reason
