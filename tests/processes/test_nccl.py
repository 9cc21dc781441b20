"""Messages between GPUs, on the strict stand-in for CuPy: their numbers, their bytes, and steps that are captured."""

from __future__ import annotations

from typing import Any

import numpy as np
import process_contract
import pytest

from gpu_group import on_gpus, put
from gpubp.backends import get_backend
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.effects import effects
from gpubp.backends.cuda.graphs import CapturedStep
from gpubp.errors import CommunicationError, MissingDependencyError, ShapeError
from gpubp.processes import tree_sum
from gpubp.processes.nccl import GPUProcesses
from strict import StrictProducts
from strict_nccl import World

SIZES = [1, 2, 3, 4]


# -- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_what_the_host_has_goes_by_the_gpus_where_there_is_no_mpi(size):
    def work(group: GPUProcesses) -> None:
        process_contract.check_gather(group)
        process_contract.check_broadcast(group)
        process_contract.check_values(group)

    on_gpus(size, work)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(6))
def test_sums_have_the_bits_of_one_tree_whatever_the_bounds(size, seed):
    """And of whatever message comes first."""
    world = World(size)
    world.backward = bool(seed % 2)

    def work(group: GPUProcesses) -> None:
        random = np.random.default_rng(seed)
        length = int(random.choice([0, 1, 7, 100, 5000]))
        equal = seed == 5
        if equal:
            length = 12 * size
        bounds = process_contract.random_bounds(random, length, size)
        bounds = [12 * p for p in range(size + 1)] if equal else bounds
        vector = put(group, np.zeros(length, random.choice(["float32", "float64"])))
        slices = group.slices(vector, bounds)
        for _ in range(3):
            parts = process_contract.numbers(random, size, length).astype(vector.dtype)
            mine, wanted = parts[group.rank].copy(), tree_sum(parts)
            group.be.put(vector, mine)
            slices.start()
            slices.sum()
            low, high = bounds[group.rank : group.rank + 2]
            assert group.be.to_host(vector)[low:high].tobytes() == wanted[low:high].tobytes()
            slices.gather()
            whole = slice(bounds[0], bounds[-1])
            assert group.be.to_host(vector)[whole].tobytes() == wanted[whole].tobytes()

    on_gpus(size, work, world)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_sums_of_eight_shards_have_the_bits_of_the_cpu(size):
    def work(group: GPUProcesses) -> bytes:
        shards = process_contract.numbers(np.random.default_rng(11), 8, 999).astype("float32")
        each = 8 // size
        vector = put(group, tree_sum(shards[group.rank * each : (group.rank + 1) * each].copy()))
        slices = group.slices(vector, [round(p * 999 / size) for p in range(size + 1)])
        slices.sum()
        slices.gather()
        return group.be.to_host(vector).tobytes()

    wanted = tree_sum(process_contract.numbers(np.random.default_rng(11), 8, 999).astype("float32"))
    assert set(on_gpus(size, work)) == {wanted.tobytes()}


