"""The text of the file: its comment, constant arrays, functions, and `predict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ... import __version__
from ...errors import in_bytes
from .code import Call, Code, Value
from .formulas import c_formula, helpers_of
from .library import FUNCTIONS, in_type, with_needed
from .words import TYPE, number_lines


@dataclass(frozen=True)
class File:
    """A file in the making: the calls that compute `result`, and how things are called.

    name: before all names, "" for none. about: lines of the comment on x and y. classes: whether outputs are logits of
    classes, so that there is `predict_class`. probabilities: "softmax" or "sigmoids" where there is
    `predict_probabilities`.

    >>> import numpy as np
    >>> code = Code({}, np.dtype("float32"), (3,))
    >>> y = code.own(code.x, keep=True)
    >>> text = "".join(File(code, y, "").text())
    >>> print(text[text.rindex("void predict_with") :])
    void predict_with(float *memory, const float *x, float *y)
    {
        (void)memory;
        copy(x, y, 3);
    }
    <BLANKLINE>
    void predict(const float *x, float *y)
    {
        predict_with(NULL, x, y);
    }
    <BLANKLINE>
    """

    code: Code
    result: Value
    name: str
    about: Sequence[str] = ()
    classes: bool = False
    probabilities: str = ""

    @property
    def prefix(self) -> str:
        """What stands before all names."""
        return f"{self.name}_" if self.name else ""

    @property
    def real(self) -> str:
        """The type of numbers in C."""
        return TYPE[self.code.dtype.name]

    @property
    def memory(self) -> int:
        """Numbers of working memory."""
        return self.code.places(self.result)[1]

    @property
    def weights(self) -> int:
        """Numbers of all constant arrays."""
        return sum(array.size for array in self.code.arrays.values())

    def in_bytes(self, numbers: int) -> str:
        """So many numbers as people read their size."""
        return in_bytes(numbers * self.code.dtype.itemsize)

    def declarations(self) -> list[str]:
        """What a program declares to use the file, a line each."""
        p, real = self.prefix, self.real
        found = [
            f"void {p}predict(const {real} *x, {real} *y);",
            f"void {p}predict_with({real} *memory, const {real} *x, {real} *y);",
        ]
        if self.classes:
            found.append(f"int {p}predict_class(const {real} *x);")
        if self.probabilities:
            found.append(f"void {p}predict_probabilities(const {real} *x, {real} *y);")
        return found

    def header(self, measured: str = "") -> Iterator[str]:
        """The comment at the beginning: what is declared, x and y, sizes, and how it is compiled."""
        predict = f"{self.prefix}predict"
        yield f"/*\nA neural network in C99, written by gpubp {__version__}.\n"
        yield from (f"    {line}" for line in self.declarations())
        yield ""
        yield from self.about
        yield "x and y must not overlap."
        if self.memory:
            yield f"{predict} has its working memory in a static array: neither it nor a function that calls it may run"
            yield "twice at a time, in threads or interrupts."
            yield f"{predict}_with may: it takes memory of the caller, {self.memory} numbers."
        else:
            yield f"{predict} may run in several threads at a time: it needs no working memory."
        yield ""
        yield f"Weights: {self.in_bytes(self.weights)}, {self.weights:,} numbers."
        yield f"Working memory: {self.in_bytes(self.memory)}, {self.memory:,} numbers."
        yield f"Multiplications by weights, for a row: {self.code.multiplications:,}."
        if measured:
            yield measured
        yield "Compile it, for example, by cc -std=c99 -O2, and link with -lm.\n*/"

    def text(self, measured: str = "") -> Iterator[str]:
        """The file, in pieces. measured: a sentence on the time of a row."""
        yield from (f"{line}\n" for line in self.header(measured))
        yield from self._beginning()
        for name, numbers in self.code.axes.items():
            yield f"static const struct {self.prefix}axis {self.prefix}{name} = {{{', '.join(map(str, numbers))}}};\n"
        if self.code.axes:
            yield "\n"
        for name, array in self.code.arrays.items():
            shape = ", ".join(map(str, array.shape))
            yield f"/* ({shape}) */\nstatic const {self.real} {self.prefix}{name}[{array.size}] = {{\n"
            yield from (f"{line}\n" for line in number_lines(array))
            yield "};\n\n"
        for name in self._functions():
            if name != "axis":
                yield self._own(in_type(FUNCTIONS[name], self.code.dtype)) + "\n"
        for name, program in self.code.formulas.items():
            yield self._own(c_formula(name, program, self.code.dtype)) + "\n"
        yield from self._predict()

    def _functions(self) -> list[str]:
        called = {call.function for call in self.code.calls} & FUNCTIONS.keys()
        for program in self.code.formulas.values():
            called |= helpers_of(program)
        return with_needed(called | ({self.probabilities} if self.probabilities else set()))

    def _own(self, text: str) -> str:
        return text.replace("$", self.prefix)

    def _beginning(self) -> Iterator[str]:
        yield "\n#include <math.h>\n#include <stddef.h>\n\n"
        yield '#ifdef __cplusplus\nextern "C" {\n#endif\n'
        yield "".join(f"{line}\n" for line in self.declarations())
        yield "#ifdef __cplusplus\n}\n#endif\n\n"
        PREDICT = f"{self.prefix}predict".upper()
        for what, numbers in (("INPUTS", self.code.x.size), ("OUTPUTS", self.result.size), ("MEMORY", self.memory)):
            yield f"#define {PREDICT}_{what} {numbers}\n"
        yield "\n"
        if self.code.axes:
            yield self._own(FUNCTIONS["axis"]) + "\n"

    def _predict(self) -> Iterator[str]:
        p, real, PREDICT = self.prefix, self.real, f"{self.prefix}predict".upper()
        declared = [line.removesuffix(";") + "\n" for line in self.declarations()]
        places, memory = self.code.places(self.result)
        yield declared[1]
        yield "{\n"
        if not memory:
            yield "    (void)memory;\n"
        yield from (self._line(call, places) for call in self.code.calls)
        yield "}\n\n"
        yield declared[0]
        if memory:
            yield f"{{\n    static {real} memory[{PREDICT}_MEMORY];\n    {p}predict_with(memory, x, y);\n}}\n"
        else:
            yield f"{{\n    {p}predict_with(NULL, x, y);\n}}\n"
        if self.classes:
            yield f"\n{declared[2]}{{\n    {real} y[{PREDICT}_OUTPUTS];\n    int best = 0;\n    {p}predict(x, y);\n"
            yield f"    for (int i = 1; i < {PREDICT}_OUTPUTS; i++)\n        if (y[i] > y[best])\n"
            yield "            best = i;\n    return best;\n}\n"
        if self.probabilities:
            n = self.result.shape[-1]
            rows = f"{self.result.size // n}, {n}, 1" if self.probabilities == "softmax" else str(self.result.size)
            yield f"\n{declared[-1]}{{\n    {p}predict(x, y);\n    {p}{self.probabilities}(y, {rows});\n}}\n"

    def _line(self, call: Call, places: Mapping[int, str]) -> str:
        if call.comment:
            return f"    /* {call.comment} */\n"
        given = ", ".join(self.code.spelled(a, places, self.prefix) for a in call.arguments)
        return f"    {self.prefix}{call.function}({given});\n"
