"""Losses as parameters of estimators: weights and class indices of the loss, and losses with formulas of their own."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

import gpubp as bp
from gpubp.estimators import MLPClassifier, MLPRegressor, NetworkClassifier
from gpubp.estimators.rules import SumOverOutputs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
rng = np.random.default_rng(0)
X = rng.normal(size=(90, 4))
Y = (X[:, :2] + rng.normal(size=(90, 2)) > 0).astype(int)


def linear(kind, **options):
    """An estimator without hidden layers that takes one step, too small to change a weight in the sixth digit."""
    shared = dict(hidden_layer_sizes=(), max_iter=1, learning_rate_init=1e-12, alpha=0.0, random_state=0, device="cpu")
    return kind(**(shared | options))


# -- several outputs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_each_label_has_its_own_pos_weight(solver):
    weights = np.array([1.0, 9.0])
    loss = bp.BinaryCrossEntropy(pos_weight=[1.0, 9.0])
    model = linear(MLPClassifier, loss=loss, solver=solver, max_iter=1 if solver == "adam" else 40).fit(X, Y)
    z = X @ model.coefs_[0] + model.intercepts_[0]
    of_each = weights * Y * np.logaddexp(0, -z) + (1 - Y) * np.logaddexp(0, z)
    assert model.loss_ == pytest.approx(of_each.sum(axis=1).mean(), rel=1e-6)
    plain = linear(MLPClassifier, solver="lbfgs", max_iter=40).fit(X, Y)
    if solver == "lbfgs":
        more = model.predict(X).mean(axis=0) - plain.predict(X).mean(axis=0)
        assert abs(more[0]) < 1e-2 < more[1]


def test_equal_pos_weights_of_all_labels_are_one_pos_weight():
    each = MLPClassifier((8,), max_iter=5, random_state=0, loss=bp.BinaryCrossEntropy((3.0, 3.0))).fit(X, Y)
    one = MLPClassifier((8,), max_iter=5, random_state=0, loss=bp.BinaryCrossEntropy(3.0)).fit(X, Y)
    assert each.coefs_[1] == pytest.approx(one.coefs_[1], rel=1e-9)


@pytest.mark.parametrize(("count", "numbers"), [(1, "1 number"), (3, "3 numbers")])
def test_pos_weights_of_other_outputs_are_refused(count, numbers):
    with pytest.raises(bp.ShapeError, match=rf"^BinaryCrossEntropy\(.* has {numbers} in pos_weight, .* 2 outputs"):
        linear(MLPClassifier, loss=bp.BinaryCrossEntropy(tuple([2.0] * count))).fit(X, Y)


class Tenfold(bp.PointwiseLoss):
    """Ten times the squared error, by forward and backward, which l and dl do not show."""

    def l(self, z, t):  # noqa: E743
        return (z - t) * (z - t)

    def dl(self, z, t):
        return 2.0 * (z - t)

    def forward(self, ws, z, t):
        rows = super().forward(ws, z, t)
        ws.xp.multiply(rows, 10, out=rows)
        return rows

    def backward(self, ws, z, t):
        dz = super().backward(ws, z, t)
        ws.xp.multiply(dz, 10, out=dz)
        return dz


def test_a_forward_and_backward_of_ones_own_are_used_for_several_outputs():
    y = X[:, :2] @ [[1.0, 2.0], [0.5, -1.0]]
    model = linear(MLPRegressor, loss=Tenfold()).fit(X, y)
    z = model.predict(X)
    assert model.loss_ == pytest.approx(10 * ((z - y) ** 2).sum(axis=1).mean(), rel=1e-6)
    fitted = linear(MLPRegressor, loss=Tenfold(), solver="lbfgs", max_iter=200).fit(X, y)
    assert fitted.predict(X) == pytest.approx(y, abs=1e-3)


class ByCounts(bp.PointwiseLoss):
    """The sum of the squared errors, divided by the number of rows whose first target is above 0."""

    has_counts = True

    def l(self, z, t):  # noqa: E743
        return (z - t) * (z - t)

    def dl(self, z, t):
        return 2.0 * (z - t)

    def counts(self, ws, t):
        ws.xp.copyto(ws.rows, t[:, 0] > 0)
        return ws.rows


def test_rows_count_as_the_loss_says():
    y = X[:, :2]
    model = linear(MLPRegressor, loss=ByCounts()).fit(X, y)
    squares = ((model.predict(X) - y) ** 2).sum(axis=1)
    assert model.loss_ == pytest.approx(squares.sum() / (y[:, 0] > 0).sum(), rel=1e-6)


class WithoutReturn(Tenfold):
    def targets(self, y, z):
        pass


def test_errors_of_several_outputs_name_the_loss_as_it_was_given():
    with pytest.raises(bp.ResultError, match="^WithoutReturn.targets must return a NumPy array .* is a return missing"):
        linear(MLPRegressor, loss=WithoutReturn()).fit(X, X[:, :2])
    assert repr(SumOverOutputs(bp.Huber(2.0), 3)) == repr(bp.Huber(2.0))


@pytest.mark.parametrize("loss", [bp.BinaryCrossEntropy((1.0, 9.0)), Tenfold(), bp.Huber(), ByCounts()], ids=repr)
def test_the_sum_over_outputs_has_the_gradient_of_its_loss(loss):
    bp.gradcheck(SumOverOutputs(loss, 2), (5, 2), y=np.array([[0, 1], [1, 0], [1, 1], [0, 0], [1, 0]]))


# -- class indices ----------------------------------------------------------------------------------------------------

three = np.digitize(X[:, 0], [-0.5, 0.5])


@pytest.mark.parametrize("kind", [MLPClassifier, NetworkClassifier])
@pytest.mark.parametrize(
    ("options", "labels", "message"),
    [
        ({"ignore_index": -1}, [-1, 0, 1], "the labels are -1, 0, 1: leave the rows to ignore out of X and y"),
        ({"ignore_index": 5}, [5, 6, 7], "the labels are 5, 6, 7: leave the rows"),
        ({"ignore_index": -100}, [-100, 0, 1], "the labels are -100, 0, 1: leave the rows"),
        ({"ignore_index": 0}, [1, 2, 3], "the labels are 1, 2, 3: leave the rows"),
        ({"ignore_index": 2}, ["a", "b", "c"], "the labels are 'a', 'b', 'c': leave the rows"),
        ({"ignore_index": -1, "class_weight": {0: 2.0}}, ["a", "b", "c"], "'c': give the estimator itself"),
        ({"class_weight": {1: 9.0}}, [1, 2, 2], "the labels are 1, 2: give the estimator itself class_weight"),
        ({"class_weight": {5: 1.0, 6: 2.0}}, [5, 6, 7], "the labels are 5, 6, 7: give the estimator itself"),
        ({"class_weight": [(0, 2.0)]}, ["a", "b", "c"], "the labels are 'a', 'b', 'c': give the estimator itself"),
    ],
)
def test_a_loss_that_names_classes_by_index_is_refused_for_other_labels(kind, options, labels, message):
    first = bp.Dense(3) if kind is NetworkClassifier and len(set(labels)) == 3 else bp.ReLU()
    model = kind(first if kind is NetworkClassifier else (), loss=bp.SoftmaxCrossEntropy(**options))
    with pytest.raises(ValueError, match=message):
        model.fit(X, np.array(labels)[three])
    assert not hasattr(model, "network_")


@pytest.mark.parametrize("ignore_index", [-1, -100, 7])
@pytest.mark.parametrize("labels", [["a", "b", "c"], [1, 2, 3], [5, 5, 6]], ids=repr)
def test_an_ignore_index_that_names_no_class_leaves_out_no_rows(ignore_index, labels):
    y, options = np.array(labels)[three], dict(random_state=0, max_iter=3)
    ignoring = MLPClassifier((8,), loss=bp.SoftmaxCrossEntropy(ignore_index=ignore_index), **options).fit(X, y)
    plain = MLPClassifier((8,), loss=bp.SoftmaxCrossEntropy(), **options).fit(X, y)
    assert ignoring.coefs_[1] == pytest.approx(plain.coefs_[1], rel=1e-9)


def test_labels_that_are_the_indices_go_with_indices_in_the_loss():
    options = dict(random_state=0, max_iter=5)
    by_loss = MLPClassifier((8,), loss=bp.SoftmaxCrossEntropy(class_weight={2: 9.0}), **options).fit(X, three)
    by_label = MLPClassifier((8,), class_weight={"c": 9.0}, loss=bp.SoftmaxCrossEntropy(), **options)
    by_label.fit(X, np.array(["a", "b", "c"])[three])
    assert by_loss.coefs_[1] == pytest.approx(by_label.coefs_[1], rel=1e-6)
    for labels in (three, three.astype(float), three > 0):
        ignored = MLPClassifier((8,), loss=bp.SoftmaxCrossEntropy(ignore_index=0), **options).fit(X, labels)
        weighted = MLPClassifier((8,), loss=bp.SoftmaxCrossEntropy(), **options).fit(X, labels, labels != 0)
        assert ignored.coefs_[1] == pytest.approx(weighted.coefs_[1], rel=1e-6)


def test_a_list_of_class_weights_is_in_the_order_of_the_labels():
    options = dict(random_state=0, max_iter=5, loss=bp.SoftmaxCrossEntropy(class_weight=[1.0, 1.0, 9.0]))
    numbered = MLPClassifier((8,), **options).fit(X, three)
    named = MLPClassifier((8,), **options).fit(X, np.array(["a", "b", "c"])[three])
    assert np.array_equal(numbered.coefs_[1], named.coefs_[1])
