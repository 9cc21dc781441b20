"""What estimators are given: tables, sparse rows, class weights, validation rows, and wrong values of parameters."""

import datetime
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'gpubp[sklearn]'")

import scipy.sparse
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight

import gpubp as bp
from gpubp.estimators import MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4))
Y = (X[:, 0] > 0.8) * 1 + (X[:, 1] > 0)
NAMES = np.array(["a", "b", "c"])[Y]


def made(kind=MLPClassifier, **options):
    first = dict(layers=bp.Sequential(bp.Dense(6), bp.ReLU())) if "Network" in kind.__name__ else {}
    first |= {} if first else dict(hidden_layer_sizes=(6,))
    return kind(**(first | dict(max_iter=3, device="cpu", random_state=0, batch_size=20) | options))


# -- class weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("class_weight", "words"),
    [
        ({"a": -1}, "class_weight gives class 'a' the weight -1; weights are 0 or more, and finite"),
        ({"a": float("nan")}, "class_weight gives class 'a' the weight nan"),
        ({"a": "2"}, "class_weight gives class 'a' the weight '2'"),
        ({"a": True}, "class_weight gives class 'a' the weight True"),
        ({np.str_("b"): np.inf}, "class_weight gives class 'b' the weight inf"),
        ({"d": 2.0}, "class_weight names classes that y does not hold: 'd'; y holds 'a', 'b', 'c'"),
        ({0: 2.0}, "class_weight names classes that y does not hold: 0; y holds 'a', 'b', 'c'"),
        ([1.0, 2.0, 3.0], r'class_weight is class -> weight, .* or "balanced"; got \[1.0, 2.0, 3.0\]'),
        (True, "class_weight is class -> weight, .* got True"),
        (2.0, "class_weight is class -> weight, .* got 2.0"),
        ("even", "class_weight is class -> weight, .* got 'even'"),
        ({"a": 0.0, "b": 0.0, "c": 0.0}, "class_weight: the class weights leave every row without weight"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", [MLPClassifier, NetworkClassifier])
def test_class_weights_that_can_not_be(kind, class_weight, words):
    one = made(kind, class_weight=class_weight)
    with pytest.raises(ValueError, match=words):
        one.fit(X, NAMES)
    with pytest.raises(ValueError, match="class_weight"):
        one.partial_fit(X, NAMES, classes=["a", "b", "c"])
    assert not hasattr(one, "network_")


def test_balanced_class_weights_need_all_rows():
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once, and partial_fit sees a part"):
        made(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


def test_keys_of_numpy_and_classes_of_other_folds():
    by_row = made().fit(X, Y, np.array([1.0, 4.0, 1.0])[Y])
    for class_weight in ({1: 4.0}, {np.int64(1): 4.0}, {0: 1.0, 1: 4.0, 2: 1, 3: 9.0}):  # which has all that y has
        assert np.array_equal(made(class_weight=class_weight).fit(X, Y).coefs_[0], by_row.coefs_[0])


def test_class_weights_of_several_labels():
    several = np.c_[Y > 0, Y > 1] * 1
    weights = compute_sample_weight("balanced", several)
    by_row = made().fit(X, several, weights)
    assert np.array_equal(made(class_weight="balanced").fit(X, several).coefs_[0], by_row.coefs_[0])
    assert np.array_equal(
        made(class_weight="balanced").fit(X, scipy.sparse.csr_array(several)).coefs_[0], by_row.coefs_[0]
    )
    each = made(class_weight=[{1: 2.0}, {0: 3.0}]).fit(X, several)
    by_row = made().fit(X, several, np.where(several[:, 0], 2.0, 1.0) * np.where(several[:, 1], 1.0, 3.0))
    assert np.array_equal(each.coefs_[0], by_row.coefs_[0])
    for wrong in ({1: 2.0}, [{1: 2.0}], 3.0):
        with pytest.raises(ValueError, match="class_weight of several labels is .* one for each of the 2 labels"):
            made(class_weight=wrong).fit(X, several)
    with pytest.raises(ValueError, match="class_weight gives class 1 the weight -2.0"):
        made(class_weight=[{1: -2.0}, {}]).fit(X, several)


# -- validation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_weight", [None, {1: 9.0}, "balanced"], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_judges_rows_as_validation_data_does(class_weight, weighted, monkeypatch):
    """The same rows give the same curves and scores; class weights stay out of them, and rows' weights count."""
    rows = []

    def split(*args, **options):
        rows[:] = train_test_split(*args, **options)
        return rows

    monkeypatch.setattr("gpubp.estimators.splitting.train_test_split", split)
    w = np.linspace(0.1, 2.0, 80) if weighted else np.ones(80)
    options = dict(class_weight=class_weight, shuffle=False, early_stopping=True, max_iter=8, n_iter_no_change=50)
    one = made(validation_fraction=0.3, **options).fit(X, Y, w)
    training, held = rows
    assert {0, 1} <= set(Y[held])
    two = made(**options).fit(X[training], Y[training], w[training], (X[held], Y[held], w[held]))
    assert one.validation_scores_ == two.validation_scores_
    assert one.validation_loss_curve_ == two.validation_loss_curve_ and one.loss_curve_ == two.loss_curve_
    assert np.array_equal(one.network_.flat, two.network_.flat)
    assert one.best_validation_score_ == pytest.approx(one.score(X[held], Y[held], w[held]))


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor])
@pytest.mark.parametrize("fraction", ["0.1", None, True, 1, 1.0, -0.1, float("nan"), [0.1]], ids=repr)
def test_fractions_that_can_not_be(kind, fraction):
    with pytest.raises(ValueError, match=r"validation_fraction of \w+ is a number from 0 to below 1, and got"):
        made(kind, validation_fraction=fraction).fit(X, Y)


def test_fractions_that_leave_too_few():
    for fraction in (0, 0.0):
        made(validation_fraction=fraction).fit(X, Y)
        with pytest.raises(ValueError, match="early_stopping=True needs a validation_fraction above 0"):
            made(validation_fraction=fraction, early_stopping=True).fit(X, Y)
    with pytest.raises(ValueError, match="Increase 'validation_fraction' or the size of your dataset"):
        made(validation_fraction=0.01, early_stopping=True).fit(X, Y)
    with pytest.raises(ValueError, match="validation_fraction=0.01 of 80 rows can't be held out: .*number of classes"):
        made(validation_fraction=0.01, early_stopping=True).fit(X, Y > 0)
    made(validation_fraction=np.float32(0.2), early_stopping=True).fit(X, Y)


# -- sparse rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_rows_held_out_stay_sparse(kind):
    wide = scipy.sparse.random_array((7000, 6000), density=1e-3, rng=np.random.default_rng(0), format="csr")
    wide, y = getattr(scipy.sparse, kind)(wide), np.arange(7000) % 2
    one = made(hidden_layer_sizes=(2,), max_iter=1, batch_size=20, early_stopping=True)
    made(max_iter=1, early_stopping=True).fit(scipy.sparse.csr_array(X), Y)  # what a first fit imports is not counted
    tracemalloc.start()
    try:
        one.fit(wide, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 7000 * 6000 * 8 / 4


def test_errors_of_sparse_rows_name_row_and_column():
    wrong = np.where(np.abs(X) > 1, X, 0.0)
    wrong[4, 2] = np.nan
    for kind in ("csr_array", "csc_matrix", "coo_array"):
        with pytest.raises(ValueError, match=r"Input X contains NaN. X holds nan in row 4, column 2; drop such rows"):
            made().fit(getattr(scipy.sparse, kind)(wrong), Y)
    with pytest.raises(ValueError, match=r"y is a sparse matrix, and only X may be one; give y.toarray\(\)"):
        made(MLPRegressor).fit(X, scipy.sparse.csr_array(X))


# -- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_errors_of_tables_name_column_row_and_value(library):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    make = module.table if library == "pyarrow" else module.DataFrame
    columns = {"yes": X[:, 0] > 0, "x": X[:, 1]}
    one, plain = made().fit(make(columns), Y), np.c_[X[:, 0] > 0, X[:, 1]]
    assert np.array_equal(one.predict_proba(make(columns)), made().fit(plain, Y).predict_proba(plain))
    city = make(columns | {"x": ["1", "2.5", "3", "Paris", *["5"] * 76]})
    hole = make(columns | {"x": [1.5, None, *X[2:, 1]]})
    for use in (lambda given: made().fit(given, Y), one.predict):
        with pytest.raises(ValueError, match="X: column 'x' holds 'Paris' in row 3, and the network needs numbers"):
            use(city)
        with pytest.raises(ValueError, match="Input X contains NaN. X: column 'x' h.* in row 1; drop such rows, or"):
            use(hole)


DAYS = np.datetime64("2020-01-01") + np.arange(80)


def dates_and_gaps(library):
    """(the column "d" of a table, what an error says of it): scikit-learn takes each of them for numbers."""
    pl, pa, pd = (
        pytest.importorskip(name, reason=f"{name} is not installed") for name in ("polars", "pyarrow", "pandas")
    )
    if library == "polars":
        return [
            (DAYS, "column 'd' holds datetime64"),
            ((DAYS - DAYS[0]).astype("m8[us]"), "column 'd' holds timedelta64"),
            ([datetime.time(1)] * 80, r"column 'd' holds datetime.time\(1, 0\) in row 0"),
            (pl.Series([2**80, None] * 40, dtype=pl.Int128), "column 'd' has no value .* in row 1"),
        ]
    if library == "pyarrow":
        return [
            (pa.array(DAYS), "column 'd' holds date32"),
            (pa.array(DAYS.astype("M8[ns]")), "column 'd' holds timestamp"),
            (pa.array((DAYS - DAYS[0]).astype("m8[s]")), "column 'd' holds duration"),
            (pa.array([3, None] * 40).dictionary_encode(), "column 'd' has no value .* in row 1"),
        ]
    return [
        (DAYS, "column 'd' holds datetime64"),
        (pd.to_timedelta(DAYS - DAYS[0]), "column 'd' holds timedelta64"),
        (pd.Categorical([3, None] * 40), "column 'd' holds nan in row 1"),
    ]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_dates_and_missing_categories_are_no_numbers(library):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    make = module.table if library == "pyarrow" else module.DataFrame
    for column, words in dates_and_gaps(library):
        for names in (["d"], ["d", "n"]):
            table, good = (make({name: np.arange(80) for name in names} | first) for first in ({"d": column}, {}))
            with pytest.raises(ValueError, match=f"X: {words}"):
                made().fit(table, Y)
            with pytest.raises(ValueError, match=f"X: {words}"):
                made().fit(good, Y).predict(table)
            with pytest.raises(ValueError, match=f"in validation_data, .*X: {words}"):
                made().fit(good, Y, validation_data=(table, Y))


def test_arrays_of_dates_and_masked_values_are_no_numbers():
    for given, words in (
        (DAYS[:, None], r"X holds datetime64\[D\], and the network needs numbers"),
        ((DAYS - DAYS[0])[:, None], r"X holds timedelta64\[D\], and the network needs numbers"),
        ([[day] for day in DAYS], r"X holds datetime64\[D\], and"),
        (np.array([[day - DAYS[0]] for day in DAYS], object), "X holds .*timedelta64.* in row 0, column 0"),
        (np.ma.masked_array(X[:, :1], X[:, :1] > 1), "X has masked values; drop their rows, or fill them in"),
    ):
        with pytest.raises(bp.DataError, match=words):
            made().fit(given, Y)
        with pytest.raises(bp.DataError, match=words):
            made().partial_fit(given, Y, classes=[0, 1, 2])
        with pytest.raises(bp.DataError, match=words):
            made().fit(X[:, :1], Y).predict(given)


def test_targets_that_are_dates_are_refused():
    pd, pl = (pytest.importorskip(name, reason=f"{name} is not installed") for name in ("pandas", "polars"))
    for y, words in (
        (DAYS, "y holds datetime64.*, and a regressor needs numbers"),
        (DAYS - DAYS[0], "y holds timedelta64"),
        (pd.Series(DAYS), "y holds datetime64"),
        (pl.Series(DAYS), "y holds datetime64"),
        (pd.DataFrame({"a": X[:, 0], "d": DAYS}), "y: column 'd' holds datetime64"),
        (np.ma.masked_array(X[:, 0], X[:, 0] > 1), "y has masked values"),
    ):
        with pytest.raises(bp.DataError, match=words):
            made(MLPRegressor).fit(X, y)


def test_columns_that_scikit_learn_can_not_read_are_read_as_trainer_reads_them():
    pd, pl = (pytest.importorskip(name, reason=f"{name} is not installed") for name in ("pandas", "polars"))
    numbers = np.arange(80.0)
    plain = made(MLPRegressor).fit(numbers[:, None], numbers).predict(numbers[:, None])
    wide = pl.Series("a", range(80), dtype=pl.Int128)
    for table, y in (
        (pl.DataFrame({"a": wide}), wide),
        (pd.DataFrame({"a": pd.arrays.SparseArray(numbers)}), numbers),  # whose missing value is NaN, and not 0
    ):
        np.testing.assert_array_equal(made(MLPRegressor).fit(table, y).predict(table), plain)


def test_tables_of_plain_numbers_are_read_whole(monkeypatch):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pd.DataFrame(X.astype("f4"), columns=list("abcd"))
    tables = [table, table.astype({"a": "int8"}), table.astype({"a": "float64"})]
    monkeypatch.setattr(pd.DataFrame, "items", lambda self: pytest.fail("column by column"))
    for given in tables:
        np.testing.assert_array_equal(
            made().fit(given, Y).predict(given), made().fit(given.values, Y).predict(given.values)
        )
        assert bp.Network(bp.Dense(2), 4, device="cpu").predict(given).shape == (80, 2)


def test_lists_become_an_array_once():
    class Row:
        read = 0

        def __len__(self):
            return 4

        def __array__(self, dtype=None, copy=None):
            Row.read += 1
            return np.ones(4)

    def times(use):
        Row.read = 0
        use()
        return Row.read

    given, one = [Row() for _ in range(80)], made(MLPRegressor).fit(X, Y)
    assert times(lambda: one.predict(given)) == times(lambda: np.asarray(given))


def test_auto_is_float64_for_all_that_scikit_learn_takes_for_float64():
    pd, pl, pa = (
        pytest.importorskip(name, reason=f"{name} is not installed") for name in ("pandas", "polars", "pyarrow")
    )
    few = X.astype("f4")
    table = pd.DataFrame(few, columns=list("abcd"))
    sparse = table.astype(pd.SparseDtype("float32", 0.0))
    for given in (few, table, table.assign(a=X[:, 0] > 0), sparse):
        assert made().fit(given, Y).network_.dtype == np.float32
    others = [table.astype("Float32"), table.assign(a=pd.array([1] * 80, "Int8"))]
    others += [pl.DataFrame(few), pa.table(dict(zip("abcd", few.T, strict=True))), few.tolist(), list(few)]
    for given in others:
        assert made().fit(given, Y).network_.dtype == np.float64
        assert made(dtype="float32").fit(given, Y).network_.dtype == np.float32


def test_errors_of_validation_data_say_so():
    wrong = X.copy()
    wrong[5, 1] = np.inf
    for data, words in (
        ((wrong, Y), "in validation_data, Input X contains infinity .* X holds inf in row 5; drop such rows"),
        ((scipy.sparse.csr_array(wrong), Y), "in validation_data, .* X holds inf in row 5, column 1; drop such rows"),
        ((X[:, :3], Y), "in validation_data, X has 3 features"),
        ((X, Y, -np.ones(80)), "in validation_data, sample_weight needs finite weights of 0 or more"),
        ((X, Y[:5]), "in validation_data, Found input variables with inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=words):
            made().fit(X, Y, validation_data=data)


def test_targets_that_are_no_numbers_are_named():
    with pytest.raises(ValueError, match="y holds 'b' in row 2, and a regressor needs numbers"):
        made(MLPRegressor).fit(X, np.array(["1", "2", "b", *["4"] * 77], object))
    with pytest.raises(ValueError, match="Input y contains NaN. y holds nan in row 7; drop such rows"):
        made(MLPRegressor).fit(X, np.where(np.arange(80) == 7, np.nan, 1.0))


def test_sparse_tables_of_pandas():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    few = np.where(np.abs(X) > 1, X, 0.0)
    columns = {f"c{k}": pd.arrays.SparseArray(few[:, k], fill_value=0.0) for k in range(4)}
    columns["c0"] = pd.arrays.SparseArray(few[:, 0] > 0, fill_value=False)
    table, plain = pd.DataFrame(columns), np.c_[few[:, :1] > 0, few[:, 1:]]
    one = made().fit(table, Y)
    assert one.feature_names_in_.tolist() == list(columns)
    assert np.array_equal(one.predict_proba(table), made().fit(plain, Y).predict_proba(plain))


# -- wrong values of parameters ---------------------------------------------------------------------------------------

WRONG = {
    "None": None, "True": True, "-1": -1, "2.5": 2.5, "large": 2**40, "text": "a", "object": object(),
    "list": [1, "a"], "mapping": {"a": 1}, "nan": float("nan"), "array": np.ones(2),
}  # fmt: skip
TAKES = {  # which of them are allowed
    "hidden_layer_sizes": ["large"], "activation": [], "solver": [], "alpha": ["2.5", "large"],
    "batch_size": ["large"], "learning_rate": [], "learning_rate_init": ["2.5", "large"],
    "power_t": ["2.5", "large"], "max_iter": ["large"], "shuffle": ["True"], "random_state": ["None"],
    "tol": ["2.5", "large"], "verbose": ["True", "large"], "warm_start": ["True"], "momentum": [],
    "nesterovs_momentum": ["True"], "early_stopping": ["True"], "validation_fraction": [], "beta_1": [], "beta_2": [],
    "epsilon": ["2.5", "large"], "n_iter_no_change": ["large"], "max_fun": ["large"], "loss": [],
    "class_weight": ["None"], "dropout": [], "batch_norm": ["True"], "clip_norm": ["None", "2.5", "large"],
    "schedule": ["None"], "callbacks": ["None"], "device": [], "dtype": [], "numerics": [],
    "layers": [],
}  # fmt: skip


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, NetworkClassifier, NetworkRegressor])
def test_wrong_values_of_every_parameter_are_refused_by_name(kind):
    for name in made(kind).get_params():
        for value in WRONG.keys() - set(TAKES[name]):
            one = made(kind, **{name: WRONG[value]})
            with pytest.raises((ValueError, TypeError, bp.DeviceError), match=name):
                one.fit(X[:8], Y[:8])
            assert not hasattr(one, "network_"), (name, value)


@pytest.mark.parametrize("classes", ["ab", 3, b"ab", {"a": 1}, True, [0, "a"], [0.0, np.nan]], ids=repr)
def test_wrong_classes_are_refused_by_name(classes):
    with pytest.raises(ValueError, match="classes are a list of all labels, and got"):
        made().partial_fit(X, Y, classes=classes)
    with pytest.raises(ValueError, match="classes are a list of all labels, and got"):
        made().partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y, classes=classes)


FIT = {
    "X": [None, "a", 3.0, object()],
    "y": [None, "a", 3.0, object()],
    "sample_weight": ["a", 3.0, object(), [None] * 80, [-1.0] * 80],
    "validation_data": ["a", 3.0, True, object(), (X,), {"X": 1}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FIT.items() for value in values])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_wrong_arguments_of_fit_are_refused_by_name(kind, name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        made(kind).fit(**({"X": X, "y": Y} | {name: value}))
