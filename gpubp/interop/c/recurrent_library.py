"""The functions in C of recurrent layers, attention and spectrograms; see `library`."""

from __future__ import annotations

RECURRENT: dict[str, str] = {
    "simple_rnn": """\
/* h = tanh(x w + b + h u), step after step. h0: the state before all steps, NULL for zeros. y: all states (steps, m),
   or the last one. reverse: whether the last step is read first. a: memory of m numbers. */
static void $simple_rnn(const float *x, const float *w, const float *u, const float *b, const float *h0, float *a,
                        float *y, size_t steps, size_t n, size_t m, int all, int reverse)
{
    const float *before = h0;
    for (size_t step = 0; step < steps; step++) {
        const size_t t = reverse ? steps - 1 - step : step;
        float *h = all ? y + t * m : y;
        $begin(b, a, m);
        $add_products(x + t * n, w, a, n, m, m);
        if (before)
            $add_products(before, u, a, m, m, m);
        for (size_t j = 0; j < m; j++)
            h[j] = tanhf(a[j]);
        before = h;
    }
}
""",
    "gru": """\
/* Gated recurrent unit; the parts of w, u and b are r, z, n. h0, y, all, reverse: as in a simple one. a: memory of 4 m
   numbers. */
static void $gru(const float *x, const float *w, const float *u, const float *b, const float *b_u, const float *h0,
                 float *a, float *y, size_t steps, size_t n, size_t m, int all, int reverse)
{
    const float *before = h0;
    float *q = a + 3 * m;
    for (size_t step = 0; step < steps; step++) {
        const size_t t = reverse ? steps - 1 - step : step;
        float *h = all ? y + t * m : y;
        $begin(b, a, 3 * m);
        $add_products(x + t * n, w, a, n, 3 * m, 3 * m);
        $copy(b_u, q, m);
        if (before) {
            $add_products(before, u, a, m, 2 * m, 3 * m);
            $add_products(before, u + 2 * m, q, m, m, 3 * m);
        }
        for (size_t j = 0; j < m; j++) {
            const float r = $sigmoid(a[j]), z = $sigmoid(a[m + j]), made = tanhf(a[2 * m + j] + r * q[j]);
            h[j] = made + z * ((before ? before[j] : 0.0f) - made);
        }
        before = h;
    }
}
""",
    "lstm": """\
/* Long short-term memory; the parts of w, u and b are i, f, g, o. h0, y, all, reverse: as in a simple one. c0: the
   first memory cells, NULL for zeros. a: memory of 5 m numbers. */
static void $lstm(const float *x, const float *w, const float *u, const float *b, const float *h0, const float *c0,
                  float *a, float *y, size_t steps, size_t n, size_t m, int all, int reverse)
{
    const float *before = h0;
    float *c = a + 4 * m;
    $begin(c0, c, m);
    for (size_t step = 0; step < steps; step++) {
        const size_t t = reverse ? steps - 1 - step : step;
        float *h = all ? y + t * m : y;
        $begin(b, a, 4 * m);
        $add_products(x + t * n, w, a, n, 4 * m, 4 * m);
        if (before)
            $add_products(before, u, a, m, 4 * m, 4 * m);
        for (size_t j = 0; j < m; j++) {
            const float i = $sigmoid(a[j]), f = $sigmoid(a[m + j]), g = tanhf(a[2 * m + j]);
            c[j] = f * c[j] + i * g;
            h[j] = $sigmoid(a[3 * m + j]) * tanhf(c[j]);
        }
        before = h;
    }
}
""",
    "attention": """\
/* o (steps, n): each step's query looks at the keys of all steps, or if causal of those up to its own, and takes their
   values. qkv (steps, 3 n): queries, keys and values of all heads. scores: memory of `steps` numbers. */
static void $attention(const float *qkv, const float *bq, float *scores, float *o, float factor, size_t steps, size_t n,
                       size_t heads, int causal)
{
    const size_t d = n / heads;
    for (size_t t = 0; t < steps; t++)
        for (size_t first = 0; first < n; first += d) {
            const size_t seen = causal ? t + 1 : steps;
            const float *query = qkv + t * 3 * n + first;
            for (size_t k = 0; k < seen; k++) {
                const float *key = qkv + k * 3 * n + n + first;
                scores[k] = 0.0f;
                for (size_t j = 0; j < d; j++)
                    scores[k] += (query[j] + bq[first + j]) * factor * key[j];
            }
            $softmax(scores, 1, seen, 1);
            $begin(NULL, o + t * n + first, d);
            $add_products(scores, qkv + 2 * n + first, o + t * n + first, seen, d, 3 * n);
        }
}
""",
    "spectrogram": """\
/* y (frames, bands) = log(p m + eps), p being the power of the frequencies of a frame; f (window, 2 K) has their
   cosines and sines, m (K, bands) the bands. z: memory of 2 K numbers, K = window / 2 + 1. */
static void $spectrogram(const float *x, const float *f, const float *m, float *z, float *y, float eps, size_t frames,
                         size_t window, size_t hop, size_t bands)
{
    const size_t count = window / 2 + 1;
    for (size_t i = 0; i < frames; i++, x += hop, y += bands) {
        $begin(NULL, z, 2 * count);
        $add_products(x, f, z, window, 2 * count, 2 * count);
        for (size_t k = 0; k < count; k++)
            z[k] = z[k] * z[k] + z[count + k] * z[count + k];
        $begin(NULL, y, bands);
        $add_products(z, m, y, count, bands, bands);
        for (size_t j = 0; j < bands; j++)
            y[j] = logf(y[j] + eps);
    }
}
""",
}
