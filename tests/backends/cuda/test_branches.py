"""Products beside products in one graph: the bits of one stream, in whatever order the branches are done."""

import numpy as np
import pytest
from test_reuse import NETS

import gpubp as bp
from gpubp.backends.cuda import branches
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.branches import turns
from gpubp.backends.cuda.cublaslt import CublasLtUnavailable
from gpubp.backends.recording import Call
from strict import CUDARuntimeError, StrictProducts, strict_cupy

SEQUENTIAL = {name: (bp.Sequential(*layers), shape) for name, (layers, shape) in NETS.items()}
MODELS = SEQUENTIAL | {"mlp": (bp.mlp(3, (16, 16, 16)), (6,)), "cnn": (bp.cnn(3, (8, 8, 1)), (8, 8, 1))}


def trained(name, allowed=True, first=False):
    """Parameters after some epochs, and the trainer."""
    layers, shape = MODELS[name]
    cupy, rng = strict_cupy(), np.random.default_rng(1)
    cupy.branches_first = first
    be = CUDA(cupy, products=StrictProducts)
    net = bp.Network(layers, shape, device=be, seed=1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=4)
    trainer.backend.graphs.branches = allowed
    trainer.fit(rng.normal(size=(36, *shape)), rng.integers(0, 3, 36), epochs=2)
    return be.to_host(net.flat), trainer


@pytest.mark.parametrize("name", MODELS)
def test_the_bits_are_those_of_one_stream(name):
    one, trainer = trained(name, allowed=False)
    late, trainer = trained(name)
    early, _ = trained(name, first=True)
    assert trainer.record._branches.forks and trainer.record.graph is not None
    np.testing.assert_array_equal(late, one)
    np.testing.assert_array_equal(early, one)


@pytest.mark.parametrize(("forgotten", "name"), [("reads before writes", "images"), ("writes before reads", "mlp")])
def test_a_missing_dependency_changes_the_result(forgotten, name, monkeypatch):
    """Else the test above could not fail."""
    overlap = branches._overlap

    def meets(self, other):
        found = overlap(self.writes, other.writes)
        if forgotten != "writes before reads":
            found = found or overlap(self.writes, other.reads)
        return found or (forgotten != "reads before writes" and overlap(self.reads, other.writes))

    right, _ = trained(name, allowed=False)
    monkeypatch.setattr(branches._Touched, "meets", meets)
    assert not np.array_equal(trained(name)[0], right)


def test_products_on_the_second_stream():
    """The gradients of all weights but the lowest, beside the gradients of inputs; both end with what cublasLt has."""
    _, trainer = trained("mlp")
    aside = [t.call for t in trainer.record._branches.turns if t.aside]
    on_side = {call.kwargs["out"].data.ptr for call in aside if trainer.backend._launches.is_product(call)}
    gradients = {name: g.data.ptr for name, g in trainer.update.gradients.items() if name.endswith("W")}
    assert on_side == set(list(gradients.values())[1:])
    assert trainer.backend.cupy.graphs[0].names.count("drelu_bgrad") == 3


@pytest.mark.parametrize("first", [False, True])
def test_the_sum_of_losses_on_the_second_stream(first):
    """No call of a step waits for it, so that the step is one call shorter; the bits are those of one stream."""
    _, one = trained("mlp", allowed=False)
    _, trainer = trained("mlp", first=first)
    do, turns_ = trainer.backend._launches, trainer.record._branches.turns
    (dot,) = (t for t in turns_ if t.call.function == do.dot)
    assert dot.aside and not any(t.after == turns_.index(dot) for t in turns_)
    assert trainer.history["loss"] == one.history["loss"] and trainer.loss == one.loss


