"""A program of several processes of which one, or all, end otherwise than the others expect; started by mpiexec.

Its argument says how. The processes take steps without end until then.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np

from gpubp.errors import CommunicationError
from gpubp.processes import end_all, processes_of


def main(how: str) -> None:
    if os.environ["PMI_RANK"] == "1":
        if how == "early error":
            raise ValueError("before the start")
        if how == "early exit":
            sys.exit(0)
    if how == "no group" and os.environ["PMI_RANK"] == "1":
        from mpi4py import MPI

        assert MPI.Is_initialized()
        time.sleep(600)
    if how == "wrong limit" and os.environ["PMI_RANK"] == "1":
        os.environ["GPUBP_PROCESSES_TIMEOUT"] = "soon"
    group = processes_of("auto")
    assert group is not None
    vector = np.ones(1000)
    slices = group.slices(vector, [round(p * 1000 / group.size) for p in range(group.size + 1)])
    for _ in range(3):
        slices.sum()
        slices.gather()
    last = group.rank == group.size - 1
    if how == "child":
        program = "from gpubp.processes import processes_of; print(processes_of('auto'))"
        output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        sys.stdout.write(output)
        return
    if how == "order":
        sys.stdout.write(f"{group.rank} has ended\n")
        sys.exit(0)
    if how == "order, one late":
        time.sleep(1.0 if group.rank == 0 else 0)
        sys.stdout.write(f"{group.rank} has ended\n")
        return
    if how == "order, one with a code":
        sys.exit(3 if last else 0)
    if how == "all raise":
        raise ValueError("of all")
    if how == "the others raise" and group.rank:
        raise ValueError("of the others")
    if how == "all end":
        end_all("no such file", 2)
    if how == "an error of communication" and last:
        raise CommunicationError("a cable is broken")
    if how == "another call" and last:
        group.collect(1)
    if last:
        if how == "one raises":
            raise ValueError("of one")
        if how == "one ends":
            end_all("no such file", 2)
        if how == "one interrupted":
            raise KeyboardInterrupt
        if how in ("exit 0", "exit 3"):
            print("last words")
            sys.exit(int(how[-1]))
        if how == "hang":
            time.sleep(600)
        if how == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if how == "_exit":
            os._exit(3)
        if how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
    if group.leads and how == "steps":
        print("steps", flush=True)
    while True:
        slices.sum()
        slices.gather()
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1])
