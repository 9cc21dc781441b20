"""The study of a search: in memory, in a file or in a database, so that it can be resumed, and shared by processes.

A file is a journal of Optuna: a line of JSON for every change, written under a lock, which works on network drives
too. The study has a fingerprint of data and options, and a process with another fingerprint is refused. Each trial says
which process runs it, and when that was last alive: what a process that has ended left behind is marked failed and
tried again, once.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ...errors import DataError
from ...training.pruning import require_optuna
from ..files import check_output
from .sampler import sampler_of
from .training import RUNGS, THIRD

NAME = "gpubp search"  # of the study in its file or database
LARGEST = 1 << 30  # bytes of a file
FIRST_LINE = 1 << 20
FINGERPRINT = "gpubp fingerprint"
WORKER, BEAT, TRIES = "process", "alive", "tries"  # attributes of a trial
SILENT = 600.0  # seconds without a sign of life, after which a process of another machine counts as ended
OFTEN = 20.0  # seconds between two signs of life
MOST_TRIES = 2
URL = re.compile(r"[a-z][a-z0-9+]*://", re.I)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, Optuna neither logs nor warns of experimental arguments; the search has words of its own."""
    optuna = require_optuna()
    logger = logging.getLogger("optuna")
    before = logger.level
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before or optuna.logging.INFO)


def check_place(where: str | None, not_over: Sequence[str | None]) -> None:
    """Raise UsageError for a place where no study can be, or that holds something else."""
    if where is None:
        return
    if URL.match(where):
        if where.lower().startswith("redis"):
            raise click.UsageError(
                "--study can't be a Redis server: Optuna keeps pickled data there, which gpubp reads never"
            )
        return
    check_output(where, "--study", not_over=not_over)
    path = Path(where)
    if not path.exists() or not path.stat().st_size:
        return
    if path.stat().st_size > LARGEST:
        raise DataError(f"--study {where} is too large for a study")
    with open(path, "rb") as file:
        line = file.readline(FIRST_LINE)
    try:
        whole = isinstance(json.loads(line), dict) and "op_code" in json.loads(line)
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise DataError(f"--study {where} is another file, and no study of Optuna: name one that is not there yet")


def open_study(where: str | None, fingerprint: Mapping[str, Any], rising: bool, seed: int) -> Any:
    """The study of Optuna, which is made if it is not there.

    where: a file, the address of a database, or None for memory. fingerprint: what it is of, as texts and numbers.
    rising: whether a higher score is better. Raises DataError where it is of something else or can't be read.
    """
    optuna = require_optuna()
    try:
        storage = _storage(where)
        study = optuna.create_study(
            storage=storage,
            study_name=NAME,
            direction="maximize" if rising else "minimize",
            load_if_exists=True,
            sampler=sampler_of(seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=RUNGS[0], reduction_factor=THIRD),
        )
        told = study.user_attrs.get(FINGERPRINT)
        if told is None:
            study.set_user_attr(FINGERPRINT, json.loads(json.dumps(fingerprint)))
            told = study.user_attrs[FINGERPRINT]
        trials = study.get_trials(deepcopy=False)
    except (KeyboardInterrupt, click.ClickException, DataError, OSError):
        raise
    except Exception as problem:  # whatever a damaged file, or a database, brings Optuna and its libraries to
        reason = str(problem).partition("\n")[0] or type(problem).__name__
        raise DataError(f"--study {where} can't be used: {reason}") from problem
    _compare(told, json.loads(json.dumps(fingerprint)), where, len(trials))
    return study


def _storage(where: str | None) -> Any:
    optuna = require_optuna()
    if where is None:
        return optuna.storages.InMemoryStorage()
    if URL.match(where):
        return optuna.storages.get_storage(where)
    journal = optuna.storages.journal
    lock = (journal.JournalFileOpenLock if os.name == "nt" else journal.JournalFileSymlinkLock)(where)
    _mend(Path(where), lock)
    return optuna.storages.JournalStorage(journal.JournalFileBackend(where, lock_obj=lock))


