"""Cases of other projects, run on gpubp: ONNX's node cases, and PyTorch's module samples where PyTorch is installed.

Each case is written with gpubp's layers, losses and optimizers. What can't be written so is in a table with its reason;
a case that can be written must give the numbers of the case. `pytest -s tests/test_conformance.py` prints all.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import conformance_onnx_windows  # noqa: F401  (enters its operators)
from conformance_onnx import BY_PRODUCTS, OPERATORS, Case
from conformance_runs import Outcome, close, run
from conformance_torch import MODULES, Same
from conformance_torch_losses import LOSSES as TORCH_LOSSES
from conformance_torch_losses import compare_loss


def _onnx_cases() -> list[Case]:
    """The node cases whose graph is one node that gpubp has."""
    node = pytest.importorskip("onnx.backend.test.case.node")
    from onnx import helper

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = node.collect_testcases(None)
    cases = []
    for case in found:
        nodes = case.model.graph.node
        if len(nodes) > 1 or nodes[0].op_type not in OPERATORS or nodes[0].domain == "ai.onnx.ml":
            continue
        given = {a.name: helper.get_attribute_value(a) for a in nodes[0].attribute}
        arrays, wanted = iter(case.data_sets[0][0]), case.data_sets[0][1]
        inputs = [next(arrays) if name else None for name in nodes[0].input]
        has = [bool(name) for name in nodes[0].output]
        half = inputs[0].dtype.name in ("float16", "bfloat16")  # its rounding is not repeated
        tolerance = (1e-2, 1e-3) if half else (case.rtol, case.atol)
        cases.append(Case(case.name, nodes[0].op_type, given, inputs, list(wanted), has, tolerance))
    return cases


def _compare(case: Case) -> None:
    """Raise AssertionError where gpubp's outputs are not the case's."""
    given = list(OPERATORS[case.operator](case))
    skipped = BY_PRODUCTS.get(case.operator, {})
    places = [k for k, there in enumerate(case.has) if there]
    wanted = {k: a for k, a in zip(places, case.wanted, strict=True) if k not in skipped}
    ours = [given[k] for k in wanted]
    close(
        [np.asarray(a, np.float64) for a in ours], [np.asarray(a, np.float64) for a in wanted.values()], *case.tolerance
    )


def test_onnx_node_cases() -> None:
    outcome = Outcome()
    for case in _onnx_cases():
        outcome.add(case.name, case.operator, lambda case=case: _compare(case))  # type: ignore[misc]
    outcome.print()
    assert not outcome.unequal
    assert outcome.equal.total() >= 280  # of ONNX 1.23; other versions have others


def _torch_samples(torch: Any) -> list[tuple[str, Any, Any]]:
    """(name, class of the module, sample) of all modules that gpubp has, in training, float64."""
    pytest.importorskip("expecttest", reason="PyTorch's own tests need it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_modules import module_db
    found = []
    for info in module_db:
        if info.name in MODULES or info.name in TORCH_LOSSES:
            torch.manual_seed(0)
            for sample in info.module_inputs_func(
                info, device="cpu", dtype=torch.float64, requires_grad=True, training=True
            ):
                found.append((info.name, info.module_cls, sample))
    return found


def _module(torch: Any, made: Any, sample: Any) -> tuple[Any, list[Any]]:
    """The module in float64, with parameters of its own, and its inputs. Weights of classes are made positive,
    as gpubp wants them; the samples of KLDivLoss, logarithms of negative numbers, are drawn anew as distributions."""
    inputs = [*sample.forward_input.args, *sample.forward_input.kwargs.values()]
    arguments = sample.constructor_input
    m = made(*arguments.args, **arguments.kwargs).to(torch.float64)
    if "Lazy" in type(m).__name__:
        m(*inputs)
    with torch.no_grad():
        for p in m.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype))
        if "weight" in dict(m.named_buffers()):
            m.weight = m.weight.abs()
        if type(m).__name__ == "KLDivLoss" and inputs[1].ndim == 2:
            z, q = (torch.randn(a.shape, dtype=a.dtype).log_softmax(dim=1) for a in inputs)
            inputs = [z, q if m.log_target else q.exp()]
    return m, inputs


def _compare_module(torch: Any, name: str, made: Any, sample: Any) -> None:
    """Raise AssertionError where y, dx, a gradient or a state differs by more than 1e-9."""
    m, inputs = _module(torch, made, sample)
    x = inputs[0].detach().clone()
    arrays = [tuple(b.detach().numpy() for b in a) if isinstance(a, tuple) else a.detach().numpy() for a in inputs]
    same: Same = MODULES[name](m, tuple(arrays))
    named = {n: p.detach().numpy() for n, p in m.named_parameters()}
    states = {n: b.detach().numpy().copy() for n, b in m.named_buffers()}
    given = [inputs[1]] if len(inputs) > 1 and not isinstance(inputs[1], tuple) else list(*inputs[1:2])
    starts = [s.detach().clone().requires_grad_() for s in given]
    for h, s in zip("hc", starts, strict=False):
        named |= {f"{h}0 {k}": row.detach().numpy() for k, row in enumerate(s)}
    x.requires_grad_(x.is_floating_point())
    arguments = () if not starts else (starts[0],) if len(starts) == 1 else (tuple(starts),)
    out = m(x, *arguments)
    y = out[0] if isinstance(out, tuple) else out
    dy = torch.randn(y.shape, dtype=y.dtype)
    y.backward(dy)

    layer, rows = same.layer, same.rows(x.detach().numpy())
    parameters = {ours: of(named) for ours, of in same.weights.items()}
    shapes = layer.plan(rows.shape).all_parameters()
    parameters |= {zero: np.zeros(shapes[zero].shape) for zero in same.zeros}
    kept = {n: np.zeros(p.shape) for n, p in layer.plan(rows.shape).all_states().items()}
    kept |= {ours: states[theirs] for ours, theirs in same.states.items()}
    upward = _as_given(dy.numpy(), same, layer.plan(rows.shape).output)
    ours, dx, after = run(layer, rows, parameters, kept, dy=upward, training=True)
    gradients = {n: p.grad.numpy() for n, p in m.named_parameters()} | {"gradients": np.zeros(0)}
    for h, s in zip("hc", starts, strict=False):
        gradients |= {f"{h}0 {k}": row.numpy() for k, row in enumerate(s.grad)}
    compared = [(same.back(ours), y.detach().numpy())]
    if x.grad is not None:
        compared.append((dx, same.rows(x.grad.numpy())))
    compared += [(after[n], of(gradients)) for n, of in same.weights.items()]
    buffers = dict(m.named_buffers())
    compared += [(after[n], buffers[theirs].numpy()) for n, theirs in same.states.items()]
    close(*zip(*compared, strict=True), 1e-9, 1e-9)


def _as_given(dy: np.ndarray, same: Same, output: tuple[int, ...]) -> np.ndarray:
    """dy with the axes of the layer's output: where `back` moves numbers, they are moved back."""
    places = same.back(np.arange(dy.size).reshape(output))
    moved = np.empty(dy.size)
    moved[places.reshape(-1)] = dy.reshape(-1)
    return moved.reshape(output)


def _compare_loss(torch: Any, name: str, made: Any, sample: Any) -> None:
    """Raise AssertionError where the loss or its gradient differs by more than 1e-9."""
    m, inputs = _module(torch, made, sample)
    inputs = [a.detach() for a in inputs]
    compare_loss(m, inputs, TORCH_LOSSES[name](m, [a.numpy() for a in inputs]))


def test_pytorch_module_samples() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is a reference")
    outcome = Outcome()
    warnings.filterwarnings("ignore", "reduction: 'mean' divides the total loss", UserWarning)
    for name, made, sample in _torch_samples(torch):
        compare = _compare_loss if name in TORCH_LOSSES else _compare_module
        title = f"{name} {sample.desc}".strip()
        outcome.add(title, name, lambda c=compare, n=name, m=made, s=sample: c(torch, n, m, s))  # type: ignore[misc]
    outcome.print()
    assert not outcome.unequal
    assert outcome.equal.total() >= 500  # of PyTorch 2.13
