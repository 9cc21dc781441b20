"""A program of several processes in which one, or all, do something that processes easily do; started by mpiexec.

Its arguments: what, and a folder. "fine" is printed by each process that trains to the end.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import gpubp as bp

X = np.random.default_rng(0).normal(size=(50, 5)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 50)


def trainer_of(**settings: Any) -> bp.Trainer:
    net = bp.Network(bp.mlp(3, hidden=(9,), dropout=0.2), 5, device="cpu")
    settings = {"batch_size": 16, "shards": 4, "optimizer": bp.Adam(0.01)} | settings
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), **settings)


def fit(trainer: bp.Trainer, *callbacks: bp.Callback, epochs: int = 4) -> bytes:
    trainer.fit(X, Y, epochs=epochs, callbacks=callbacks, verbose=False)
    return trainer.network.flat.tobytes()


def alone() -> bytes:
    return fit(trainer_of(communicator=None))


def send_back(queue: Any) -> None:
    """What a child process trains by itself."""
    queue.put(fit(trainer_of()))


def in_child(method: str) -> bytes:
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=send_back, args=(queue,))
    child.start()
    found = queue.get(timeout=200)
    child.join(200)
    return bytes(found)


def callback(do: Any) -> bp.Callback:
    """A callback that does something after step 2."""
    return bp.LambdaCallback(on_step_end=lambda trainer: do(trainer) if trainer.step_count == 2 else None)


def main(what: str, folder: Path) -> None:
    rank = int(os.environ["PMI_RANK"])
    first = rank == 0
    if what == "a step of one":
        fit(trainer_of(), callback(lambda trainer: trainer.step(X[:16], Y[:16]) if first else None))
    elif what == "a checkpoint of one":
        fit(trainer_of(), callback(lambda trainer: trainer.save(folder / "a.safetensors") if first else None))
    elif what == "a checkpoint of one after the fit":
        trainer = trainer_of()
        fit(trainer)
        if first:
            trainer.save(folder / "a.safetensors")
    elif what == "more numbers of one":
        group = trainer_of().processes
        assert group is not None
        group.gather(np.zeros(3), np.zeros((group.size, 3)))
        numbers = np.zeros(3 if rank else 300)
        group.gather(numbers, np.zeros((group.size, *numbers.shape)))
    elif what == "another type of one":
        group = trainer_of().processes
        assert group is not None
        numbers = np.zeros(4, "float32" if rank else "int32")
        group.gather(numbers, np.zeros((group.size, 4), numbers.dtype))
    elif what == "a trainer of one":
        if first:
            fit(trainer_of())
    elif what == "a trainer of one, and the others import MPI":
        from mpi4py import MPI

        if MPI.COMM_WORLD.Get_rank() == 0:
            fit(trainer_of())
    elif what == "two trainers":
        one, two = trainer_of(), trainer_of(seed=3)
        for _ in range(3):
            one.step(X, Y)
            two.step(X, Y)
        assert fit(two) != fit(one)
    elif what == "halves":
        from mpi4py import MPI

        half = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.Get_rank() % 2)
        found = fit(trainer_of(communicator=half, seed=rank % 2), epochs=4 + 3 * (rank % 2))
        assert found == fit(trainer_of(communicator=None, seed=rank % 2), epochs=4 + 3 * (rank % 2))
    elif what == "halves, one raises":
        from mpi4py import MPI

        half = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.Get_rank() % 2)
        trainer = trainer_of(communicator=half)
        fit(trainer, callback(lambda _: 1 / 0 if rank == 3 else None), epochs=4 if rank % 2 else 10**6)
    elif what in ("fork", "spawn"):
        group = trainer_of()
        assert in_child(what) == alone() == fit(group)
    elif what == "a fork goes on":
        trainer = trainer_of()
        fit(trainer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12's, of a fork beside threads
            child = os.fork() if first else 0
        if first and not child:
            try:
                fit(trainer)
            except bp.errors.CommunicationError as problem:
                sys.stdout.write(f"{problem}\n")
                sys.stdout.flush()
            os._exit(0)
        if first:
            os.waitpid(child, 0)
    elif what == "a program":
        trainer_of()
        run = [sys.executable, __file__, "in a program", str(folder)]
        subprocess.run(run, check=True, timeout=200)
    elif what == "in a program":
        assert trainer_of().processes is None
        return
    elif what == "two threads":
        trainers = [trainer_of(seed=k) for k in range(2)]
        problems: list[BaseException] = []

        def work(trainer: bp.Trainer) -> None:
            try:
                fit(trainer, epochs=200)
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=work, args=(trainer,)) for trainer in trainers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        raise problems[0]
    elif what == "a late stop":

        def stop(trainer: bp.Trainer) -> None:
            trainer.stop = trainer.stop or rank == 1

        fit(trainer_of(), callback(stop), bp.Checkpoint(folder))
    elif what == "an exit code of one":
        fit(trainer_of(), callback(lambda _: sys.exit(7) if rank == 1 else None))
    elif what == "slow at the end":
        fit(trainer_of())
        time.sleep(4 if first else 0)
    else:
        raise ValueError(what)
    sys.stdout.write(f"{rank} fine\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
