"""`gpubp export`: write a saved network for other programs."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ...errors import ExportError, MissingDependencyError, in_bytes
from ...losses import MeanSquaredError
from ...model_file import safetensors_parts
from ...network.network import Network, load
from ...tables import Preparation
from ..arguments import EXPORTED, Place
from ..command import Command
from ..console import fact, note, say, table
from ..files import check_folder, check_model, check_output, replacing
from ..json_output import about, add_fields
from ..onnx_check import TOLERANCE, Agreement, OnnxFile, Port, runtime
from ..onnx_rows import Rows, compare_rows, rows_of
from ..options import data_folder
from ..process import raise_on_interrupt
from ..reading_options import Columns, named_columns, reading_options
from ..task import Task
from ..trainer import usage_errors
from ..writing import write_file, writing

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
OF_FORMS = {
    "ONNX": ("check", "folder", "encoding", "no_header", "as_number", "as_text", "prepared", "raw", "float32"),
    "C": ("name", "probabilities", "time"),
    "PyTorch": ("naming",),
}
SHOWN = 40  # inputs


@click.command(cls=Command, config=True)
@click.argument("model", metavar="MODEL")
@click.argument("out", metavar="OUT", type=Place(*EXPORTED))
@click.option("--check", metavar="DATA", help="Compare predictions of these rows, and not of random ones.")
@data_folder
@reading_options
@click.option("--as-number", type=Columns(), multiple=True, metavar="COLUMNS", help="The inputs of these take numbers.")
@click.option("--as-text", type=Columns(), multiple=True, metavar="COLUMNS", help="The inputs of these take texts.")
@click.option("--prepared", is_flag=True, help="One input takes the rows of numbers that gpubp makes of the columns.")
@click.option("--raw", is_flag=True, help="The file gives what net.predict gives, and no labels and probabilities.")
@click.option(
    "--float32", is_flag=True, help="Write a network in float64 in float32, which runtimes have for more layers."
)
@click.option("--name", metavar="WORD", help="Stands before the names in a C file, as in WORD_predict.")
@click.option("--probabilities", is_flag=True, help="A function in C for the probabilities of classes or labels.")
@click.option("--time", is_flag=True, help="Compile the C file, and measure the time of a row on this machine.")
@click.option(
    "--naming",
    metavar="NAME=NAME,...",
    help="Beginnings of names of parameters, and what PyTorch's are to begin with; nothing leaves them out.",
)
def export(model: str, out: str, check: str | None, **options: Any) -> None:
    """Write MODEL, which `gpubp train` saved, as a file that other programs run.

    OUT ends in .onnx, for onnxruntime and browsers, in .c, for a C compiler, or in .safetensors, for PyTorch. MODEL
    stays as it is.

    An ONNX file is run in onnxruntime, if that is installed, before it is put in its place: predictions must be those
    of gpubp. Exits with 1 if they are not, and then nothing is written. DATA is digits, mnist, or a file as gpubp
    predict takes it, of which at most 10,000 rows are compared.

    Where MODEL was trained on a table, an ONNX file has an input for each column, which takes its cells: numbers that
    are written as in a program are given as numbers, and all else as texts, as they stand in the table. A date is a
    number in seconds from 1970 on with --as-number.

    A C file needs nothing but a compiler of C99, and takes rows of numbers, as net.predict does.

    For PyTorch, the file holds a state dict: parameters in the shapes, and with the names, that PyTorch has for them.

    \b
    gpubp export digits.safetensors digits.onnx
    gpubp export houses.safetensors houses.onnx --check houses.csv
    gpubp export houses.safetensors houses.onnx --as-number built,sold
    gpubp export digits.safetensors digits.c --name digits
    gpubp export digits.safetensors torch.safetensors --naming 0=fc1,2=fc2
    """
    check_model(model)
    form = _form(out)
    check_output(out, "OUT", not_over=[model, check])
    _check_options(form, out, options | {"check": check})
    if check is not None:
        check_folder(check, options["folder"])
        runtime()
    network = load(model, device="cpu")
    task = Task.of(network, model)
    add_fields(model=model, **about(network, task), out=out, form=form)
    add_fields(takes=None, gives=None, opset=None, check=None, tensors=None, functions=None, needs=None)
    of = f"{model}, {task.describe()}" if task else model
    if form == "PyTorch":
        _write_torch(network, of, out, _naming(options["naming"]))
        return
    if form == "C":
        _write_c(network, of, out, options)
        return
    columns = _forms_asked(network, model, options)
    known = task or Task(MeanSquaredError(), network.output_shape[-1])
    rows = None if check is None else rows_of(known, model, check, options)
    how = {"columns": columns, "raw": options["raw"], "dtype": "float32" if options["float32"] else None}
    _write_onnx(network, of, out, check, rows, how)


def _check_options(form: str, out: str, options: dict[str, Any]) -> None:
    """Raise UsageError for an option of another form."""
    for of, names in OF_FORMS.items():
        given = ["data" if name == "folder" else name.replace("_", "-") for name in names if options[name]]
        if given and form != of:
            raise click.UsageError(f"--{given[0]} goes with {of}, and {out} is for {form}")
    for name, word in (("folder", "data"), ("encoding", "encoding"), ("no_header", "no-header")):
        if options[name] and options["check"] is None:
            raise click.UsageError(f"--{word} says how the rows of --check are read, and there is no --check")


def _form(out: str) -> str:
    """The form of a file by its ending."""
    ending = Path(out).suffix.lower()
    if ending in PICKLES:
        raise click.UsageError(
            f"OUT {out}: gpubp writes no pickles; PyTorch reads a file that ends in .safetensors by "
            "safetensors.torch.load_file"
        )
    if ending not in EXPORTED:
        endings = " or ".join(f"{ending} ({form})" for ending, form in EXPORTED.items())
        raise click.UsageError(f"OUT {out}: the name must end in {endings}")
    return EXPORTED[ending]


def _write_onnx(network: Network, of: str, out: str, check: str | None, rows: Rows | None, how: Any) -> None:
    """how: the arguments of `to_onnx` behind the path."""
    with replacing(out) as path:
        network.to_onnx(path, **how)
        file = OnnxFile.read(path, network)
        found = _compared(file, network, rows, check)
    fact("model", of)
    ports = [("input", port) for port in file.takes[:SHOWN]] + [("output", port) for port in file.gives]
    heads = ["", "name", "type", "shape", "what it is"]
    table(heads, [[what, p.name, p.type, p.told, p.what] for what, p in ports], left=heads)
    if len(file.takes) > SHOWN:
        note(f"and {len(file.takes) - SHOWN} more inputs: --json lists all")
    add_fields(takes=_fields(file.takes), gives=_fields(file.gives), opset=file.opset, bytes=os.path.getsize(out))
    sets = ", ".join(f"{domain} {version}" for domain, version in file.opset.items())
    fact("written", f"{out}, {in_bytes(os.path.getsize(out))}, ONNX with the operations {sets}")
    if found is not None:
        where = "random rows" if check is None else f"rows of {check}"
        near = f"to {found.largest:.0e}" if found.largest else "exactly"
        say(f"agrees with gpubp {near} on {found.rows:,} {where}", "bold green")
    fact("next", f"onnxruntime.InferenceSession({json.dumps(out)}).run(None, {_given(file)})")


def _given(file: OnnxFile) -> str:
    """What a program gives to the inputs, as Python."""
    if file.columns:
        told = file.columns[0]
        value = told["example"] if told["form"] == "number" else repr(told["example"])
        more = ", ..." if len(file.columns) > 1 else ""
        dtype = ", object" if told["form"] == "text" else ""
        return f"{{{told['input']!r}: numpy.array([[{value}]]{dtype}){more}}}"
    given = [f'"{p.name}": {"X" if p.name == "input" else p.name}' for p in file.takes]
    return f"{{{', '.join(given)}}}"


def _fields(ports: list[Port]) -> list[dict[str, Any]]:
    return [{"name": p.name, "type": p.type, "shape": p.shape, "what": p.what} for p in ports]


def _forms_asked(network: Network, model: str, options: dict[str, Any]) -> dict[str, str] | str | None:
    """The forms of the columns that are asked for. Raises UsageError for options that do not go together."""
    words = {"number": options["as_number"], "text": options["as_text"]}
    given = [f"--as-{form}" for form, names in words.items() if names] + ["--prepared"] * options["prepared"]
    prepared = Preparation.of(network)
    if given and prepared is None:
        raise click.UsageError(f"{given[0]} goes with a table, and {model} was not trained on one")
    if options["prepared"] and len(given) > 1:
        raise click.UsageError(f"{given[0]} and --prepared both say what inputs take; leave one out")
    if prepared is None or options["prepared"]:
        return "prepared" if options["prepared"] else None
    asked = {form: named_columns(names, prepared.needed) for form, names in words.items()}
    if twice := sorted(set(asked["number"]) & set(asked["text"])):
        raise click.UsageError(f"--as-number and --as-text both name {twice[0]}")
    return {name: form for form, names in asked.items() for name in names}


def _compared(file: OnnxFile, network: Network, rows: Rows | None, check: str | None) -> Agreement | None:
    """What onnxruntime computes beside gpubp; None, with a note, where that can't be known.

    rows: of --check, None for random ones. Raises ClickException if it differs, or if rows of --check can't be
    compared.
    """
    try:
        found = compare_rows(file, network, rows)
    except MissingDependencyError as problem:
        note(f"not compared with gpubp: {problem}")
        return None
    except ExportError as problem:
        told = str(problem).replace(file.path, "it")
        if check is not None:
            raise click.ClickException(f"nothing is written: {told}") from problem
        note(f"not compared with gpubp: {told}")
        return None
    numbers = {"rows": found.rows, "largest": found.largest, "labels": found.labels, "agrees": found.agrees}
    add_fields(check={"data": check, **numbers, "onnxruntime": runtime().__version__})
    if not found.agrees:
        apart = f"numbers differ by {found.largest:.0e} of the largest, and {found.labels:,} labels differ"
        raise click.ClickException(
            f"nothing is written: onnxruntime {runtime().__version__} does not compute what gpubp computes: of "
            f"{found.rows:,} rows, {apart}; first in {found.where}. At most {TOLERANCE:g} is allowed. "
            "net.to_onnx in Python writes the file all the same"
        )
    return found


def _write_c(network: Network, of: str, out: str, options: dict[str, Any]) -> None:
    raise_on_interrupt()
    with usage_errors(), writing(out):
        report = network.to_c(out, options["name"] or "", options["probabilities"], options["time"])
    lines = _comment(out)
    functions = [line.strip(" ;") for line in lines if line.startswith("    ") and line.endswith(");")]
    fact("model", of)
    table(["function"], [[line] for line in functions], left=["function"])
    for name in ("x", "y"):
        fact(name, next(line for line in lines if line.startswith(f"{name}: ")).removeprefix(f"{name}: "))
    if Preparation.of(network) is not None:
        note("x has the numbers that gpubp makes of the columns of a table; the first lines of the file list them")
    fact("needs", str(report))
    if options["time"]:
        note(f"measured with {report.measured}" if report.seconds is not None else f"not measured: {report.measured}")
    size = os.path.getsize(out)
    fact("written", f"{out}, {in_bytes(size)}, C99; its first lines say what x and y are")
    add_fields(functions=functions, needs=asdict(report), bytes=size)
    fact("next", f"cc -std=c99 -O2 -c {shlex.quote(out)}")


def _comment(path: str) -> list[str]:
    """The lines of the comment with which a C file begins."""
    lines = []
    with open(path, encoding="ascii") as file:
        for line in file:
            if line.startswith("*/"):
                break
            lines.append(line.rstrip("\n"))
    return lines


def _naming(text: str | None) -> dict[str, str | None] | None:
    """The names of --naming; None for those that are left out."""
    if text is None:
        return None
    found: dict[str, str | None] = {}
    for part in text.split(","):
        old, equals, new = (piece.strip() for piece in part.partition("="))
        if not equals or not old:
            raise click.UsageError(f"--naming {text!r} is no list of names, such as 0=fc1,2=fc2")
        if old in found:
            raise click.UsageError(f"--naming gives {old} two names")
        found[old] = new or None
    return found


def _write_torch(network: Network, of: str, out: str, naming: dict[str, str | None] | None) -> None:
    state = network.to_torch_state(naming)
    content = b"".join(safetensors_parts(state, {"format": "pt"}))
    write_file(out, content)
    fact("model", of)
    heads = ["name in PyTorch", "type", "shape"]
    table(heads, [[name, str(a.dtype), str(a.shape)] for name, a in state.items()], left=heads)
    tensors = [{"name": name, "type": str(a.dtype), "shape": a.shape} for name, a in state.items()]
    add_fields(tensors=tensors, bytes=len(content))
    fact("written", f"{out}, {in_bytes(len(content))}, a state dict of PyTorch")
    fact("next", f"module.load_state_dict(safetensors.torch.load_file({json.dumps(out)}))")
