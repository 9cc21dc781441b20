"""Processes without MPI find each other by files, whatever earlier runs have left."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.backends.cuda import driver
from gpubp.errors import CommunicationError, DeviceError
from gpubp.processes.meeting import Meeting
from gpubp.processes.nccl import gpu_processes_by_files
from strict_nccl import World, threads


def attend(folder: Path, rank: int, size: int, timeout: float = 20.0, name: str = "run") -> Any:
    return Meeting(folder, name, rank, size).attend({"of": rank}, lambda: f"made by {rank}", timeout)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_all_get_the_identifier_and_what_all_see_and_no_file_is_left(tmp_path, size):
    wanted = ("made by 0", [{"of": rank} for rank in range(size)])
    for _ in range(2):
        assert threads(size, lambda rank: attend(tmp_path, rank, size)) == [wanted] * size
        assert not list(tmp_path.iterdir())


def test_files_of_an_earlier_run_are_not_taken(tmp_path):
    """Neither where they are whole nor where they are damaged, and not if a process comes late."""
    old = {"mark": "old", "seen": "old", "told": ["old"], "size": 3}
    told = {"mark": "old", "marks": ["old"] * 3, "seen": ["old"] * 3, "identifier": "old", "done": True}
    (tmp_path / "run.all").write_text(json.dumps(told))
    (tmp_path / "run.0").write_text(json.dumps(old))
    (tmp_path / "run.1").write_text('{"mark": 3')
    (tmp_path / "run.2").write_text(json.dumps(old))
    late: dict[int, float] = {0: 0.0, 1: 0.2, 2: 0.5}

    def one(rank: int) -> Any:
        time.sleep(late[rank])
        return attend(tmp_path, rank, 3)

    assert threads(3, one) == [("made by 0", [{"of": 0}, {"of": 1}, {"of": 2}])] * 3
    assert not list(tmp_path.iterdir())


def test_runs_of_other_names_do_not_meet(tmp_path):
    def one(k: int) -> Any:
        return Meeting(tmp_path, f"run-{k % 2}", k // 2, 2).attend(k, lambda: str(k), 20.0)

    assert threads(4, one) == [("0", [0, 2]), ("1", [1, 3]), ("0", [0, 2]), ("1", [1, 3])]


def test_who_does_not_come_is_named(tmp_path):
    with pytest.raises(CommunicationError, match="process 1 of 2 has waited 0 s for process 0 to write .*run.all"):
        attend(tmp_path, 1, 2, 0.2)
    problems: list[str] = []

    def one(rank: int) -> None:
        try:
            attend(tmp_path, rank, 4, 1.0)
        except CommunicationError as problem:
            problems.append(str(problem))

    some = [threading.Thread(target=one, args=(rank,)) for rank in (0, 2)]
    for thread in some:
        thread.start()
    for thread in some:
        thread.join()
    assert any(
        "and processes 1, 2, 3 did not come" in problem or "1, 3 did not come" in problem for problem in problems
    )
    assert not list(tmp_path.iterdir())


def test_another_number_of_processes_does_not_fit(tmp_path):
    problems: list[str] = []

    def one(rank: int) -> None:
        try:
            attend(tmp_path, rank, 2 + rank, 0.5)
        except CommunicationError as problem:
            problems.append(str(problem))

    threads(2, one)
    assert len(problems) == 2 and all("same folder, name and number of processes" in problem for problem in problems)


@pytest.mark.parametrize("values", [("", 0, 1), ("a/b", 0, 1), ("..", 0, 1), ("a", 1, 1), ("a", -1, 2)])
def test_names_and_ranks_that_fit_no_file_are_refused(tmp_path, values):
    with pytest.raises(ValueError, match="the name of a meeting|the rank of one"):
        Meeting(tmp_path, *values)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CommunicationError, match="process 0 of 1 can't write .*nowhere.*run.0: No such file"):
        attend(tmp_path / "nowhere", 0, 1)


def test_without_gpus_all_processes_say_so(tmp_path):
    def one(rank: int) -> str:
        with pytest.raises(DeviceError) as problem:
            gpu_processes_by_files(tmp_path, "run", rank, 2, timeout=20.0)
        return str(problem.value)

    said = set(threads(2, one))
    assert len(said) == 1 and "process 0 of 2 on host" in said.pop()


def test_gpus_meet_by_files_and_send(tmp_path, monkeypatch):
    """Each process of a host gets a GPU of its own, and its backend sends."""
    world, mine = World(2), threading.local()
    monkeypatch.setattr(driver, "find_cupy", lambda: mine.cupy)

    def one(rank: int) -> Any:
        mine.cupy = world.cupy(rank)
        group = gpu_processes_by_files(tmp_path, "run", rank, 2, timeout=20.0)
        found = group.collect(group.be.name)
        sums = np.zeros((2, 3))
        group.gather(np.full(3, rank + 1.0), sums)
        return found, sums.sum()

    assert threads(2, one) == [(["cuda:0", "cuda:1"], 9.0)] * 2
    assert not list(tmp_path.iterdir())


def test_a_time_that_is_over_before_the_first_look_is_an_error_of_all_others(tmp_path):
    """As where making the identifier takes longer."""
    with pytest.raises(CommunicationError, match="process 0 of 3 has waited 0 s .*, and processes 1, 2 did not come"):
        attend(tmp_path, 0, 3, 0.0)
    assert not list(tmp_path.iterdir())
