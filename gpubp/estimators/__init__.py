"""scikit-learn estimators: MLPClassifier and MLPRegressor with gpubp, and estimators of any layers.

    from gpubp.estimators import MLPClassifier          # instead of: from sklearn.neural_network import MLPClassifier

scikit-learn's parameters and attributes keep their names, defaults and meanings, and with the same `random_state`
training takes the same way, up to rounding; what scikit-learn's classes lack is added. The rows' weights, class weights
and penalty are those of gpubp's one loss,

    L = Σᵢ wᵢ ℓᵢ / Σ w + ½ α Σθ² / Σ w      over a batch, biases left out of the second sum

`import gpubp` does not load this module: it needs scikit-learn, `pip install 'gpubp[sklearn]'`.
"""

from ..errors import MissingDependencyError

try:
    import sklearn  # noqa: F401
except ImportError:
    raise MissingDependencyError("gpubp.estimators needs scikit-learn: pip install 'gpubp[sklearn]'") from None

from .mlp import MLPClassifier, MLPRegressor
from .wrapped import NetworkClassifier, NetworkRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NetworkClassifier", "NetworkRegressor"]
