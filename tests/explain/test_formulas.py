"""The formulas that explanations state of each layer, which they take from docstrings."""

from __future__ import annotations

import gpubp as bp
from gpubp.explain.formulas import formulas_of
from layer_cases import LAYERS

WITHOUT = {"Flatten", "Reshape"}  # which compute nothing


def test_every_layer_states_its_formulas() -> None:
    layers = [inner for case in LAYERS for _, inner in case.layer.walk() if not inner.children]
    assert {type(layer).__name__ for layer in layers if not formulas_of(layer).all} == WITHOUT


def test_a_class_states_its_own_of_several_and_those_of_its_base() -> None:
    (means,) = formulas_of(bp.GlobalAvgPool3D()).all
    assert means.startswith("(1) y = Σ x / n")
    assert formulas_of(bp.MaxPool2D()).all[0] == "(1) y = max x over the window"
    assert formulas_of(bp.AvgPool2D()).all[0].startswith("(3) y = Σ x / m")
    assert formulas_of(bp.AdaptiveMaxPool2D(2)).all[0] == "(4) z'[i] = max z[j] over the places of (1)"
    assert formulas_of(bp.Cropping1D(1)).all[0].startswith("(3) y[i] = x[i + p]")
