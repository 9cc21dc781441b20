"""The places that say that something has not run on a GPU, what would disprove each, and whether it was seen.

scripts/gpu_publish.py prints them. A place is a sentence in a file, found by the words beside it. Where a sentence has
gone, its entry here can go, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gpu_table
from gpu_collect import Collected, why_missing

# sentences that say so, in whatever file
SAID = re.compile(
    r"no GPU has run|(?:not|never)(?: been)? (?:run|tried|measured|seen|tested) on (?:a )?GPUs?\b|not on GPUs\b"
    r"|not been checked: the speed on a GPU|, and no GPU\.",
    re.I,
)
WHERE = ("README.md", "CHANGELOG.md", "benchmarks/README.md", "docs/**/*.md", "gpubp/**/*.py")
EVERYTHING = r".*"


class Proof(NamedTuple):
    """Results that would disprove a sentence: all lines of a stage whose names match, of which there must be one. what:
    they are in words."""

    stage: str
    names: str = EVERYTHING
    what: str = ""


class Claim(NamedTuple):
    """file: where it stands. near: words of its paragraph. text: what may be taken out, where all of `proofs` were
    seen. by_hand: what no stage does."""

    file: str
    near: str
    text: str
    proofs: tuple[Proof, ...] = ()
    by_hand: str = ""


def layers(*names: str) -> tuple[Proof, ...]:
    """Parity of layers, and their training in tests."""
    which, every = "|".join(names), r"test_every_layer_trains_as_on_the_cpu"
    what = f"the layers {', '.join(names)}"
    return (
        Proof("parity", rf"layer (?:{which})\b.*", what),
        Proof("tests-training", rf"{every}\[(?:{which})\b.*\]", what),
    )


def tests(stage: str, *names: str) -> tuple[Proof, ...]:
    """Tests, with all their parameters."""
    return tuple(Proof(stage, rf"{name}(?:\[.*\])?", name) for name in names)


TRAINING, PRODUCTS = "tests-training", "tests-cublaslt"
GRAPH = tests(TRAINING, "test_a_step_is_one_graph_and_replays_exactly")
WAYS = tests(TRAINING, "test_the_bits_do_not_depend_on_how_steps_are_launched")
EXACT = (Proof("exact", "network .*", "the hashes of all networks"),)
LAST = "Not run on a GPU yet."
BEHIND = "; not run on a GPU yet"
README, CHANGES, COMPARING = "README.md", "CHANGELOG.md", "docs/comparing-backends.md"
COMPARE_EXACT = "gpubp compare --exact --backends cpu,cuda"
SEVERAL = "a machine with several GPUs: mpiexec -n 2 gpubp train digits --device cuda"

CLAIMS = (
    Claim(README, "These checks were made", "No GPU has run gpubp yet.", (Proof("smoke-A", "A float32"), *GRAPH)),
    Claim(README, "These have not been checked", "the speed on a GPU", (Proof("benchmarks"),)),
    Claim(README, "These have not been checked", "CUDA's own libraries", (Proof(PRODUCTS),)),
    Claim(
        README,
        "These have not been checked",
        "and wrong results where GPU threads access the same memory",
        (Proof("racecheck"),),
    ),
    Claim(README, "The kernels for a GPU are written", "they have not run on a GPU", EXACT),
    Claim(
        CHANGES,
        "`Conv3D`, and the transposed",
        LAST,
        layers("Conv3D", "Conv2DTranspose", "Conv1DTranspose", "Conv3DTranspose", "Conv2D-dilated", "Conv1D-dilated"),
    ),
    Claim(CHANGES, "The batch that an error of full GPU memory", LAST, (Proof("memory"),)),
    Claim(CHANGES, "It has run on a stand-in for CuPy", "and not on GPUs", by_hand=SEVERAL),
    Claim(CHANGES, "Exact numerics: ", "The kernels for CUDA have not run on a GPU.", EXACT),
    Claim(
        CHANGES,
        "`MultiHeadAttention(heads",
        LAST,
        (
            *layers("MultiHeadAttention", "PositionalEncoding", "PositionalEmbedding"),
            *tests(PRODUCTS, "test_the_stacks_of_attention"),
        ),
    ),
    Claim(CHANGES, "`MelSpectrogram`: sound", LAST, layers("MelSpectrogram")),
    Claim(CHANGES, "Recurrent layers: ", LAST, layers("SimpleRNN", "LSTM", "GRU", "Bidirectional")),
    Claim(CHANGES, "`Conv1D`, also causal", LAST, layers("Conv1D", "MaxPool1D", "AvgPool1D", "MaxPool2D", "AvgPool2D")),
    Claim(
        CHANGES,
        "The CUDA backend with streams",
        BEHIND,
        (Proof("smoke-A", "A float32"), *GRAPH, *tests(PRODUCTS, "test_a_captured_product_replays_on_new_numbers")),
    ),
    Claim(
        CHANGES,
        "Each formula, including sums",
        BEHIND,
        (
            *layers("activations", "Sigmoid", "Softmax", "LayerNorm"),
            *tests(PRODUCTS, "test_epilogues_of_an_activation", "test_other_epilogues"),
        ),
    ),
    Claim(
        CHANGES,
        "the rows and scalars of up to 256 steps",
        BEHIND,
        (*WAYS, Proof("smoke-D", "D pieces.*", "pieces of all sizes")),
    ),
    Claim(
        CHANGES,
        '`precision="tf32"` and',
        BEHIND,
        (
            *tests(TRAINING, "test_products_of_less_precision_learn_the_same"),
            Proof("smoke-A", "A (?:tf32|bfloat16)", "A in TF32 and bfloat16"),
        ),
    ),
    Claim(
        CHANGES,
        "A ReLU fused with a product",
        BEHIND,
        tests(
            PRODUCTS,
            "test_the_fastest_kernel_is_right_and_keeps_its_bits",
            "test_a_relu_keeps_nan_or_is_refused",
            "test_a_mask_of_gpubps_own_kernel",
        ),
    ),
    Claim(CHANGES, "`gpubp doctor --gpu-smoke` tests", BEHIND, (Proof("compare", "doctor"),)),
    Claim(
        CHANGES,
        "`compare_backends` with TF32",
        LAST,
        (Proof("compare", "tf32", "gpubp compare in TF32"), Proof("compare", "bfloat16", "and in bfloat16")),
    ),
    Claim(COMPARING, "shows whether both give the same", "No GPU has run it yet", (Proof("compare", "digits|cnn"),)),
    Claim(
        COMPARING,
        "`cpu:1-thread` has one thread",
        "No GPU has run this yet.",
        (Proof("compare", "exact", COMPARE_EXACT),),
    ),
    Claim(
        "docs/exact.md",
        "On a CPU it needs Numba",
        "**It has not run on a GPU.**",
        EXACT,
    ),
    Claim("docs/exact.md", "There was no real processor for ARM", "and no GPU", EXACT),
    Claim("docs/scale.md", "With `--device cuda` each process", "and not on GPUs yet", by_hand=SEVERAL),
    Claim("docs/scale.md", "Tests run this with two and four", "It has not run on GPUs.", by_hand=SEVERAL),
    Claim(
        "docs/architecture.md",
        '"Before" had one graph a step',
        "How much time this saves has not been measured on a GPU.",
        (
            Proof("smoke-A", "A float32, .*", "the other ways to launch a step"),
            Proof("smoke-D", "D pieces.*", "pieces of all sizes"),
        ),
    ),
    Claim(
        "docs/architecture.md",
        "On a GPU subnormal float32 numbers",
        "and was not tried on a GPU",
        by_hand="a formula on subnormal float32 numbers, and a look at its result",
    ),
    Claim(
        "gpubp/backends/cuda/formula_source.py",
        "Subnormal float32 numbers, read or computed",
        "not tried on a GPU",
        by_hand="a formula on subnormal float32 numbers, and a look at its result",
    ),
)


def seen(found: Collected, proof: Proof) -> tuple[bool, str]:
    """Whether the results have a proof, and in words."""
    lines = [line for line in found.lines(proof.stage) if re.fullmatch(proof.names, line["name"])]
    judged = [line for line in lines if gpu_table.failed(line) or line.get("ok") or line.get("outcome") == "passed"]
    turns = [line for line in lines if "seconds" in line and "contender" in line]
    what = proof.stage if proof.names == EVERYTHING else f"{proof.stage}: {proof.what or proof.names}"
    bad = [line["name"] for line in judged if gpu_table.failed(line)]
    if bad:
        return False, f"{what} FAILED ({', '.join(bad[:3])})"
    why = why_missing(found, proof.stage)
    if why and (proof.names == EVERYTHING or not judged):
        return False, f"{what} not seen: {why}"
    if not judged and not turns:
        return False, f"{what} not seen: there is no such result"
    return True, f"{what} seen ok ({len(judged or turns)})"


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, words with single blanks) of each paragraph or item of a list."""
    begin, words = 1, []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if not line.strip() or re.match(r"\s*[-*] ", line):
            if words:
                yield begin, " ".join(" ".join(words).split())
            begin, words = number, []
        if line.strip():
            begin = begin if words else number
            words.append(line)


