"""Training in several processes by MPI: the same bits for any number of them, and what they send in a step."""

import json
from pathlib import Path
from typing import Any

from mpi_runs import Run, needs_mpi

PROGRAM = Path(__file__).with_name("training_program.py")
SMALL = 64 * 8 * 10  # bytes of the small sums of a step that each process sends to each other one, at most


def results(count: int, folder: Path) -> list[dict[str, Any]]:
    ended = Run(count, PROGRAM, 8, folder).end()
    assert ended.code == 0, ended.errors
    return [json.loads(line) for line in ended.output.splitlines()]


@needs_mpi
def test_processes_have_the_bits_of_one_and_send_what_they_must(tmp_path: Path) -> None:
    found = {count: results(count, tmp_path / str(count)) for count in (1, 2, 4)}
    assert len({(one["hash"], str(one["loss"])) for of_run in found.values() for one in of_run}) == 1
    names = [{path.name for path in (tmp_path / str(count)).iterdir()} for count in found]
    written = {"best.safetensors", "step-000000000.safetensors", "step-000000012.safetensors"}
    passed_over = {"step-000000007.safetensors"}  # where the disk is slower than training
    assert all(written <= of_run <= written | passed_over for of_run in names), "one process writes the checkpoints"
    for count in (2, 4):
        of_all = [one["steps"][1] for one in found[count]]  # the second step writes no checkpoint
        size, others = found[count][0]["bytes"], count - 1
        sent = sum(of_step[0] for of_step in of_all)
        assert 2 * others * size <= sent <= 2 * others * size + count * others * SMALL
        assert max(of_step[1] for of_step in of_all) <= others * 20, "a step has few messages"
