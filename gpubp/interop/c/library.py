"""The functions in C that layers call, as they stand in the file that is written.

They are written with `float`; `in_type` makes them those of `double`. "$" stands before the names of the file's own
functions and types, for the prefix of a model. Only those that a network needs are written.

Products with weights are sums of four terms, which are added up in a small array on the stack. Compilers make vectors
of that at -O2 and -O3, and a processor without vectors reads and writes a sum once for four terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from .image_library import IMAGES
from .recurrent_library import RECURRENT
from .resized_library import RESIZED
from .words import TYPE

FUNCTIONS: dict[str, str] = {
    "copy": """\
static void $copy(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i];
}
""",
    "put_columns": """\
/* Writes the columns x (rows, n) into y, whose rows have `width` numbers. */
static void $put_columns(const float *x, float *y, size_t rows, size_t n, size_t width)
{
    for (size_t r = 0; r < rows; r++)
        $copy(x + r * n, y + r * width, n);
}
""",
    "add": """\
static void $add(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}
""",
    "subtract": """\
static void $subtract(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] -= x[i];
}
""",
    "scale": """\
static void $scale(float *y, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] *= factor;
}
""",
    "shift": """\
static void $shift(float *y, float by, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += by;
}
""",
    "larger": """\
/* The larger of two, NaN if either is NaN. */
static float $larger(float a, float b)
{
    return a > b || a != a ? a : b;
}
""",
    "smaller": """\
/* The smaller of two, NaN if either is NaN. */
static float $smaller(float a, float b)
{
    return a < b || a != a ? a : b;
}
""",
    "sign": """\
static float $sign(float a)
{
    return a > 0.0f ? 1.0f : a < 0.0f ? -1.0f : a;
}
""",
    "sigmoid": """\
static float $sigmoid(float a)
{
    return 1.0f / (1.0f + expf(-a));
}
""",
    "begin": """\
/* y = b, or 0 where there is no b. */
static void $begin(const float *b, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = b ? b[i] : 0.0f;
}
""",
    "add_products": """\
/* y[j] += sum of x[k] w[k][j] over k < n, for j < m; the rows of w have `width` numbers. Sums of 64 products at most
   are made apart and then added to y, because long sums have large rounding errors. */
static void $add_products(const float *x, const float *w, float *y, size_t n, size_t m, size_t width)
{
    float s[64];
    for (size_t left = 0; left < m; left += 64) {
        const size_t columns = m - left < 64 ? m - left : 64;
        for (size_t top = 0; top < n; top += 64) {
            const size_t terms = n - top < 64 ? n - top : 64;
            size_t k = top;
            for (size_t j = 0; j < columns; j++)
                s[j] = 0.0f;
            for (size_t fours = terms / 4; fours > 0; fours--, k += 4) {
                const float a = x[k], b = x[k + 1], c = x[k + 2], d = x[k + 3];
                const float *p = w + k * width + left, *q = p + width, *r = q + width, *t = r + width;
                for (size_t j = 0; j < columns; j++)
                    s[j] += (a * p[j] + b * q[j]) + (c * r[j] + d * t[j]);
            }
            for (size_t rest = terms % 4; rest > 0; rest--, k++)
                for (size_t j = 0; j < columns; j++)
                    s[j] += x[k] * w[k * width + left + j];
            for (size_t j = 0; j < columns; j++)
                y[left + j] += s[j];
        }
    }
}
""",
    "dense": """\
/* y (rows, m) = x (rows, n) w (n, m) + b */
static void $dense(const float *x, const float *w, const float *b, float *y, size_t rows, size_t n, size_t m)
{
    for (size_t r = 0; r < rows; r++, x += n, y += m) {
        $begin(b, y, m);
        $add_products(x, w, y, n, m, m);
    }
}
""",
    "sum_rows": """\
/* y (m) = the sum of n rows of m numbers, times a factor */
static void $sum_rows(const float *x, float *y, float factor, size_t n, size_t m)
{
    for (size_t j = 0; j < m; j++) {
        float sum = 0.0f;
        for (size_t first = 0; first < n; first += 32) {
            const size_t end = n - first > 32 ? first + 32 : n;
            float s = 0.0f;
            for (size_t k = first; k < end; k++)
                s += x[k * m + j];
            sum += s;
        }
        y[j] = sum * factor;
    }
}
""",
    "largest_of_rows": """\
