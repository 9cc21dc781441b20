"""What several processes would give: the formulas by cases computed by hand, units, and what is measured."""

import json
import math
import re
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest

import gpubp as bp
from gpubp.analysis.links import Link, bandwidth_of, latency_of, rate
from gpubp.analysis.scaling import Scaling, StepCosts, estimate
from gpubp.analysis.step_costs import small_sums
from gpubp.backends.cuda.backend import CUDA
from gpubp.config import Configurable
from gpubp.layers import Plan
from own_clock import own_clock
from strict import StrictProducts, strict_cupy

# 1 MB of gradients, a step of 10 ms, 2 ms of it the update; half the rows take 5 ms and not 4
COSTS = StepCosts(
    64, 10e-3, {(64, 1): 8e-3, (32, 1): 5e-3, (16, 1): 3.5e-3, (11, 1): 3e-3}, 2e-3, 1_000_000, 4e-4, 3, "cpu"
)
LINK = Link(1e8, 1e-4)  # 100 MB/s, 100 µs


class TestFormulas:
    def test_two_processes_share_a_batch(self):
        found = estimate(COSTS, LINK, 2, same_batch=True)
        assert (found.processes, found.rows) == (2, 32)
        assert found.computing == 5e-3 and found.updating == 1e-3
        assert found.adding == pytest.approx(0.5 * 4e-4)
        # 1 MB at 100 MB/s; a message for the sum, one for the parameters, three small sums of one round each
        assert found.sending == pytest.approx(10e-3 + (1 + 1 + 3) * 1e-4)
        assert found.step == pytest.approx(5e-3 + 1e-3 + 0.2e-3 + 10.5e-3)
        assert found.speed_up == pytest.approx(10 / 16.7) and found.efficiency == pytest.approx(5 / 16.7)
        # without the bytes it takes 6.7 ms, so 3.3 ms are left for 1 MB
        assert found.pays_from == pytest.approx(1e6 / 3.3e-3)

    def test_four_processes_send_one_and_a_half_times_the_gradients(self):
        found = estimate(COSTS, LINK, 4, same_batch=True)
        assert found.rows == 16 and found.updating == 0.5e-3 and found.adding == pytest.approx(0.75 * 4e-4)
        assert found.sending == pytest.approx(2 * 0.75 * 1e6 / 1e8 + (3 + 3 + 3 * 2) * 1e-4)

    def test_rows_that_do_not_divide_wait_for_the_process_with_most(self):
        assert estimate(COSTS, LINK, 6, same_batch=True).rows == 11  # ⌈64/6⌉

    def test_the_same_rows_in_each_process(self):
        found = estimate(COSTS, LINK, 4, same_batch=False)
        assert found.rows == 64 and found.computing == 8e-3
        assert found.step == pytest.approx(8e-3 + 0.5e-3 + 0.3e-3 + 16.2e-3)
        assert found.speed_up == pytest.approx(4 * 10 / 25.0)
        assert found.pays_from == pytest.approx(1.5e6 / (40e-3 - 10e-3))

    @pytest.mark.parametrize("same_batch", [True, False])
    @pytest.mark.parametrize("processes", [2, 4])
    def test_from_the_bandwidth_on_from_which_it_pays_it_is_faster(self, processes, same_batch):
        least = estimate(COSTS, LINK, processes, same_batch).pays_from
        below, at, above = (
            estimate(COSTS, Link(least * times, 1e-4), processes, same_batch).speed_up for times in (0.9, 1, 1.1)
        )
        assert below < 1 < above and at == pytest.approx(1)

    def test_a_latency_as_long_as_the_step_never_pays(self):
        found = estimate(COSTS, Link(1e15, 1e-3), 2, same_batch=True)
        assert found.pays_from is None and found.speed_up < 1  # 6.2 ms and 5 latencies

    @pytest.mark.parametrize(("processes", "rounds"), [(2, 1), (3, 2), (4, 2), (5, 3), (64, 6)])
    def test_a_small_sum_takes_rounds_that_double(self, processes, rounds):
        both = [estimate(COSTS, Link(1e15, latency), processes, False).sending for latency in (0.0, 1.0)]
        assert both[1] - both[0] == pytest.approx(2 * (processes - 1) + 3 * rounds)


