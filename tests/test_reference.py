"""PyTorch as a reference, where it is installed (`pip install -e '.[reference]'`). gpubp never needs it."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase
from test_infinities import Masked

torch = pytest.importorskip("torch", reason="PyTorch, a reference for gradients, is not installed")


def leaf(a: np.ndarray) -> object:
    return torch.tensor(np.array(a), dtype=torch.float64, requires_grad=True)


def close(a: np.ndarray, b: np.ndarray, relative: float = 1e-10) -> bool:
    """Equal to `relative` of the largest number."""
    return bool(np.abs(a - b).max() <= relative * max(np.abs(b).max(), 1e-3))


@pytest.mark.parametrize("case", [c for c in LAYERS if c.torch], ids=str)
def test_layers_in_float64(case: LayerCase, rng: np.random.Generator) -> None:
    """Outputs, dx and every parameter's gradient, with a Dense below, to 1e-10."""
    rows = case.x(rng)
    below = bp.Dense(case.shape[-1]) if case.inputs is None else None
    layers = bp.Sequential(below, case.layer) if below else bp.Sequential(case.layer)
    net = bp.Network(layers, case.shape[1:], device="cpu", dtype="float64")
    for array in net.parameters.values():
        array[...] = rng.normal(size=array.shape)
    at = "1." if below else "0."
    p = {name: leaf(a) for name, a in net.parameters.items()}
    x = torch.tensor(rows, dtype=torch.float64)
    if below:
        x = x @ p["0.W"] + p["0.b"]
    y = case.torch(torch, {n.removeprefix(at): a for n, a in p.items() if n.startswith(at)}, x)  # type: ignore[misc]
    target = rng.normal(size=tuple(y.shape))
    loss = ((y - torch.tensor(target)) ** 2).mean()
    loss.backward()
    ours, gradients = net.loss_and_gradients(bp.MeanSquaredError(), rows, target)
    assert ours == pytest.approx(loss.item(), rel=1e-12)
    for name, g in gradients.items():
        assert close(g, p[name].grad.numpy()), name  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", [c for c in LOSSES if c.torch], ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_losses_in_float64(case: LossCase, weighted: bool, rng: np.random.Generator) -> None:
    """Loss and gradient, rows weighted or not, to 1e-10."""
    inputs = (*case.shape[1:-1], 4)
    net = bp.Network(case.layers(), inputs, device="cpu", dtype="float64", seed=1)
    x, y = rng.normal(size=(case.shape[0], *inputs)), case.targets(rng, case.shape)
    w = rng.uniform(0.1, 2.0, case.shape[0]) if weighted else np.ones(case.shape[0])
    W, b = (leaf(a) for a in net.parameters.values())
    rows = case.torch(torch, torch.tensor(x) @ W + b, torch.tensor(np.asarray(y, "float64")))  # type: ignore[misc]
    rows = rows.reshape(case.shape[0], -1).mean(dim=1)
    loss = (rows * torch.tensor(w)).sum() / w.sum()
    loss.backward()
    ours, gradients = net.loss_and_gradients(case.loss, x, y, sample_weight=w if weighted else None)
    assert ours == pytest.approx(loss.item(), rel=1e-12)
    assert all(close(g, a.grad.numpy()) for g, a in zip(gradients.values(), (W, b), strict=True))  # type: ignore[attr-defined]