def line_of(text: str, begin: int, wanted: str) -> int:
    """The line in which some words of a paragraph begin."""
    rest = "\n".join(text.splitlines()[begin - 1 :])
    place = re.search(r"\s+".join(map(re.escape, wanted.split())), rest)
    return begin + rest[: place.start()].count("\n") if place else begin


def standing(root: Path) -> Iterator[tuple[Claim, int]]:
    """Each claim that still stands, with its line; those that nobody has entered above, too."""
    for path in sorted({path for pattern in WHERE for path in root.glob(pattern)}):
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        for begin, words in paragraphs(text):
            mine = [claim for claim in CLAIMS if claim.file == name and claim.near in words and claim.text in words]
            for claim in mine:
                yield claim, line_of(text, begin, claim.text)
            said = SAID.search(words)
            if said and not mine:
                yield Claim(name, "", said.group()), line_of(text, begin, said.group())


def report(found: Collected, root: Path) -> list[str]:
    """The list as lines: what may be taken out, and what has to stay."""
    out, stay = [], []
    for claim, line in standing(root):
        results = [seen(found, proof) for proof in claim.proofs]
        said = "; ".join(text for _, text in results)
        place = f'{claim.file}:{line}: "{claim.text}"'
        if results and all(ok for ok, _ in results):
            out += [place, f"    {said}"]
        else:
            by_hand = f"by hand: {claim.by_hand}" if claim.by_hand else "no proof is known: read it"
            stay += [place, f"    {said or by_hand}"]
    lines = ["These sentences may be taken out, because it was seen:", *(out or ["none"])]
    return [*lines, "", "These have to stay:", *(stay or ["none"])]
