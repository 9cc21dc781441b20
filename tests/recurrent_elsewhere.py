"""How the parameters of recurrent layers are called and ordered in PyTorch, Keras and ONNX; see docs/sequences.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import gpubp as bp

Named = dict[str, Any]
ORDERS = {bp.SimpleRNN: (0,), bp.LSTM: (0, 3, 1, 2), bp.GRU: (1, 0, 2)}  # of ONNX's parts: iofc and zrh


def torch_weights(layer: Any, p: Named, suffix: str = "") -> Named:
    """PyTorch's names. Its W and U are transposed, and it has a second bias for all parts: only the last part of the
    GRU's can't be added to the first."""
    second = 0.0 * p["b"]
    if isinstance(layer, bp.GRU):
        second = second.clone() if hasattr(second, "clone") else second.copy()
        second[2 * layer.units :] = p["b_U"]
    return {
        f"weight_ih_l0{suffix}": p["W"].T,
        f"weight_hh_l0{suffix}": p["U"].T,
        f"bias_ih_l0{suffix}": p["b"],
        f"bias_hh_l0{suffix}": second,
    }


def keras_weights(layer: Any, p: Named) -> list[np.ndarray]:
    """What `set_weights` of Keras's layer takes: kernel, recurrent_kernel, bias; a GRU's parts are z, r, n there, and
    it has two rows of biases."""
    if not isinstance(layer, bp.GRU):
        return [p["W"], p["U"], p["b"]]
    W, U, b, second = (_ordered(a, 3, (1, 0, 2)) for a in (p["W"], p["U"], p["b"], _second_bias(layer, p)))
    return [W, U, np.stack([b, second])]


def onnx_weights(layer: Any, p: Named) -> Named:
    """ONNX's inputs W, R and B, with an axis for the direction; LSTM's parts are i, o, f, c there, GRU's z, r, h."""
    order = ORDERS[type(layer)]
    W, R, b, second = (_ordered(a, len(order), order) for a in (p["W"], p["U"], p["b"], _second_bias(layer, p)))
    return {"W": W.T[None], "R": R.T[None], "B": np.concatenate([b, second])[None]}


def from_onnx(layer: Any, W: np.ndarray, R: np.ndarray, B: np.ndarray) -> Named:
    """The parameters for ONNX's W, R and B, of one direction."""
    order = np.argsort(ORDERS[type(layer)])
    b, second = np.split(B, 2)
    W, U, b, second = (_ordered(a, len(order), tuple(order)) for a in (W.T, R.T, b, second))
    if not isinstance(layer, bp.GRU):
        return {"W": W, "U": U, "b": b + second}
    m = layer.units
    return {"W": W, "U": U, "b": b + np.where(np.arange(3 * m) < 2 * m, second, 0.0), "b_U": second[2 * m :]}


def _second_bias(layer: Any, p: Named) -> np.ndarray:
    second = np.zeros_like(p["b"])
    if isinstance(layer, bp.GRU):
        second[2 * layer.units :] = p["b_U"]
    return second


def _ordered(a: np.ndarray, parts: int, order: Sequence[int]) -> np.ndarray:
    """The parts of the last axis in another order."""
    split = np.split(a, parts, axis=-1)
    return np.concatenate([split[k] for k in order], axis=-1)


def in_torch(layer: Any, lengths: Sequence[int] | None = None) -> Callable[[Any, Named, Any], Any]:
    """(torch, p, x) -> y by PyTorch's own recurrent layer, with packed sequences if there are lengths."""

    def y(torch: Any, p: Named, x: Any) -> Any:
        return _run(torch, layer, p, x, lengths)

    return y


def _run(torch: Any, layer: Any, p: Named, x: Any, lengths: Sequence[int] | None) -> Any:
    both = isinstance(layer, bp.Bidirectional)
    one = layer.layer if both else layer
    m, n = one.units, x.shape[-1]
    kind = {bp.SimpleRNN: torch.nn.RNN, bp.LSTM: torch.nn.LSTM, bp.GRU: torch.nn.GRU}[type(one)]
    net = kind(n, m, batch_first=True, bidirectional=True, dtype=x.dtype)
    named = {name: torch.zeros_like(a) for name, a in net.named_parameters()}
    directions = (layer.children if both else (layer,)), (("0.", "1.") if both else ("",))
    own, states = [], {"h": [torch.zeros(m, dtype=x.dtype)] * 2, "c": [torch.zeros(m, dtype=x.dtype)] * 2}
    for direction, prefix in zip(*directions, strict=True):
        given = {name.removeprefix(prefix): a for name, a in p.items() if name.startswith(prefix)}
        named |= torch_weights(direction, given, "_reverse" if direction.reverse else "")
        own.append(int(direction.reverse))
        for name in states:
            if f"{name}0" in given:
                states[name][direction.reverse] = given[f"{name}0"]
    first = {name: torch.stack(two)[:, None].expand(2, len(x), m).contiguous() for name, two in states.items()}
    state = (first["h"], first["c"]) if isinstance(one, bp.LSTM) else first["h"]
    if lengths is not None:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        given_x = pack(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        out, last = torch.func.functional_call(net, named, (given_x, state))
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
    else:
        out, last = torch.func.functional_call(net, named, (x, state))
    if one.return_sequences:
        return torch.cat([out[..., k * m : (k + 1) * m] for k in own], dim=-1)
    h = last[0] if isinstance(one, bp.LSTM) else last
    return torch.cat([h[k] for k in own], dim=-1)