/* y (m) = the largest numbers of n rows, column by column */
static void $largest_of_rows(const float *x, float *y, size_t n, size_t m)
{
    $copy(x, y, m);
    for (size_t k = 1; k < n; k++)
        for (size_t j = 0; j < m; j++)
            y[j] = $larger(y[j], x[k * m + j]);
}
""",
    "batch_norm": """\
/* y = gamma (y - mean) rstd + beta in every row of n numbers; rstd = 1 / sqrt(variance + eps) */
static void $batch_norm(float *y, const float *mean, const float *rstd, const float *gamma, const float *beta,
                        size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, y += n)
        for (size_t j = 0; j < n; j++)
            y[j] = gamma[j] * ((y[j] - mean[j]) * rstd[j]) + beta[j];
}
""",
    "layer_norm": """\
/* y = gamma (y - mean) / sqrt(variance + eps) + beta, mean and variance being those of each row of n numbers */
static void $layer_norm(float *y, const float *gamma, const float *beta, float eps, size_t rows, size_t n)
{
    const float share = 1.0f / (float)n;
    for (size_t r = 0; r < rows; r++, y += n) {
        float sum, rstd;
        $sum_rows(y, &sum, share, n, 1);
        for (size_t j = 0; j < n; j++)
            y[j] -= sum;
        sum = 0.0f;
        for (size_t first = 0; first < n; first += 32) {
            const size_t end = n - first > 32 ? first + 32 : n;
            float s = 0.0f;
            for (size_t j = first; j < end; j++)
                s += y[j] * y[j];
            sum += s;
        }
        rstd = 1.0f / sqrtf(sum * share + eps);
        for (size_t j = 0; j < n; j++)
            y[j] = gamma[j] * (y[j] * rstd) + beta[j];
    }
}
""",
    "rms_norm": """\
/* y = gamma y / sqrt(mean of squares + eps), in every row of n numbers */
static void $rms_norm(float *y, const float *gamma, float eps, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, y += n) {
        float sum = 0.0f;
        for (size_t first = 0; first < n; first += 32) {
            const size_t end = n - first > 32 ? first + 32 : n;
            float s = 0.0f;
            for (size_t j = first; j < end; j++)
                s += y[j] * y[j];
            sum += s;
        }
        sum = 1.0f / sqrtf(sum / (float)n + eps);
        for (size_t j = 0; j < n; j++)
            y[j] = gamma[j] * (y[j] * sum);
    }
}
""",
    "group_norm": """\
/* y = gamma (y - mean) / sqrt(variance + eps) + beta in y (places, n), for every `width` columns together */
static void $group_norm(float *y, const float *gamma, const float *beta, float eps, size_t places, size_t n,
                        size_t width)
{
    const float share = 1.0f / ((float)places * (float)width);
    for (size_t c = 0; c < n; c += width) {
        float mean = 0.0f, var = 0.0f;
        for (size_t first = 0; first < places; first += 32) {
            const size_t end = places - first > 32 ? first + 32 : places;
            float s = 0.0f;
            for (size_t p = first; p < end; p++)
                for (size_t j = c; j < c + width; j++)
                    s += y[p * n + j];
            mean += s;
        }
        mean *= share;
        for (size_t first = 0; first < places; first += 32) {
            const size_t end = places - first > 32 ? first + 32 : places;
            float s = 0.0f;
            for (size_t p = first; p < end; p++)
                for (size_t j = c; j < c + width; j++) {
                    y[p * n + j] -= mean;
                    s += y[p * n + j] * y[p * n + j];
                }
            var += s;
        }
        var = 1.0f / sqrtf(var * share + eps);
        for (size_t p = 0; p < places; p++)
            for (size_t j = c; j < c + width; j++)
                y[p * n + j] = gamma[j] * (y[p * n + j] * var) + beta[j];
    }
}
""",
    "embedding": """\
