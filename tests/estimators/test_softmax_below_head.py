"""A softmax at the end of the layers of a classifier, behind which a Dense and the loss's own softmax follow."""

import warnings

import numpy as np
import pytest

import gpubp as bp

pytest.importorskip("sklearn")
from gpubp.estimators import NetworkClassifier

X = np.random.default_rng(0).normal(size=(30, 4))
Y = np.arange(30) % 3


@pytest.mark.parametrize("end", [bp.Softmax(), bp.LogSoftmax()], ids=repr)
def test_it_is_told_and_a_sigmoid_of_hidden_units_is_not(end: bp.Layer) -> None:
    made = NetworkClassifier(bp.Sequential(bp.Dense(3), end), max_iter=50, tol=1.0, n_iter_no_change=1, random_state=0)
    with pytest.warns(UserWarning, match=r"leave (Log)?Softmax\(\) out; predict_proba gives probabilities") as told:
        made.fit(X, Y)
    assert told[0].filename == __file__
    assert made.predict_proba(X).sum(axis=1) == pytest.approx(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.set_params(layers=bp.Sequential(bp.Dense(3), bp.Sigmoid())).fit(X, Y)
