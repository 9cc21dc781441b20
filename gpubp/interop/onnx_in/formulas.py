"""Formulas of data that become layers: one activation, several one after the other, or a sum of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...layers import GELU, Layer
from .elementwise import UNNAMED, activation_of, agree, called, evaluated, places
from .model import Node
from .reader import Reader, makes
from .refused import Refused
from .values import Data, Expr, Term

MOST_OPERATORS = 200


@makes(Expr)
def step_of(r: Reader, value: Expr) -> Data:
    """The activation that a formula is, or the layers of its parts."""
    key = (value.base.step, value.layout, id(value.term))
    if key not in r.activations:
        made = _step_of(r, value.base, value.term)
        r.activations[key] = made.step, value.term, made.layout  # with the term, so that its id is not given again
    step, _, layout = r.activations[key]
    return Data(step, layout)


def _step_of(r: Reader, base: Data, term: Term | str) -> Data:
    if isinstance(term, str):
        return base
    found = activation_of(term)
    if found == "x":
        return base
    node = term.node
    if isinstance(found, Layer):
        return r.step(_form(r, found, node), [base], base.layout, nodes_of(term))
    if term.op == "Add" and all(isinstance(o, Term | str) for o in term.operands):
        one, other = r.same_order(*(r.data(Expr(base, o)) for o in term.operands))
        return r.step(None, [one, other], one.layout, (node,), merge="add")
    if (scaled := _scaled(r, base, term)) is not None:
        return scaled
    inside = waists(term)
    for inner in reversed(inside):  # as much as one layer can do
        outer = replaced(term, inner)
        layer = activation_of(outer)
        if layer is not None:
            x = r.data(Expr(base, inner))
            return r.step(_form(r, layer, node), [x], x.layout, nodes_of(outer)) if isinstance(layer, Layer) else x
    names = (called(each) for each in (term, *(replaced(term, i) for i in inside)))
    what = next((name for name in names if name != UNNAMED), UNNAMED)
    raise Refused(f"it computes {what}, for which gpubp has no layer", node, base.layout)


def _form(r: Reader, layer: Layer, node: Node | None) -> Layer:
    """The layer, of a GELU the form that the user asks for."""
    if layer == GELU() and r.options.gelu == "tanh":
        where = "" if node is None else f"{node.shown}: "
        r.notes.append(f'{where}the tanh form of GELU, whose numbers differ by up to 0.0005 (gelu="tanh")')
        return GELU("tanh")
    return layer


def _scaled(r: Reader, base: Data, term: Term) -> Data | None:
    """a x + c, where x is what a Dense or a convolution gives: then its weights become others."""
    linear = r.linears.get(base.step)
    if linear is None or linear.attention is not None:
        return None
    x = places(term)
    y = evaluated(term, x)
    c, one = (float(v) for v in evaluated(term, np.array([0.0, 1.0])))
    with np.errstate(all="ignore"):
        if one == c or not agree(y, (one - c) * x + c):
            return None
    b = linear.b
    if c:
        b = np.full(linear.W.shape[-1], 0.0, linear.W.dtype) if b is None else b
        b = b + linear.W.dtype.type(c / (one - c) / linear.factor)
    made = r.data(replace(linear, factor=linear.factor * (one - c), b=b, made=[], unscaled=None))
    return Data(made.step, base.layout)


def waists(term: Term) -> list[Term]:
    """The terms inside through which all of x goes, the outer ones first.

    >>> inner = Term("Tanh", ("x",))
    >>> [t.op for t in waists(Term("Min", (Term("Max", (inner, 0.0)), 6.0)))]
    ['Max', 'Tanh']
    """
    every = _all_terms(term)
    return [t for t in sorted(every[1:], key=lambda t: -t.depth) if not _reaches_x(term, t)]


def _all_terms(term: Term) -> list[Term]:
    found: dict[int, Term] = {}
    waiting = [term]
    while waiting:
        at = waiting.pop()
        if id(at) not in found:
            found[id(at)] = at
            waiting += [o for o in at.operands if isinstance(o, Term)]
        if len(found) > MOST_OPERATORS:
            raise Refused(f"a formula of more than {MOST_OPERATORS} operators", term.node)
    return list(found.values())


def _reaches_x(term: Term, without: Term) -> bool:
    seen, waiting = {id(without)}, [term]
    while waiting:
        at = waiting.pop()
        if id(at) in seen:
            continue
        seen.add(id(at))
        if "x" in [o for o in at.operands if isinstance(o, str)]:
            return True
        waiting += [o for o in at.operands if isinstance(o, Term)]
    return False


def replaced(term: Term, inner: Term) -> Term:
    """The term with x in the place of an inner term.

    >>> inner = Term("Tanh", ("x",))
    >>> replaced(Term("Exp", (inner,)), inner).operands
    ('x',)
    """
    made: dict[int, Any] = {id(inner): "x"}

    def of(t: Any) -> Any:
        if not isinstance(t, Term):
            return t
        if id(t) not in made:
            made[id(t)] = Term(t.op, tuple(map(of, t.operands)), t.node, t.more)
        return made[id(t)]

    return of(term)  # type: ignore[no-any-return]


def nodes_of(term: Term) -> tuple[Any, ...]:
    """The nodes of a formula, each once, the inner ones first.

    >>> nodes_of(Term("Tanh", ("x",)))
    ()
    """
    found = [t.node for t in sorted(_all_terms(term), key=lambda t: t.depth) if t.node is not None]
    return tuple(dict.fromkeys(found))
