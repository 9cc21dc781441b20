"""The functions in C that make the axes of images shorter or longer, one axis at a time; see `library`.

x and y are seen as (outer, places, inner) there: `inner` numbers stand together at each place.
"""

from __future__ import annotations

RESIZED: dict[str, str] = {
    "adaptive_average": """\
/* y (outer, m, inner) = the means of m windows that share out the n places of x (outer, n, inner) evenly */
static void $adaptive_average(const float *x, float *y, size_t outer, size_t n, size_t m, size_t inner)
{
    for (size_t k = 0; k < outer; k++, x += n * inner)
        for (size_t i = 0; i < m; i++, y += inner) {
            const size_t first = i * n / m, end = ((i + 1) * n + m - 1) / m;
            $sum_rows(x + first * inner, y, 1.0f / (float)(end - first), end - first, inner);
        }
}
""",
    "adaptive_largest": """\
/* y (outer, m, inner) = the largest numbers of m windows that share out the n places of x (outer, n, inner) evenly */
static void $adaptive_largest(const float *x, float *y, size_t outer, size_t n, size_t m, size_t inner)
{
    for (size_t k = 0; k < outer; k++, x += n * inner)
        for (size_t i = 0; i < m; i++, y += inner) {
            const size_t first = i * n / m, end = ((i + 1) * n + m - 1) / m;
            $largest_of_rows(x + first * inner, y, end - first, inner);
        }
}
""",
    "repeat": """\
/* y (outer, n f, inner) = each place of x (outer, n, inner) f times; places is outer n */
static void $repeat(const float *x, float *y, size_t places, size_t f, size_t inner)
{
    for (size_t k = 0; k < places; k++, x += inner)
        for (size_t r = 0; r < f; r++, y += inner)
            $copy(x, y, inner);
}
""",
    "between": """\
/* y (outer, n f, inner) = numbers on straight lines between the places of x (outer, n, inner), f for each place */
static void $between(const float *x, float *y, size_t outer, size_t n, size_t f, size_t inner)
{
    for (size_t k = 0; k < outer; k++, x += n * inner)
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < f; r++, y += inner) {
                const size_t twice = 2 * r + 1, before = i > 0 ? i - 1 : 0, behind = i + 1 < n ? i + 1 : i;
                const size_t other = twice < f ? before : twice > f ? behind : i;
                const float w = (float)(twice < f ? f - twice : twice - f) / (float)(2 * f);
                if (other == i)
                    $copy(x + i * inner, y, inner);
                else
                    for (size_t j = 0; j < inner; j++)
                        y[j] = (1.0f - w) * x[i * inner + j] + w * x[other * inner + j];
            }
}
""",
    "pad": """\
/* y (outer, front + n + behind, inner) = x (outer, n, inner) with new places at both ends of its axis, which hold
   0: the value, 1: x as in a mirror, 2: the nearest place of x, 3: x again */
static void $pad(const float *x, float *y, size_t outer, size_t n, size_t inner, size_t front, size_t behind, int mode,
                 float value)
{
    for (size_t k = 0; k < outer; k++, x += n * inner)
        for (size_t i = 0; i < front + n + behind; i++, y += inner) {
            size_t from = i - front;
            if (i < front)
                from = mode == 1 ? front - i : mode == 2 ? 0 : n + i - front;
            else if (from >= n)
                from = mode == 1 ? 2 * n - 2 - from : mode == 2 ? n - 1 : from - n;
            if (mode == 0 && (i < front || i >= front + n))
                for (size_t j = 0; j < inner; j++)
                    y[j] = value;
            else
                $copy(x + from * inner, y, inner);
        }
}
""",
    "crop": """\
/* y (outer, m, inner) = m places of x (outer, n, inner) from `first` on */
static void $crop(const float *x, float *y, size_t outer, size_t n, size_t m, size_t first, size_t inner)
{
    for (size_t k = 0; k < outer; k++)
        $copy(x + (k * n + first) * inner, y + k * m * inner, m * inner);
}
""",
}