@pytest.mark.parametrize("clip", [None, 0.5], ids=["free", "clipped"])
@pytest.mark.parametrize("case", [c for c in OPTIMIZERS if c.torch], ids=str)
def test_optimizers_over_twenty_steps(case: OptimizerCase, clip: float | None, rng: np.random.Generator) -> None:
    """The same parameters after each of twenty full batches, to 1e-8; biases are not decayed, as here by default."""
    x, t = rng.normal(size=(16, 4)), rng.normal(size=(16, 2))
    net = bp.Network(bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2)), 4, device="cpu", dtype="float64")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), case.optimizer, clip_norm=clip)
    p = {name: leaf(a) for name, a in net.parameters.items()}
    decayed, others = [p["0.W"], p["2.W"]], [p["0.b"], p["2.b"]]
    groups: list[object] = [*decayed, *others]
    if case.optimizer.weight_decay:
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    theirs = case.torch(torch, groups)  # type: ignore[misc]
    for _ in range(20):
        theirs.zero_grad()
        y = torch.tanh(torch.tensor(x) @ p["0.W"] + p["0.b"]) @ p["2.W"] + p["2.b"]
        loss = ((y - torch.tensor(t)) ** 2).mean()
        loss.backward()
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(list(p.values()), float("inf"))
            for a in p.values():  # by exactly min(1, clip / norm), where PyTorch adds 1e-6 to the norm
                a.grad *= min(1.0, clip / norm.item())  # type: ignore[attr-defined]
        trainer.step(x, t)
        assert trainer.loss == pytest.approx(loss.item(), rel=1e-9)
        theirs.step()
    for name, a in net.parameters.items():
        assert close(a, p[name].detach().numpy(), 1e-8), name  # type: ignore[attr-defined]


def test_a_whole_network_in_float32(rng: np.random.Generator) -> None:
    """784-128-64-10 with softmax cross-entropy: gradients to 1e-5 of PyTorch's in float64."""
    layers = bp.Sequential(bp.Dense(128), bp.ReLU(), bp.Dense(64), bp.ReLU(), bp.Dense(10))
    net = bp.Network(layers, 784, device="cpu")
    x, y = rng.uniform(size=(64, 784)).astype("float32"), rng.integers(0, 10, 64)
    p = {name: leaf(a) for name, a in net.parameters.items()}
    h = torch.relu(torch.tensor(x, dtype=torch.float64) @ p["0.W"] + p["0.b"])
    h = torch.relu(h @ p["2.W"] + p["2.b"])
    loss = torch.nn.functional.cross_entropy(h @ p["4.W"] + p["4.b"], torch.tensor(y))
    loss.backward()
    ours, gradients = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), x, y)
    assert ours == pytest.approx(loss.item(), rel=1e-6)
    for name, g in gradients.items():
        assert close(g, p[name].grad.numpy(), 1e-5), name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("shape", "momentum"),
    [((12, 5), 0.8), ((12, 4, 3, 5), 0.8), ((12, 5), None)],
    ids=["rows", "images", "cumulative"],
)
def test_batch_norm_in_training_and_evaluation(
    shape: tuple[int, ...], momentum: float | None, rng: np.random.Generator
) -> None:
    """Twelve steps with a layer upstream: parameters, running values, and what is predicted by them. PyTorch's momentum
    runs the other way, and its running variance is the unbiased one, n / (n - 1) times ours at every step."""
    lr, n, theirs = 0.1, int(np.prod(shape[:-1])) // 2, None if momentum is None else 1 - momentum
    layers = bp.Sequential(bp.Dense(5), bp.BatchNorm(momentum=momentum), bp.Tanh(), bp.Dense(2))
    net = bp.Network(layers, shape[1:], device="cpu", dtype="float64")
    for name in ("1.gamma", "1.beta"):
        net.parameters[name][...] = rng.normal(size=5)
    torch_net = torch.nn.Sequential(
        torch.nn.Linear(5, 5), torch.nn.BatchNorm1d(5, momentum=theirs), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    ).double()
    with torch.no_grad():
        for i, names in ((0, ("W", "b")), (1, ("gamma", "beta")), (3, ("W", "b"))):
            weight, bias = (torch.tensor(net.parameters[f"{i}.{name}"]) for name in names)
            torch_net[i].weight.copy_(weight.T if i != 1 else weight)
            torch_net[i].bias.copy_(bias)
    X, y = rng.normal(size=shape), rng.normal(size=(*shape[:-1], 2))
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(lr), batch_size=6)
    optimizer = torch.optim.SGD(torch_net.parameters(), lr)
    for k in range(12):
        part = slice(6 * (k % 2), 6 * (k % 2) + 6)
        trainer.step(X[part], y[part])
        optimizer.zero_grad()
        answers = torch_net(torch.tensor(X[part]).reshape(-1, 5))
        torch.nn.functional.mse_loss(answers, torch.tensor(y[part]).reshape(-1, 2)).backward()
        optimizer.step()
    assert close(net.parameters["0.W"], torch_net[0].weight.detach().numpy().T, 1e-10)
    assert close(net.parameters["1.gamma"], torch_net[1].weight.detach().numpy(), 1e-10)
    assert close(net.states["1.mean"], torch_net[1].running_mean.numpy(), 1e-10)
    ones = 0.0 if momentum is None else momentum**12  # what is left of the first 1 in either
    unbiased = (net.states["1.var"] - ones) * n / (n - 1) + ones
    assert close(unbiased, torch_net[1].running_var.numpy(), 1e-10)
    with torch.no_grad():
        torch_net[1].running_var.copy_(torch.tensor(net.states["1.var"]))
        want = torch_net.eval()(torch.tensor(X).reshape(-1, 5)).numpy().reshape(*shape[:-1], 2)
    assert close(net.predict(X), want, 1e-10)