class TestUnits:
    @pytest.mark.parametrize(
        ("text", "bytes_a_second"),
        [
            ("1Gbit", 1.25e8), ("10 Gbit/s", 1.25e9), ("100gbit", 1.25e10), ("2.5Gbps", 3.125e8), ("800Mbit", 1e8),
            ("12GB", 1.2e10), ("12GB/s", 1.2e10), ("900 MB", 9e8), ("1GBps", 1e9), ("1GiB", 2**30), ("64kbit", 8e3),
            ("1Tbit", 1.25e11), ("5e", None), ("8bits", 1.0), ("3 Mbytes/s", 3e6),
        ],
    )  # fmt: skip
    def test_bandwidths(self, text, bytes_a_second):
        if bytes_a_second is None:
            with pytest.raises(ValueError, match="write it in bits a second, as 1Gbit"):
                bandwidth_of(text)
        else:
            assert bandwidth_of(text) == pytest.approx(bytes_a_second)

    @pytest.mark.parametrize("text", ["10Gb", "10G", "10", "10gb/s", "1.5 m"])
    def test_what_may_be_bits_or_bytes_is_refused(self, text):
        with pytest.raises(
            ValueError, match="may be meant in bits or in bytes: write .*bit for bits, or .*B for bytes"
        ):
            bandwidth_of(text)

    @pytest.mark.parametrize(
        "value",
        ["", "fast", "-1Gbit", "0Gbit", "nanGB", "1,5Gbit", "10GBPS", "1e9", "9" * 400 + "GB", "iB", 0, -1.0, math.inf,
         math.nan, True, None, [1]],
    )  # fmt: skip
    def test_other_bandwidths_are_refused(self, value):
        with pytest.raises(ValueError, match="the bandwidth .*: write"):
            bandwidth_of(value)

    def test_numbers_are_bytes_and_seconds(self):
        assert Link.of(np.float32(1e9), np.int64(0)) == Link(1e9, 0.0)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("50us", 5e-5), ("50 µs", 5e-5), ("50μs", 5e-5), ("0.5ms", 5e-4), ("800ns", 8e-7), ("1s", 1.0), (".5s", 0.5)],
    )
    def test_latencies(self, text, seconds):
        assert latency_of(text) == pytest.approx(seconds)

    @pytest.mark.parametrize("value", ["", "50", "fast", "-1us", "1h", "4000s", math.nan, -1, True, None, "50US"])
    def test_other_latencies_are_refused(self, value):
        with pytest.raises(ValueError, match="the latency .* is none: write it with its unit, as 50us"):
            latency_of(value)

    @pytest.mark.parametrize("bandwidth", [1.0, 1.25e5, 1.25e8, 3.3e9, 1e13])
    def test_a_printed_rate_can_be_read(self, bandwidth):
        assert bandwidth_of(rate(bandwidth).replace(",", "")) == pytest.approx(bandwidth, rel=5e-3)


def words_of(costs=COSTS, link=LINK, processes=(2, 4)):
    return str(Scaling.of(costs, link, processes))


class TestWhatIsPrinted:
    def test_it_says_what_is_slower_and_why(self):
        text = words_of()
        assert (
            "2 processes over 800 Mbit/s are slower than one: sending 1.0 MB takes 10.5 ms, the rest 6.2 ms, and the "
            "whole step of one process 10 ms" in text
        )
        assert "of these, 4 processes are the fastest: 1.6 times as fast as one" in text  # larger batches

    def test_it_says_where_it_stops_paying(self):
        text = words_of(link=Link(1e9, 5e-4))
        assert "of these, 2 processes are the fastest: 1.03 times as fast as one\n" in text, text
        assert "it stops paying there: 4 processes are slower" in text

    def test_it_says_never(self):
        text = words_of(link=Link(1e12, 1e-3))
        assert "never: with any bandwidth, computing and latency of 2, 4 take longer than one" in text

    def test_more_processes_than_rows(self):
        found = Scaling.of(COSTS, LINK, (2, 4, 65, 1000))
        assert [one.processes for one in found.same_batch] == [2, 4]
        assert [one.processes for one in found.same_rows] == [2, 4, 65, 1000]
        assert "64 rows are too few for 65, 1,000 processes" in str(found)
        assert "the same batch" not in str(Scaling.of(COSTS, LINK, (65,)))

    def test_it_says_that_the_machine_is_busy(self):
        told = "this machine is busy: most turns took 2.5 times as long as the best, which counts here"
        assert told in words_of(replace(COSTS, slowed=2.5)) and "busy" not in words_of()

    def test_the_table_is_narrow(self):
        assert max(map(len, re.findall(r"^ .*", words_of(processes=(2, 4, 1000)), re.M))) <= 80

    def test_json(self):
        found = json.loads(json.dumps(Scaling.of(COSTS, LINK, (2,)).to_dict()))
        one = found["same_batch"][0]
        assert (found["bandwidth"], found["latency"], found["gradient_bytes"]) == (1e8, 1e-4, 1_000_000)
        assert one["step"] == pytest.approx(16.7e-3) and one["efficiency"] == one["speed_up"] / 2
        assert one["pays_from"] == pytest.approx(1e6 / 3.3e-3) and len(found["same_rows"]) == 1


