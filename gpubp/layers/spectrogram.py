"""MelSpectrogram: sound as a picture of how loud each pitch is over time.

    x (B, N)   sound, r samples a second          y (B, n, m)   n frames in time, m bands of pitch

A frame is w samples and begins s samples after the one before it; there are n = ⌊(N - w) / s⌋ + 1. Its sound is made of
K = ⌊w/2⌋ + 1 frequencies, number k of them k r / w Hz.

    f (B n, w)   F (w, 2K)   z (B n, 2K)   p (B n, K)   M (K, m)   q (B n, m)

F holds cosines and sines under Hann's window h, which lets a frame begin and end softly. The last samples, which fill
no frame, are not used.

    h[t] = ½ - ½ cos(2π t / w)       F[t, k] = h[t] cos(2π t k / w)       F[t, K + k] = h[t] sin(2π t k / w)

Column j of M is a triangle over the frequencies: 0 up to the edge e[j], 1 at e[j+1], 0 from e[j+2] on. The m + 2 edges
from 0 to r/2 Hz are equally far apart in mel, as the ear hears pitch:

    mel = 2595 log₁₀(1 + Hz / 700)

This is the variant of HTK (S. Young et al., The HTK Book, 2006, section 5.4; the formula is that of D. O'Shaughnessy,
Speech Communication, 1987). The other in use is M. Slaney's (Auditory Toolbox, 1998): linear below 1000 Hz, and with
triangles of equal areas.

    Forward   (1) f[(b, i), t] = x[b, i s + t]
              (2) z  = f F                       the parts of the frame that swing as the cosine, and as the sine
              (3) p  = z_cos² + z_sin²           the power of each frequency, whatever its phase
              (4) q  = p M                       the power of each band
              (5) y  = log(q + ε)                loudness, as the ear hears it; silence is log ε
    Backward  (6) dq = dy / (q + ε)
              (7) dp = dq Mᵀ                     as in `dense`: M is a matrix of weights that are not trained
              (8) dz = 2 z [dp dp]               p has z_cos and z_sin as squares
              (9) df = dz Fᵀ
              (10) dx[b, t] = Σ_i df[(b, i), t - i s]      over the frames i that sample t is in

f, z and p are never in memory as a whole, but for some frames at a time (`Workspace.piece`); backward makes them again
where there were several such pieces. (2) and (4) are computed in float32 or float64 whatever `precision` other products
have: a quiet band is a small number beside large ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Shape
from ..config import Count, Positive
from ..errors import ShapeError
from ..formula import log
from ..formula.host import cos, log10, power, sin
from .base import Layer, Workspace
from .dense import rows as matrix
from .plan import Plan
from .windows import blocks

FRAME = 0.032  # seconds, where no window is given: some periods of the lowest voice, in which a sound hardly changes

Value = Any  # a number, an array, or a symbol of a formula
Block = tuple[slice, slice]  # rows, and frames of them


@dataclass(frozen=True, repr=False)
class MelSpectrogram(Layer):
    """The logarithm of the power in each band of pitch and frame of time: (B, samples) -> (B, frames, bands).

    rate: samples a second. window: samples of a frame, None for 32 ms. hop: samples from one frame to the next, None
    for half a window. bands: of pitch, equally wide in mel (HTK's variant). eps: is added to the power, so that silence
    has a logarithm; it is small beside that of sounds whose samples reach from -1 to 1. Shorter sounds are filled up
    with silence, 0, and need no mask.

    Raises ValueError if a band is so narrow that none of the window's frequencies lies in it, and ShapeError for inputs
    that are no rows of samples, or shorter than a window.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.MelSpectrogram(rate=8000), input_shape=8000, device="cpu")   # a second
    >>> net.output_shape
    (61, 40)
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    >>> int(net.predict(tone[None])[0, 30].argmax())                # the band of 1000 Hz
    18
    """

    rate: Count
    window: Count | None = None
    hop: Count | None = None
    bands: Count = 40
    eps: Positive = 1e-6
    exact = True

    def __post_init__(self) -> None:
        if not _empty(self._triangles()):
            return
        most = next((m for m in range(self.bands - 1, 0, -1) if not _empty(_triangles(self.rate, self._w, m))), 0)
        advice = f"take bands={most} or fewer, or a longer window" if most else "take a longer window"
        raise ValueError(
            f"MelSpectrogram has {self.bands} bands up to {self.rate / 2:g} Hz, and none of the frequencies of its "
            f"window, which are {self.rate / self._w:.4g} Hz apart, lies in the narrowest; {advice}"
        )

    @property
    def _w(self) -> int:
        return max(2, round(FRAME * self.rate)) if self.window is None else self.window

    @property
    def _s(self) -> int:
        return max(1, self._w // 2) if self.hop is None else self.hop

    def _waves(self) -> np.ndarray[Any, Any]:
        """F (w, 2K); t k is taken modulo w, so that no angle is large."""
        w = self._w
        t, k = np.arange(w)[:, None], np.arange(w // 2 + 1)
        angle = 2 * np.pi * (t * k % w) / w
        hann = 0.5 - 0.5 * cos(2 * np.pi * t / w)
        return np.concatenate([hann * cos(angle), hann * sin(angle)], axis=1)

    def _triangles(self) -> np.ndarray[Any, Any]:
        return _triangles(self.rate, self._w, self.bands)

    def plan(self, x: Shape) -> Plan:
        """F, M, and what is kept of every frame."""
        if len(x) != 2:
            raise ShapeError(f"expects sounds, (batch, samples), and got the shape {x}")
        if x[1] < self._w:
            raise ShapeError(f"has windows of {self._w} samples and got sounds of {x[1]}, which are shorter")
        F, M = self._waves(), self._triangles()
        y = (x[0], (x[1] - self._w) // self._s + 1, self.bands)

        def pieces(piece: int, wants_dx: bool) -> dict[str, Shape]:
            some, frames = self._blocks(y, piece, first=True)[0]  # a largest one
            count = some.stop * frames.stop
            return {"f": (count, self._w), "z": (count, F.shape[1]), "p": (count, len(M))}

        return Plan(
            output=y,
            arrays={"y": y, "q": y, "dq": y, "dx": x, "F": F.shape, "M": M.shape},
            constants={"exact_F": F, "exact_M": M},
            overwrites=("y", "dx"),
            reads=("x",),
            pieces=pieces,
        )

    def _blocks(self, y: Shape, piece: int, first: bool = False) -> list[Block]:
        return blocks(y[0], y[1], 2 * (self._w // 2 + 1), piece, first)

    def loudness(self, q: Value) -> Value:
        """(5)"""
        return log(q + self.eps)

    def power_gradient(self, dy: Value, q: Value) -> Value:
        """(6)"""
        return dy / (q + self.eps)

    def forward(self, ws: Workspace, x: Array) -> Array:
        """(1) to (5)"""
        ws.x = x
        ws.xp.copyto(ws.F, ws.exact_F)  # in the network's precision
        ws.xp.copyto(ws.M, ws.exact_M)
        for block in self._blocks(ws.y.shape, ws.piece):
            _, p = self._parts(ws, block)
            ws.be.gemm(p, ws.M, out=matrix(ws.q[block]), exact=True)  # (4)  q = p M
        return ws.be.apply(self.loudness, ws.q, out=ws.y)  # (5)  y = log(q + ε)

    def _parts(self, ws: Workspace, block: Block, there: bool = False) -> tuple[Array, Array]:
        """z and p of some frames. there: forward has left them."""
        some, frames = block
        sounds, count, w, s = some.stop - some.start, frames.stop - frames.start, self._w, self._s
        f, z, p = (a[: sounds * count] for a in (ws.f, ws.z, ws.p))
        if not there:
            sound = ws.x[some, None, frames.start * s : (frames.stop - 1) * s + w, None]
            ws.be.patches(sound, out=f.reshape(sounds, 1, count, 1, w, 1), stride=(1, s), padding=(0, 0))  # (1)
            ws.be.gemm(f, ws.F, out=z, exact=True)  # (2)  z = f F
            K = p.shape[1]
            ws.be.apply(_power, z[:, :K], z[:, K:], out=p)  # (3)  p = z_cos² + z_sin²
        return z, p

    def input_gradient(self, ws: Workspace, dy: Array) -> Array:
        """(6) to (10)"""
        ws.be.apply(self.power_gradient, dy, ws.q, out=ws.dq)  # (6)  dq = dy / (q + ε)
        ws.xp.copyto(ws.dx, ws.be.constant(0.0, ws.dtype))
        parts, K = self._blocks(ws.y.shape, ws.piece), ws.M.shape[0]
        for block in parts:
            z, p = self._parts(ws, block, there=len(parts) == 1)
            df = ws.f[: len(z)]
            ws.be.gemm(matrix(ws.dq[block]), ws.M.T, out=p, exact=True)  # (7)  dp = dq Mᵀ, in the place of p
            for half in (z[:, :K], z[:, K:]):
                ws.be.apply(_squares_gradient, half, p, out=half)  # (8)  dz = 2 z [dp dp], in the place of z
            ws.be.gemm(z, ws.F.T, out=df, exact=True)  # (9)  df = dz Fᵀ, in the place of f
            self._add_frames(ws, block, df)
        return ws.dx

    def _add_frames(self, ws: Workspace, block: Block, df: Array) -> None:
        """(10), s samples of all frames at a time: those are all different samples, so the sums have a fixed order."""
        some, frames = block
        w, s, count = self._w, self._s, frames.stop - frames.start
        df, starts = df.reshape(-1, count, w), range(0, w, s)
        if ws.be.numerics == "exact":  # backwards a sample's frames come first to last, in whatever pieces
            starts = starts[::-1]
        for j in starts:
            m, first = min(s, w - j), frames.start * s + j
            last = first + (count - 1) * s
            # the last frame apart, because fewer than s samples may follow it
            for start, held in ((first, df[:, :-1, j : j + m]), (last, df[:, -1:, j : j + m])):
                step = s if held.shape[1] > 1 else m
                if held.shape[1]:
                    x = ws.dx[some, start : start + held.shape[1] * step].reshape(len(df), -1, step)[:, :, :m]
                    ws.xp.add(x, held, out=x)  # (10)  dx[b, t] = Σ_i df[(b, i), t - i s]


def _power(cosine: Value, sine: Value) -> Value:
    """(3)"""
    return cosine * cosine + sine * sine


def _squares_gradient(z: Value, dp: Value) -> Value:
    """(8)"""
    return 2.0 * z * dp


def _triangles(rate: int, w: int, m: int) -> np.ndarray[Any, Any]:
    """M (K, m)."""
    hz = np.arange(w // 2 + 1)[:, None] * rate / w
    top = log10(1 + rate / 2 / 700)  # of the scale, in 2595 mel
    e = 700 * (power(10.0, np.linspace(0, top, m + 2)) - 1)
    up, down = (hz - e[:-2]) / (e[1:-1] - e[:-2]), (e[2:] - hz) / (e[2:] - e[1:-1])
    M: np.ndarray[Any, Any] = np.maximum(0, np.minimum(up, down))
    return M


def _empty(M: np.ndarray[Any, Any]) -> bool:
    """Whether a band has no frequency."""
    return not (M > 1e-9).any(axis=0).all()