@pytest.mark.parametrize("size", [2, 4])
def test_a_vector_is_sent_less_than_twice(size):
    """2 (P - 1)/P of its bytes by each process, and counted so."""
    world, length = World(size), 1200

    def work(group: GPUProcesses) -> int:
        vector = put(group, np.ones(length, np.float32))
        slices = group.slices(vector, [length * p // size for p in range(size + 1)])
        slices.sum()
        slices.gather()
        assert np.array_equal(group.be.to_host(vector), np.full(length, size))
        return group.bytes_sent

    counted = on_gpus(size, work, world)
    assert world.bytes_sent == counted == [2 * (size - 1) * 4 * length // size] * size


def test_more_than_32_parts_are_added_as_the_same_tree():
    from gpubp.backends.order import TOGETHER, add_as_tree

    parts = process_contract.numbers(np.random.default_rng(0), 2 * TOGETHER + 7, 5)
    wanted, out = tree_sum(parts.copy()), np.empty(5)
    add_as_tree(get_backend("cpu"), list(parts), out)
    assert out.tobytes() == wanted.tobytes()


# -- a step that is captured -------------------------------------------------------------------------------------------


def make_step(group: GPUProcesses) -> Any:
    """A product, the exchange of its sum, an update, and the exchange of the parameters."""
    be, size = group.be, group.size
    random = np.random.default_rng(group.rank)
    x, dy = (put(group, random.standard_normal(shape).astype("float32")) for shape in ((6, 5), (6, 3)))
    parameters, dW = put(group, np.ones(15, np.float32)), be.zeros((15,), "float32")
    sums, total = be.zeros((size, 2), "float32"), be.zeros((2,), "float32")
    mine = [0, 7, 15] if size == 2 else [0, 3, 7, 11, 15]
    of_gradients, of_parameters = group.slices(dW, mine), group.slices(parameters, mine)
    low, high = mine[group.rank : group.rank + 2]

    def step() -> None:
        be.gemm(x.T, dy, out=dW.reshape(5, 3))
        group.gather(dW[:2], sums)
        be.sum_rows(sums, out=total)
        of_gradients.sum()
        be.apply(lambda p, g, s: p - 0.01 * g + 0.001 * p * p - 1e-6 * s, parameters[low:high], dW[low:high], total[:1],
                 out=parameters[low:high])  # fmt: skip
        of_parameters.gather()

    return step, parameters


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "many in one graph"])
def test_a_captured_step_gives_the_numbers_of_one_made_call_by_call(size, together):
    def plainly(group: GPUProcesses) -> bytes:
        step, parameters = make_step(group)
        for _ in range(40):
            step()
        return group.be.to_host(parameters).tobytes()

    def captured(group: GPUProcesses) -> bytes:
        step, parameters = make_step(group)
        again = group.be.capture(step)
        assert isinstance(again, CapturedStep)
        for _ in range(3):
            again()
        if together:
            again.repeat(36)
        else:
            for _ in range(36):
                again()
        assert again.graph is not None and not again.refusal
        group.be.synchronize()
        assert group.be.cupy.counts.graph_launches == (2 + 2 + 4 if together else 2 + 36), "two runs before"
        return group.be.to_host(parameters).tobytes()

    wanted, got = on_gpus(size, plainly), on_gpus(size, captured)
    assert len(set(wanted)) == 1
    assert got == wanted


def test_messages_are_read_and_written_where_the_record_says_so():
    def work(group: GPUProcesses) -> None:
        step, _ = make_step(group)
        again = group.be.capture(step)
        exchanges = [call for call in again.record.calls if call.function == group.communicator.exchange]
        (_, everything) = exchanges[0].args[0], [effects(call, group.be._launches) for call in exchanges]
        for found in everything:
            assert len(found.reads) == len(found.writes) == len(found.fills) == 1
            assert found.reads[0].data.ptr != found.writes[0].data.ptr

    on_gpus(2, work)


def test_a_process_that_cannot_capture_keeps_the_others_from_it():
    def work(group: GPUProcesses) -> str:
        step, parameters = make_step(group)
        again = group.be.capture(step)
        again()
        if group.rank == 1:
            again._captured = lambda steps: 1 / 0
        group.be.graphs.refuse = lambda cause: cause
        for _ in range(3):
            again()
        assert again.graph is None
        assert np.isfinite(group.be.to_host(parameters)).all()
        return again.refusal

    assert on_gpus(2, work) == [
        "this step can't be captured: another process can't capture it",
        "this step can't be captured: ZeroDivisionError: division by zero",
    ]


def test_a_communicator_lasts_longer_than_its_graphs():
    def work(group: GPUProcesses) -> None:
        step, _ = make_step(group)
        again = group.be.capture(step)
        for _ in range(4):
            again()
        communicator = group.communicator
        assert communicator.link.graphs == 1
        group.close()  # while there is a graph: left to the end of the process
        with pytest.raises(CommunicationError, match="has closed its communicator"):
            communicator.exchange((None, None), out=(None, None))

    on_gpus(2, work)

    def in_order(group: GPUProcesses) -> None:
        step, _ = make_step(group)
        again = group.be.capture(step)
        for _ in range(4):
            again()
        del again, step
        group.be.cupy.graphs.clear()  # the stand-in keeps them for tests
        group.be.synchronize()
        assert group.communicator.link.graphs == 0
        group.close()
        assert group.communicator._handle._destroyed

    on_gpus(2, in_order)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_process_that_does_not_come_is_named_in_time():
    world = World(3)

    def work(group: GPUProcesses) -> None:
        sums = group.be.zeros((3, 4), "float32")
        if group.rank != 1:
            group.gather(sums[0], sums)
            group.be.synchronize()

    with pytest.raises(CommunicationError, match=r"process 0 of 3 has waited 1 s for its GPU, which waits for "
                       r"processes 1, 2: one has ended") as problem:  # fmt: skip
        on_gpus(3, only(0, work), world, timeout=1.0)
    assert problem.value
    with pytest.raises(CommunicationError, match="process 2 of 3 has waited 1 s for its GPU"):
        on_gpus(3, only(2, work), World(3), timeout=1.0)


def only(rank: int, work: Any) -> Any:
    """`work`, of which only the errors of one process are errors."""

    def guarded(group: GPUProcesses) -> None:
        try:
            work(group)
        except CommunicationError:
            if group.rank == rank:
                raise

    return guarded


@pytest.mark.parametrize(
    ("error", "told"),
    [("NCCL_ERROR_REMOTE_ERROR: remote process exited", "remote process exited"), (8, "it answers 8")],
    ids=["named", "without a name"],
)
def test_an_error_that_nccl_finds_meanwhile_is_told(error: str | int, told: str):
    """NCCL 2.32 has answers 7 and 8, for which CuPy 14.2's NcclError raises a KeyError in place of itself."""

    def work(group: GPUProcesses) -> None:
        sums = group.be.zeros((2, 4), "float32")
        if group.rank == 0:
            group.communicator._handle.error = error
            group.gather(sums[0], sums)
            with pytest.raises(CommunicationError, match=f"process 0 of 2: NCCL has failed .*{told}.*1"):
                group.be.to_host(sums)
            with pytest.raises(CommunicationError, match="NCCL has failed"):
                group.gather(sums[0], sums)

    on_gpus(2, work)


def test_a_process_that_does_not_begin_is_named():
    world = World(2, hang=60.0)
    with pytest.raises(CommunicationError, match="process 0 of 2 has waited 0 s for process 1 to begin"):
        CUDA(world.cupy(0), products=StrictProducts).join(0, 2, b"i" * 128, timeout=0.2)
    with pytest.raises(
        CommunicationError, match="can't begin to send messages between GPUs: ValueError: commId length"
    ):
        CUDA(world.cupy(0), products=StrictProducts).join(0, 1, b"short", timeout=5.0)


def test_without_nccl_it_says_what_to_install():
    world = World(1)
    world.cupy(0).cuda.nccl.available = False
    with pytest.raises(MissingDependencyError, match=r"finds no NCCL: pip install 'gpubp\[nccl12\]'"):
        CUDA(world.cupy(0), products=StrictProducts).join(0, 1, b"i" * 128)


def test_arrays_that_can_be_no_message_are_refused():
    def work(group: GPUProcesses) -> None:
        be, communicator = group.be, group.communicator
        a, out = be.zeros((4, 6), "float32"), be.zeros((2, 4, 6), "float32")
        for refused, said in (
            (lambda: communicator.all_gather(a[:, 1], out=out[:, :, 0]), "lies with gaps"),
            (lambda: communicator.all_gather(a, out=a), "don't fit into 24 numbers"),
            (lambda: communicator.all_gather(np.zeros(3), out=np.zeros((2, 3))), "are arrays of the device"),
            (lambda: communicator.exchange((a,), out=(a,)), "between 2 processes has 1 arrays"),
            (lambda: group.gather(a, out[0]), "are gathered into one of shape"),
            (lambda: group.slices(a, [0, 1, 2]), "of a vector without gaps"),
            (lambda: group.slices(a[0], [0, 4, 3]), "need 3 rising bounds from 0 to 6"),
            (lambda: group.slices(a[0], [0, 3, 7]), "need 3 rising bounds from 0 to 6"),
        ):
            with pytest.raises(ShapeError, match=said):
                refused()

    on_gpus(2, work)