def _mend(path: Path, lock: Any) -> None:
    """Cut off a last line that was not written to its end, as on a full disk; the next would be written behind it."""
    if not path.exists():
        return
    lock.acquire()
    try:
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - FIRST_LINE)
            file.seek(start)
            end = file.read(FIRST_LINE)
            if end and not end.endswith(b"\n") and b"\n" in end:
                file.truncate(start + end.rindex(b"\n") + 1)
    finally:
        lock.release()


def _compare(told: Any, wanted: Mapping[str, Any], where: str | None, trials: int) -> None:
    if not isinstance(told, dict):
        raise DataError(f"--study {where} is no study of gpubp search")
    different = [name for name in {**told, **wanted} if told.get(name) != wanted.get(name)]
    if not different:
        return
    options = [name for name in different if name != "rows"]  # the rows may be others because of these
    options = [name for name in options if name != "searched"] or options
    there, here = (", ".join(f"{name} {of.get(name)}" for name in options) for of in (told, wanted))
    what = f"a search with {there:.300}, and this one has {here:.300}" if options else "other rows than these"
    raise DataError(
        f"--study {where} is of {what}; it has {trials} trials. Give the data and options that it began with, or name "
        "another study"
    )


class Worker:
    """This process, as the trials of a study name it.

    >>> Worker().is_gone({"host": "elsewhere", "pid": 1, "alive": 0.0})
    True
    """

    def __init__(self) -> None:
        self.host, self.pid = socket.gethostname(), os.getpid()
        self._told = 0.0

    def takes(self, trial: Any) -> None:
        """Write into a trial that this process runs it."""
        trial.set_user_attr(WORKER, {"host": self.host, "pid": self.pid, "began": _began(self.pid)})
        self._told = 0.0
        self.alive(trial)

    def alive(self, trial: Any) -> bool:
        """Write into a trial, every 20 seconds, that this process is alive; whether it was written now."""
        now = time.monotonic()
        if self._told and now - self._told < OFTEN:
            return False
        self._told = now
        trial.set_user_attr(BEAT, time.time())
        return True

    def is_gone(self, told: Mapping[str, Any]) -> bool:
        """Whether a process has ended. told: its "host", "pid" and "began", and "alive", when it last was.

        On this machine the system knows; of others it counts that nothing came for ten minutes.
        """
        if told.get("host") == self.host:
            pid = told.get("pid")
            return not isinstance(pid, int) or pid <= 0 or _began(pid) is None or _began(pid) != told.get("began")
        alive = told.get("alive")
        return not isinstance(alive, int | float) or time.time() - alive > SILENT


def _began(pid: int) -> str | None:
    """When a process began, as the system counts; None where there is none of this number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()  # a zombie has ended
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return None
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return ""


def free_left_behind(study: Any, worker: Worker) -> int:
    """Mark trials of processes that have ended as failed, and have them tried again; returns how many there were."""
    optuna = require_optuna()
    count = 0
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        told = trial.user_attrs.get(WORKER)
        if told is None:  # it has just begun, or ended before it could say who it is
            began = trial.datetime_start
            told = {"alive": began.timestamp() if began is not None else 0.0}
        if worker.is_gone({**told, "alive": trial.user_attrs.get(BEAT, told.get("alive"))}):
            count += give_back(study, trial)
    return count


def give_back(study: Any, trial: Any, blame: bool = True) -> bool:
    """Mark a trial that was not finished as failed, and have its settings tried again; whether it was not finished.

    blame: whether the trial may be why its process ended, as by want of memory: then it is tried twice at most.
    """
    optuna = require_optuna()
    params, tries = dict(trial.params), trial.user_attrs.get(TRIES, 1)
    try:
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    except ValueError:  # another process was faster
        return False
    if params and isinstance(tries, int) and tries < MOST_TRIES:
        study.enqueue_trial(params, user_attrs={TRIES: tries + blame})
    return True
