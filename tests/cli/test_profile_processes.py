"""`gpubp profile --processes`: the tables, the fields, and mistakes in words."""

import json

import pytest
from command_line import CPU, run

FEW = ("profile", "digits", "--hidden", "8", "--steps", "2", *CPU)


def test_both_tables_and_a_sentence() -> None:
    done = run(*FEW, "--processes", "8", "--bandwidth", "1Gbit", "--latency", "1ms")
    assert done.exit_code == 0, done.output
    assert "they are joined by 1 Gbit/s (125 MB/s) with 1 ms a message" in done.stdout
    assert "the same batch: 32 rows are divided" in done.stdout and "32 rows are too few for 64" in done.stdout
    assert "2 processes over 1 Gbit/s are slower than one: sending" in done.stdout
    head = [line for line in done.stdout.splitlines() if line.startswith("processes  rows")]
    assert [line.split()[:3] for line in head] == [["processes", "rows", "each"], ["processes", "rows", "together"]]


def test_without_processes_nothing_is_added() -> None:
    done = run(*FEW, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["command"] == "profile"
    assert "scaling" not in json.loads(done.stdout)


@pytest.mark.parametrize(("given", "numbers"), [("6", [2, 4, 6, 8, 64]), ("16", [2, 4, 8, 16, 64]), ("3,2", [2, 3])])
def test_the_numbers_of_processes(given: str, numbers: list[int]) -> None:
    done = run(*FEW, "--processes", given, "--bandwidth=12GB", "--latency=2us", "--json")
    assert done.exit_code == 0, done.output
    scaling = json.loads(done.stdout)["scaling"]
    assert (scaling["bandwidth"], scaling["latency"], scaling["rows"]) == (12e9, 2e-6, 32)
    assert [one["processes"] for one in scaling["same_rows"]] == numbers
    assert scaling["gradient_bytes"] == 4 * (64 * 8 + 8 + 8 * 10 + 10) and scaling["small_sums"] == 1
    for one in scaling["same_batch"]:
        parts = one["computing"] + one["updating"] + one["adding"] + one["sending"]
        assert one["step"] == pytest.approx(parts) and one["speed_up"] == pytest.approx(scaling["step"] / parts)


def test_threads_of_each_process() -> None:
    done = run(*FEW, "--processes", "2,4", "--workers", "2")
    assert done.exit_code == 0, done.output
    assert "on cpu by 2 threads\nseveral: 2 threads in each;" in done.stdout
    assert "a step on 32 rows by 2 workers takes" in done.stdout


def test_usual_bandwidth_and_latency() -> None:
    done = run(*FEW, "--processes", "2,4", "--json")
    scaling = json.loads(done.stdout)["scaling"]
    assert (scaling["bandwidth"], scaling["latency"]) == (1.25e9, pytest.approx(50e-6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bandwidth", "1Gbit"), "--bandwidth goes with --processes, as --processes 8"),
        (("--latency", "1us"), "--latency goes with --processes"),
        (("--processes", "1"), "'1' is no number of processes, 2 or more, such as 8"),
        (("--processes", "2,x"), "'2,x' is no number of processes"),
        (("--processes", "8", "--bandwidth", "10Gb"), "'10Gb' may be meant in bits or in bytes: write 10Gbit for bits"),
        (("--processes", "8", "--bandwidth", "fast"), "the bandwidth 'fast' is none: write it in bits a second"),
        (("--processes", "8", "--latency", "50"), "the latency '50' is none: write it with its unit, as 50us"),
    ],
)
def test_mistakes_are_one_line(options: tuple[str, ...], message: str) -> None:
    done = run(*FEW, *options)
    assert (done.exit_code, done.stdout) == (2, "") and message in done.stderr, done.output
    assert done.stderr.count("\n") == 1


def test_the_settings_can_be_kept_in_a_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = run(*FEW, "--processes", "2,4", "--bandwidth", "1Gbit", "--save-config", "run.toml")
    assert kept.exit_code == 0, kept.output
    again = run("profile", "--config", "run.toml", "--json")
    assert again.exit_code == 0, again.output
    scaling = json.loads(again.stdout)["scaling"]
    assert [one["processes"] for one in scaling["same_rows"]] == [2, 4] and scaling["bandwidth"] == 1.25e8


def test_shards_are_those_of_train() -> None:
    done = run(*FEW, "--shards", "8", "--processes", "2", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["scaling"]["shards"] == 8
