"""`gpubp verify`: train a model again, and compare the bits."""

from __future__ import annotations

import time
from typing import Any

import click

from ...backends import as_numpy
from ...network.network import Network, load
from ..command import Command
from ..console import fact, note, say
from ..devices import print_device
from ..exact_training import ExactTraining
from ..files import check_model
from ..json_output import add_fields
from ..options import data_folder, device
from ..train_run import fit_job
from ..verification import check_training, chosen, first_difference, job_again, told_layer, versions_told
from .train import train


@click.command(cls=Command)
@click.argument("model", metavar="MODEL")
@click.argument("data", metavar="[DATA]", required=False)
@data_folder
@device
@click.option("--workers", type=click.IntRange(1), help="Threads that share each step.  [default: what suits]")
def verify(model: str, data: str | None, folder: str | None, device: str, workers: int | None) -> int:
    """Train MODEL again as its file says, and say whether that ends with the same bits.

    MODEL is of gpubp train --exact. Its file has the options of the training, and the SHA-256 of its rows. DATA says
    where these are, if not under their name in this folder. Exits with 0 for the same bits, and with 1 for others.

    \b
    gpubp verify digits.safetensors
    gpubp verify houses.safetensors data/houses.csv --workers 1
    """
    check_model(model)
    network = load(model, device="cpu")
    told = ExactTraining.read(network, model)
    check_training(told, model)
    there = network.sha256()
    add_fields(model=model, sha256=there, again=None, same=False, differs=None, seconds=None, **_made(told, workers))
    fact("model", f"{model}, by {chosen(train, told)}")
    fact("sha256", there)
    if there != told.sha256:
        say(f"other bits: the numbers of this file are not those of its training, which had {told.sha256}", "bold red")
        return 1
    more: dict[str, Any] = {"device": device, "folder": folder, "workers": workers}
    job = job_again(train, told, network, model, data, more)
    print_device(job.trainer.network, device)
    start = time.perf_counter()
    job, code = fit_job(job)
    spent = time.perf_counter() - start
    if code:
        note("interrupted: nothing is known yet")
        return code
    again, step = job.trainer.network, job.trainer.step_cache.last_step
    if workers is not None and step is not None and step.workers < workers:
        many = f"{step.workers} worker{'s' * (step.workers > 1)} of {workers} had to do"
        note(f"{many}: each needs 64, 128, 256, ... rows of a step, which has {step.rows}")
    fact("again", again.sha256())
    say(f"trained in {spent:.1f} s")
    add_fields(again=again.sha256(), device=again.device, seconds=spent)
    if again.sha256() == there:
        add_fields(same=True)
        say("same bits", "bold green")
        return 0
    found = first_difference(network, _arrays(network), _arrays(again))
    assert found is not None
    add_fields(differs=found._asdict())
    many = f"in {found.differ:,} of {found.numbers:,} numbers, by {found.largest:.1e} at most"
    say(f"other bits: {told_layer(network, found.name)} differs first, {many}", "bold red")
    if others := versions_told(told):
        note(f"the training was made with {others}")
    return 1


def _arrays(network: Network) -> dict[str, Any]:
    network.backend.synchronize()
    return {name: as_numpy(a) for name, a in (*network.parameters.items(), *network.states.items())}


def _made(told: ExactTraining, workers: int | None) -> dict[str, Any]:
    return {"arguments": list(told.arguments), "made_with": dict(told.made_with), "device": None, "workers": workers}
