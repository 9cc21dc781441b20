"""`gpubp explain`: every number of a training step beside its formula."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from ...explain.drawings.figures import CHOICES
from ...explain.examples import EXAMPLES
from ...explain.explanation import FORMS
from ...explain.forms.text import WIDTH, render
from ..arguments import Place
from ..command import Command
from ..console import fact, line
from ..defaults import LOSSES, OPTIMIZERS
from ..explained_rows import RowNumbers
from ..explanations import of_example, of_model
from ..files import check_output
from ..json_output import add_fields
from ..large_data import memory_option
from ..options import Number, data_folder
from ..process import raise_on_interrupt
from ..reading_options import reading_options
from ..writing import writing

NARROWEST = 60  # characters of a terminal


@click.command(cls=Command)
@click.argument("model", metavar="[MODEL", required=False)
@click.argument("data", metavar="digits|mnist|FILE|FOLDER]", required=False)
@click.option(
    "--example", type=click.Choice(list(EXAMPLES)), help="A small network with short numbers, in place of MODEL."
)
@click.option("--row", "rows", type=RowNumbers(), multiple=True, metavar="N,...", help="Of DATA.  [default: 1]")
@click.option("--of", metavar="NUMBER", help="First the chain rule of this one, as 2.W[4,1], 1.y[0,3] or x[0,17].")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), help="Explain its update too.")
@click.option("--lr", type=Number(open=True), metavar="RATE", help="Of --optimizer.  [default: as of gpubp train]")
@click.option(
    "--blanks", type=Number(open=True, high=1), metavar="SHARE", help="Leave out so many numbers, as an exercise."
)
@click.option("--seed", type=click.IntRange(0), help="Says which numbers --blanks leaves out.  [default: 0]")
@click.option(
    "--draw-steps",
    "steps",
    type=click.IntRange(1, CHOICES),
    default=1,
    show_default=True,
    metavar="N",
    help="Steps of training that a page draws, with --optimizer.",
)
@click.option(
    "--written",
    type=click.IntRange(1),
    help="Numbers of an array that are all written out; of more, the largest are.  [default: 24]",
)
@click.option("--evaluation", is_flag=True, help="Let layers such as Dropout and BatchNorm act as in prediction.")
@click.option("--out", type=Place(*FORMS), metavar="FILE", help=f"Write it into a file: {', '.join(FORMS)}.")
@data_folder
@click.option("--target", metavar="FILE.npy", help="For X.npy, the file of y.")
@reading_options
@memory_option
@click.option("--loss", type=click.Choice(list(LOSSES)), help="Default: the one that MODEL was trained with.")
def explain(model: str | None, data: str | None, out: str | None, **options: Any) -> None:
    """Explain a training step of MODEL on some rows of DATA: every number of forward and backward pass beside its
    formula, and with --optimizer those of the update.

    MODEL and DATA are as for `gpubp evaluate`; of data with test rows, these are meant. MODEL is not changed. Without
    --out the explanation is printed. --blanks leaves numbers out, and gives the answers at the end.

    \b
    gpubp explain --example chain --out chain.html
    gpubp explain --example neuron --blanks 0.3 --seed 1
    gpubp explain houses.safetensors houses.csv --row 3 --out page.html
    gpubp explain --example xor --draw-steps 5 --out xor.html
    gpubp explain digits.safetensors digits --row 3,7 --of "2.W[4,1]"
    """
    check_output(out, "--out", tuple(FORMS), not_over=[model, data])
    name = options["example"]
    if options["seed"] is not None and options["blanks"] is None:
        raise click.UsageError("--seed says which numbers --blanks leaves out; give --blanks too, as --blanks 0.3")
    if options["steps"] > 1 and (out is None or not out.lower().endswith(".html")):
        raise click.UsageError("--draw-steps needs a page; give --out too, as --out page.html")
    if options["steps"] > 1 and options["blanks"]:
        raise click.UsageError("--draw-steps would tell answers of an exercise; leave out --blanks, or --draw-steps")
    if options["lr"] is not None and options["optimizer"] is None:
        raise click.UsageError("--lr is the learning rate of --optimizer; give that too, as --optimizer sgd")
    if name is not None:
        if model is not None:
            raise click.UsageError(f"--example {name} has its own network and rows; leave out {model}, or --example")
        made = of_example(name, options)
    elif model is None or data is None:
        missing = "MODEL and DATA" if model is None else "DATA"
        raise click.UsageError(f"Missing {missing}; or give --example {'|'.join(EXAMPLES)}, which needs neither")
    else:
        made = of_model(model, data, options)
    explanation = made.explanation
    add_fields(model=model, data=data, example=name, of=options["of"], **made.fields(), out=out)
    if out is None:
        width = shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else WIDTH
        line(render(explanation.content, max(width, NARROWEST), explanation.exercise.blank))
        return
    raise_on_interrupt()
    with writing(out):
        explanation.save(out)
    fact("title", explanation.content.title)
    fact("written", out)
