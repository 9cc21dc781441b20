"""Styles: how the parts of an expression are spelled, as plain text; `html.py` and `tex.py` have styles of their own.

A style gets the parts of an expression ready, and puts them together. Where brackets are needed is the business of
`printing.py`; a style only says how tightly what it makes holds together, by a level.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..expressions import Element, Key
from .numbers import number

SUM, SIGNED, QUOTIENT, PRODUCT, POWER, ATOM = range(6)  # levels: a higher one holds more tightly

SIGNS = {"greater": ">", "greater_equal": "≥", "less": "<", "less_equal": "≤", "equal": "="}
CALLED = {
    "sigmoid": "σ", "minimum": "min", "fmin": "min", "fmax": "max", "maximum": "max", "log1p": "log1p",
    "expm1": "expm1",
}  # fmt: skip
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Derivative(Element):
    """∂of/∂by as a number with a name. of: None for the loss L. key: of the line that computes it, if any does.

    >>> Derivative(None, Key("0", "W", (1,)), 0.5, Key("0", "dW", (1,))).called
    '∂L/∂0.W[1]'
    """

    __slots__ = ("by", "of")

    def __init__(self, of: Key | None, by: Key, value: float, key: Key) -> None:
        super().__init__(f"∂{of or 'L'}/∂{by}", (), value, key)
        self.of, self.by = of, by


class Text:
    """Plain text, as a terminal shows it.

    >>> style = Text()
    >>> style.times(["x", style.bracket(style.plus("1", [(style.minus, "y")]))], spaced=False)
    'x·(1 − y)'
    """

    product, minus, ellipsis = "·", "−", "…"
    drawn = False  # whether the line of a fraction and that over a root stand for brackets

    def number(self, value: float, of: Element | None = None) -> tuple[str, int]:
        """A number, and its level as a factor. of: whose value it is."""
        text = number(value)
        return text, PRODUCT if "e" in text else ATOM

    def blank(self, text: str, of: Element | None = None) -> str:
        """What stands in the place of a number that is left out."""
        return text

    def element(self, e: Element) -> str:
        """The name of an element."""
        return e.called

    def words(self, text: str) -> str:
        """Words in a formula."""
        return f"‹{text}›"

    def bracket(self, text: str) -> str:
        """( )"""
        return f"({text})"

    def truth(self, text: str) -> str:
        """The brackets of Iverson: 1 where the comparison holds, else 0."""
        return f"[{text}]"

    def sign(self, name: str) -> str:
        """The sign of a comparison."""
        return SIGNS[name]

    def call(self, name: str, arguments: Sequence[str]) -> str:
        """f(a, b)"""
        return f"{CALLED.get(name, name)}({', '.join(arguments)})"

    def absolute(self, text: str) -> str:
        """|a|; abs(a) where bars in bars would be hard to read."""
        return f"|{text}|" if "|" not in text else self.call("abs", [text])

    def root(self, text: str) -> str:
        """√a"""
        return f"√{text}"

    def exp(self, text: str) -> tuple[str, int]:
        """eᵃ"""
        return f"exp({text})", ATOM

    def power(self, text: str, n: int) -> str:
        """aⁿ"""
        return text + str(n).translate(RAISED)

    def quotient(self, above: str, below: str) -> str:
        """a/b"""
        return f"{above}/{below}"

    def times(self, factors: Sequence[str], spaced: bool) -> str:
        """a·b, with spaces where the factors are derivatives."""
        return (f" {self.product} " if spaced else self.product).join(factors)

    def plus(self, first: str, others: Sequence[tuple[str, str]]) -> str:
        """a + b − c. others: the sign and the term."""
        return first + "".join(f" {sign} {term}" for sign, term in others)

    def more(self, count: int, together: str | None) -> str:
        """What stands for terms that are not shown. together: their sum; None where only names are printed."""
        return f"{self.ellipsis} ({count} more{f', together {together}' if together is not None else ''})"