def test_sums_on_both_streams_have_memory_of_their_own(monkeypatch):
    """Two that run at once would count each other's blocks."""
    be = CUDA(strict_cupy(), products=StrictProducts)
    do, used = be._launches, []
    a, b = (be.to_device(np.arange(5000.0), "float32") for _ in range(2))
    x, y = (be.zeros((4, 4), "float32") for _ in range(2))
    outs = [be.zeros((), "float32") for _ in range(2)]
    calls = [
        Call(do.dot, (a, b), {"out": outs[0], "total": None}),
        Call(do.product, (x, x), {"out": y, "compute": "float32"}),
        Call(do.dot, (a, b), {"out": outs[1], "total": None}),
    ]
    buffers = do._kernels._buffers
    monkeypatch.setattr(do._kernels, "_buffers", lambda *args: used.append(buffers(*args)) or used[-1])
    with be.active():
        for call in calls:  # as a step is made before it is captured
            call.function(*call.args, **call.kwargs)
        both = branches.Branches(calls, do, be.cupy.cuda, be._stream, be._side_stream())
        assert [turn.aside for turn in both.turns] == [True, False, False]
        used.clear()
        graph = be.graphs.of(both, ())
        graph.launch(be._stream)
    (partial, counter), (other_partial, other_counter) = used
    assert partial.data.ptr != other_partial.data.ptr and counter.data.ptr != other_counter.data.ptr
    assert [float(be.to_host(out)) for out in outs] == [float(be.to_host(outs[0]))] * 2 != [0.0, 0.0]


def test_sums_over_arrays_with_gaps_stay_on_the_first_stream():
    """Several calls make them, one of which allocates."""
    be = CUDA(strict_cupy(), products=StrictProducts)
    do, a = be._launches, be.zeros((6, 4), "float32")
    call = Call(do.dot, (a[:, 1], a[:, 2]), {"out": be.zeros((), "float32"), "total": None})
    assert not do.may_stand_aside(call) and do.may_stand_aside(call._replace(args=(a, a)))


def test_calls_wait_for_what_they_depend_on_and_for_no_more():
    be = CUDA(strict_cupy(), products=StrictProducts)
    do = be._launches
    arrays = {name: be.zeros((4, 4), "float32") for name in "abcdefgh"}

    def product(a, b, out):
        return Call(do.product, (arrays[a], arrays[b]), {"out": arrays[out], "compute": "float32"})

    def copy(a, out):
        return Call(be.cupy.add, (arrays[a], 1.0), {"out": arrays[out]})

    calls = [product("a", "b", "c"), product("a", "d", "e"), product("e", "b", "f"), copy("h", "a"), copy("c", "g")]
    found = [(turn.aside, turn.after) for turn in turns(calls, do)]
    assert found == [(True, None), (False, None), (False, None), (False, 0), (False, None)]
    unknown = Call(lambda a: None, (arrays["h"],), {})
    assert [t.aside for t in turns([calls[0], unknown, calls[1]], do)] == [True, False, False]
    assert not any(t.aside for t in turns([calls[0], copy("c", "g"), calls[1]], do))


def test_without_cublaslt_there_are_no_branches():
    class Refusing(StrictProducts):
        def gemm(self, a, b, out, **finish):
            raise CublasLtUnavailable("not today")

    net = bp.Network(bp.mlp(3, (8, 8)), 6, device=CUDA(strict_cupy(), products=Refusing))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=4)
    rng = np.random.default_rng(0)
    with pytest.warns(RuntimeWarning, match="not today"):
        trainer.fit(rng.normal(size=(20, 6)), rng.integers(0, 3, 20))
    assert trainer.record.graph is None and trainer.record._branches is None


def test_an_unjoined_branch_raises():
    """By the stand-in, as by CUDA."""
    cupy = strict_cupy()
    main, side = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    with main:
        a, b = cupy.zeros((2,)), cupy.zeros((2,))
        cupy.add(a, 1.0, out=a)
        cupy.add(b, 1.0, out=b)
        main.synchronize()
        main.begin_capture()
        cupy.add(a, 1.0, out=a)
        side.wait_event(main.record())
        with side:
            cupy.add(b, 1.0, out=b)
        with pytest.raises(CUDARuntimeError, match="Unjoined"):
            main.end_capture()
        assert not side.is_capturing()