@pytest.fixture
def clock(monkeypatch):
    """In the place of the system's."""
    return own_clock(monkeypatch)


@pytest.fixture
def slow_rows(monkeypatch, clock):
    """A layer whose forward takes 2 ms and 0.25 ms for each row."""
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    class SlowRows(bp.Layer):
        def plan(self, x):
            return Plan(output=x)

        def forward(self, ws, x):
            ws.be.run(clock.spend, 0.002 + 0.00025 * len(x))
            return x

        def backward(self, ws, dy):
            return dy

    return SlowRows()


def trainer_of(layers, batch_size=32, shape=(4,), loss=None, **options):
    net = bp.Network(layers, shape, device="cpu", seed=1)
    return bp.Trainer(net, loss or bp.MeanSquaredError(), bp.Adam(), batch_size=batch_size, **options)


def data(rows=40, shape=(4,)):
    return np.random.default_rng(0).normal(size=(rows, *shape)), np.zeros(rows)


def spent(costs, rows, parts):
    """Seconds of a step on these rows: what reading the clock takes is in it."""
    return pytest.approx(costs.computing[rows, parts] + costs.update, abs=1e-4)


class TestMeasured:
    def test_each_share_of_the_batch_is_timed(self, slow_rows):
        trainer = trainer_of(bp.Sequential(slow_rows, bp.Dense(1)))
        found = bp.estimate_scaling(trainer, *data(), processes=(2, 32), steps=8)
        assert found.costs.computing.keys() == {(32, 1), (16, 1), (1, 1)}
        for rows, parts in found.costs.computing:
            assert spent(found.costs, rows, parts) == 0.002 + 0.00025 * rows
        assert found.costs.alone == pytest.approx(0.01, abs=1e-4)
        assert (found.costs.threads, found.costs.workers) == (1, 1)
        assert found.costs.gradient_bytes == 5 * 4 and found.costs.device == "cpu"
        assert 0 < found.costs.update < found.costs.alone and found.costs.add > 0

    def test_processes_have_the_trainers_workers(self, slow_rows, clock):
        clock.meeting = threading.Barrier(2)
        trainer = trainer_of(bp.Sequential(slow_rows, bp.Dense(1)), workers=2)
        found = bp.estimate_scaling(trainer, *data(), processes=2, steps=8)
        assert (found.costs.threads, found.costs.workers) == (2, 2)
        assert spent(found.costs, 16, 2) == 0.002 + 0.00025 * 8  # 8 rows in each thread

    def test_shards_are_divided_among_the_processes(self, slow_rows):
        trainer = trainer_of(bp.Sequential(slow_rows, bp.Dense(1)), shards=8)
        found = bp.estimate_scaling(trainer, *data(), processes=(2, 3, 8, 16), steps=8)
        costs = found.costs
        assert costs.shards == 8 and found.impossible == (3, 16)
        assert "8 shards can't be shared by 3, 16 processes" in str(found) and "8 shards of every batch" in str(found)
        assert [one.rows for one in found.same_batch] == [16, 4] and [one.rows for one in found.same_rows] == [32, 32]
        # 4 shards of 4 rows one after the other: 2 ms for each of them
        assert spent(costs, 16, 4) == 4 * (0.002 + 4 * 0.00025)
        assert spent(costs, 4, 1) == 0.002 + 4 * 0.00025

    def test_trainer_and_network_are_left_as_they_were(self):
        layers = bp.Sequential(bp.Dense(8), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.3), bp.Dense(1))
        used, unused = trainer_of(layers), trainer_of(layers)
        X, y = data()
        used.fit(X, y, epochs=1)
        unused.fit(X, y, epochs=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bp.estimate_scaling(used, X, y, processes=(16, 32), steps=2)
        used.fit(X, y, epochs=1)
        unused.fit(X, y, epochs=1)
        assert used.network.flat.tobytes() == unused.network.flat.tobytes()
        assert used.network.states.flat.tobytes() == unused.network.states.flat.tobytes()

    def test_rows_on_disk(self, tmp_path):
        X, y = data()
        np.save(tmp_path / "X.npy", X.astype("float32"))
        rows = bp.open_rows(tmp_path / "X.npy", memory=200)
        found = bp.estimate_scaling(trainer_of(bp.Dense(1)), rows, y, processes=2, steps=1)
        assert found.costs.computing.keys() == {(32, 1), (16, 1)}

    @pytest.mark.parametrize(
        ("layers", "options", "count"),
        [
            ((bp.Dense(1),), {}, 1),
            ((bp.Dense(1),), {"accumulate": 3}, 3),
            ((bp.Dense(3), bp.BatchNorm(), bp.Residual(bp.BatchNorm()), bp.Dense(1)), {}, 9),
            ((bp.Dense(3), bp.BatchNorm(), bp.Dense(1)), {"accumulate": 2, "clip_norm": 1.0, "l2": 0.1}, 12),
            ((bp.Dense(1),), {"on_nonfinite": "raise", "l1": 0.1, "l2": 0.1}, 3),
        ],
    )
    def test_small_sums_are_those_of_a_step(self, layers, options, count):
        """A step of two shards has them, too."""
        trainer = trainer_of(bp.Sequential(*layers), **options, shards=2)
        assert small_sums(trainer) == count
        trainer.step(*(a[: 32 * trainer.accumulate] for a in data(96)))
        assert len(trainer.last_step.team.sums) == count

    def test_a_frozen_normalization_sums_nothing(self):
        trainer = trainer_of(bp.Sequential(bp.Dense(3), bp.BatchNorm(), bp.Dense(1)))
        trainer.network.freeze("1.*")
        assert small_sums(trainer) == 1

    def test_frozen_parameters_are_not_sent(self):
        trainer = trainer_of(bp.Sequential(bp.Dense(3), bp.Dense(1)))
        trainer.network.freeze("0.*")
        assert bp.estimate_scaling(trainer, *data(), processes=2, steps=1).costs.gradient_bytes == 4 * 4

    def test_rows_of_different_lengths(self):
        layers = bp.Sequential(bp.LSTM(4, return_sequences=False), bp.Dense(1))
        X = [np.ones((n, 3)) for n in (5, 2, 7, 1)]
        net = bp.Network(layers, (None, 3), device="cpu")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), batch_size=4)
        assert bp.estimate_scaling(trainer, X, np.ones(4), processes=4, steps=1).costs.computing.keys() == {
            (4, 1),
            (1, 1),
        }

    def test_on_a_gpu(self):
        """On the stand-in for CuPy."""
        backend = CUDA(strict_cupy(), products=StrictProducts)
        net = bp.Network(bp.Sequential(bp.Dense(4), bp.BatchNorm(), bp.Dense(1)), 4, device=backend)
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), batch_size=32)
        before = backend.to_host(net.flat).copy()
        found = bp.estimate_scaling(trainer, *data(), processes=2, steps=2)
        assert found.costs.computing.keys() == {(32, 1), (16, 1)} and found.costs.small_sums == 5
        assert "several: a GPU for each" in str(found) and "thread" not in str(found)
        np.testing.assert_array_equal(backend.to_host(net.flat), before)

    def test_exact_numerics(self):
        pytest.importorskip("numba")
        net = bp.Network(bp.Dense(1), 4, device="cpu", numerics="exact")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), batch_size=128, shards=8)  # has no effect
        found = bp.estimate_scaling(trainer, *data(128), processes=2, steps=2)
        assert found.costs.computing.keys() == {(128, 1), (64, 1)}

    def test_fewer_rows_than_a_batch_and_all_rows(self):
        for size in (None, 64):
            found = bp.estimate_scaling(trainer_of(bp.Dense(1), size), *data(10), processes=4, steps=1)
            assert found.costs.rows == 10 and found.same_batch[0].rows == 3

    def test_pieces_of_a_batch(self):
        found = bp.estimate_scaling(trainer_of(bp.Dense(1), 8, accumulate=2), *data(), processes=[2, 4], steps=2)
        assert found.costs.rows == 16 and [one.rows for one in found.same_batch] == [8, 4]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"processes": 1}, "estimate_scaling needs processes to be a whole number, 2 or more, and got 1"),
            ({"processes": "8"}, "estimate_scaling needs processes to be a whole number, 2 or more, and got '8'"),
            ({"processes": []}, "needs processes to be a number, 2 or more, or several, and got none"),
            ({"bandwidth": "10Gb"}, "may be meant in bits or in bytes"),
            ({"latency": "fast"}, "the latency 'fast' is none"),
            ({"steps": 0}, "estimate_scaling needs steps to be a whole number, 1 or more, and got 0"),
        ],
    )
    def test_mistakes_are_errors_before_anything_is_measured(self, clock, slow_rows, options, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            bp.estimate_scaling(trainer_of(slow_rows), *data(), **options)
        assert clock.spent == 0
        with pytest.raises(bp.DataError, match="rows of shape"):
            bp.estimate_scaling(trainer_of(bp.Dense(1)), np.ones((4, 3)), np.ones(4))