/* y (rows, n) = the rows of w whose numbers x holds; what is no number of one of its `words` rows counts as 0 */
static void $embedding(const float *x, const float *w, float *y, size_t rows, size_t words, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        const size_t word = x[r] >= 0.0f && x[r] < (float)words ? (size_t)x[r] : 0;
        $copy(w + word * n, y + r * n, n);
    }
}
""",
    "log_softmax": """\
/* along the middle axis of y (rows, n, apart), whose numbers lie that far apart */
static void $log_softmax(float *y, size_t rows, size_t n, size_t apart)
{
    for (size_t r = 0; r < rows; r++, y += (n - 1) * apart)
        for (size_t i = 0; i < apart; i++, y++) {
            float largest = y[0], sum = 0.0f;
            for (size_t j = 1; j < n; j++)
                largest = $larger(largest, y[j * apart]);
            for (size_t j = 0; j < n; j++)
                sum += expf(y[j * apart] - largest);
            sum = logf(sum);
            for (size_t j = 0; j < n; j++)
                y[j * apart] = y[j * apart] - largest - sum;
        }
}
""",
    "softmax": """\
/* along the middle axis of y (rows, n, apart), whose numbers lie that far apart */
static void $softmax(float *y, size_t rows, size_t n, size_t apart)
{
    for (size_t r = 0; r < rows; r++, y += (n - 1) * apart)
        for (size_t i = 0; i < apart; i++, y++) {
            float largest = y[0], sum = 0.0f;
            for (size_t j = 1; j < n; j++)
                largest = $larger(largest, y[j * apart]);
            for (size_t j = 0; j < n; j++) {
                y[j * apart] = expf(y[j * apart] - largest);
                sum += y[j * apart];
            }
            for (size_t j = 0; j < n; j++)
                y[j * apart] /= sum;
        }
}
""",
    "prelu": """\
/* y (rows, n), and a (n,) the slopes below 0 */
static void $prelu(float *y, const float *a, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, y += n)
        for (size_t j = 0; j < n; j++)
            y[j] = $larger(y[j], 0.0f) + a[j] * $smaller(y[j], 0.0f);
}
""",
    "sigmoids": """\
static void $sigmoids(float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = $sigmoid(y[i]);
}
""",
    "log_sigmoid": """\
/* y = log sigmoid(sign x); the sign is 1 or -1 */
static void $log_sigmoid(const float *x, float *y, float sign, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = $smaller(sign * x[i], 0.0f) - log1pf(expf(-fabsf(x[i])));
}
""",
    "add_logs": """\
/* y = log(e^x + e^y) */
static void $add_logs(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float part = expf(-fabsf(x[i] - y[i]));
        y[i] = $larger(y[i], x[i]) + log1pf(part >= 0.0f ? part : 0.0f);
    }
}
""",
    **IMAGES,
    **RECURRENT,
    **RESIZED,
}


def in_type(text: str, dtype: np.dtype[np.generic]) -> str:
    """Text in C that is written with `float`, for the type.

    >>> in_type("float y = 1.0f / expf(-x);", np.dtype("float64"))
    'double y = 1.0 / exp(-x);'
    """
    if TYPE[dtype.name] == "float":
        return text
    text = re.sub(r"\bfloat\b", "double", text)
    text = re.sub(r"\b(\d+\.\d+)f\b", r"\1", text)
    return re.sub(r"\b(sqrt|exp|log|log1p|tanh|fabs)f\(", r"\1(", text)


def with_needed(names: Iterable[str]) -> list[str]:
    """The functions of these names and all that they call, in the order of `FUNCTIONS`, so that none comes too late.

    >>> with_needed(["dense"])
    ['begin', 'add_products', 'dense']
    """
    todo, found = set(names), set()
    while todo:
        name = todo.pop()
        found.add(name)
        called = set(re.findall(r"\$(\w+)", FUNCTIONS[name]))
        called |= {"axis"} if called & {"taps_of", "taps"} else set()
        todo |= (called & FUNCTIONS.keys()) - found
    return [name for name in FUNCTIONS if name in found]