@pytest.mark.parametrize("shape", [(10, 3), (10, 4, 2, 3)], ids=["rows", "images"])
def test_batch_norm_with_padding_and_weights(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """Rows of weight 2 are to PyTorch the row twice, those of weight 0 not there, and so are those that fill up the
    last batch: the running mean is the same after every epoch, and the variance by n / (n - 1) of the numbers there."""
    momentum, lr = 0.7, 0.05
    layers = bp.Sequential(bp.Dense(4), bp.BatchNorm(momentum=momentum), bp.Tanh(), bp.Dense(2))
    net = bp.Network(layers, shape[1:], device="cpu", dtype="float64")
    for name in ("1.gamma", "1.beta"):
        net.parameters[name][...] = rng.normal(size=4)
    p = {name: leaf(a) for name, a in net.parameters.items()}
    mean, var, biased = torch.zeros(4).double(), torch.ones(4).double(), np.ones(4)
    X, y = rng.normal(size=shape), rng.normal(size=(*shape[:-1], 2))
    w = np.array([1, 2, 0, 1, 3, 1, 0, 2, 1, 2])  # batches of 4, 4 and 2, which is filled up to 4
    optimizer = torch.optim.SGD(list(p.values()), lr)
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(lr), batch_size=4)
    for _ in range(3):
        trainer.fit(X, y, epochs=1, shuffle=False, sample_weight=w)
        for start in (0, 4, 8):
            rows = np.repeat(np.arange(start, min(start + 4, 10)), w[start : start + 4])
            x = (torch.tensor(X[rows]) @ p["0.W"] + p["0.b"]).reshape(-1, 4)
            n, before = len(x), var.clone()
            h = torch.nn.functional.batch_norm(x, mean, var, p["1.gamma"], p["1.beta"], True, 1 - momentum, 1e-5)
            loss = torch.nn.functional.mse_loss(
                torch.tanh(h) @ p["3.W"] + p["3.b"], torch.tensor(y[rows]).reshape(-1, 2)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            unbiased = (var - momentum * before).numpy() / (1 - momentum)  # of this batch, as PyTorch takes it
            biased = momentum * biased + (1 - momentum) * unbiased * (n - 1) / n
        assert close(net.states["1.mean"], mean.numpy())
        assert close(net.states["1.var"], biased)
    for name, a in net.parameters.items():
        assert close(a, p[name].detach().numpy()), name  # type: ignore[attr-defined]


def test_logits_of_masked_classes(rng: np.random.Generator) -> None:
    """A logit of -∞: loss and gradient of the other classes in float32; an infinite loss where the target is masked."""
    x, layers = rng.normal(size=(5, 4)).astype("float32"), bp.Sequential(bp.Dense(3), Masked())
    net = bp.Network(layers, 4, device="cpu")
    for target in ([0, 1, 1, 0, 1], [0, 1, 2, 0, 1]):
        W = torch.tensor(net.parameters["0.W"], requires_grad=True)
        value = torch.nn.functional.cross_entropy(torch.tensor(x) @ W + torch.tensor(Masked.MASK), torch.tensor(target))
        value.backward()
        ours, gradients = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), x, target)
        assert ours == pytest.approx(value.item(), rel=1e-6)
        np.testing.assert_allclose(gradients["0.W"], W.grad.numpy(), rtol=1e-5, atol=1e-8)  # type: ignore[union-attr]
