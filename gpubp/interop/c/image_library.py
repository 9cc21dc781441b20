"""The functions in C of convolutions and poolings, of images and over time; see `library`."""

from __future__ import annotations

IMAGES: dict[str, str] = {
    "axis": """\
/* Windows along one axis of a picture: its places, the size of a window, the step from one window to the next, the
   places added in front, and the number of windows. */
struct $axis {
    size_t places, window, step, padding, outputs;
};

/* Of one window the taps that lie in the picture, and the place where the first of them lies. */
struct $taps {
    size_t first, end, place;
};

static struct $taps $taps_of(const struct $axis *axis, size_t output)
{
    const size_t start = output * axis->step, limit = axis->places + axis->padding;
    const size_t room = limit > start ? limit - start : 0;
    struct $taps taps;
    taps.first = start < axis->padding ? axis->padding - start : 0;
    taps.end = axis->window < room ? axis->window : room;
    taps.place = start + taps.first - axis->padding;
    return taps;
}
""",
    "convolution": """\
/* y (height, width, filters) = windows of x (height, width, channels) times w (kh, kw, channels, filters) + b */
static void $convolution(const float *x, const float *w, const float *b, float *y, const struct $axis *rows,
                         const struct $axis *columns, size_t channels, size_t filters)
{
    for (size_t h = 0; h < rows->outputs; h++) {
        const struct $taps down = $taps_of(rows, h);
        for (size_t v = 0; v < columns->outputs; v++, y += filters) {
            const struct $taps across = $taps_of(columns, v);
            $begin(b, y, filters);
            for (size_t i = down.first; i < down.end && across.first < across.end; i++) {
                const size_t pixel = (down.place + i - down.first) * columns->places + across.place;
                const size_t tap = i * columns->window + across.first;
                $add_products(x + pixel * channels, w + tap * channels * filters, y,
                              (across.end - across.first) * channels, filters, filters);
            }
        }
    }
}
""",
    "grouped_convolution": """\
/* As a convolution, but the channels and the filters fall into groups; w (kh, kw, channels / groups, filters) */
static void $grouped_convolution(const float *x, const float *w, const float *b, float *y, const struct $axis *rows,
                                 const struct $axis *columns, size_t channels, size_t filters, size_t groups)
{
    const size_t n = channels / groups, m = filters / groups;
    for (size_t h = 0; h < rows->outputs; h++) {
        const struct $taps down = $taps_of(rows, h);
        for (size_t v = 0; v < columns->outputs; v++, y += filters) {
            const struct $taps across = $taps_of(columns, v);
            $begin(b, y, filters);
            for (size_t i = down.first; i < down.end; i++)
                for (size_t j = across.first; j < across.end; j++) {
                    const size_t row = down.place + i - down.first, column = across.place + j - across.first;
                    const float *pixel = x + (row * columns->places + column) * channels;
                    const float *tap = w + (i * columns->window + j) * n * filters;
                    for (size_t g = 0; g < groups; g++)
                        $add_products(pixel + g * n, tap + g * m, y + g * m, n, m, filters);
                }
        }
    }
}
""",
    "depthwise_convolution": """\
/* As a convolution, but each filter sees one channel, the first m filters the first one; w (kh, kw, channels m) */
static void $depthwise_convolution(const float *x, const float *w, const float *b, float *y, const struct $axis *rows,
                                   const struct $axis *columns, size_t channels, size_t m)
{
    const size_t filters = channels * m;
    for (size_t h = 0; h < rows->outputs; h++) {
        const struct $taps down = $taps_of(rows, h);
        for (size_t v = 0; v < columns->outputs; v++, y += filters) {
            const struct $taps across = $taps_of(columns, v);
            $begin(b, y, filters);
            for (size_t i = down.first; i < down.end; i++)
                for (size_t j = across.first; j < across.end; j++) {
                    const size_t row = down.place + i - down.first, column = across.place + j - across.first;
                    const float *pixel = x + (row * columns->places + column) * channels;
                    const float *tap = w + (i * columns->window + j) * filters;
                    for (size_t c = 0; c < channels; c++)
                        for (size_t k = c * m; k < (c + 1) * m; k++)
                            y[k] += pixel[c] * tap[k];
                }
        }
    }
}
""",
    "max_pool": """\
/* y = the largest number of each window of x (height, width, channels), channel by channel */
static void $max_pool(const float *x, float *y, const struct $axis *rows, const struct $axis *columns, size_t channels)
{
    for (size_t h = 0; h < rows->outputs; h++) {
        const struct $taps down = $taps_of(rows, h);
        for (size_t v = 0; v < columns->outputs; v++, y += channels) {
            const struct $taps across = $taps_of(columns, v);
            $copy(x + (down.place * columns->places + across.place) * channels, y, channels);
            for (size_t i = down.first; i < down.end; i++)
                for (size_t j = across.first; j < across.end; j++) {
                    const size_t row = down.place + i - down.first, column = across.place + j - across.first;
                    const float *pixel = x + (row * columns->places + column) * channels;
                    for (size_t c = 0; c < channels; c++)
                        y[c] = $larger(y[c], pixel[c]);
                }
        }
    }
}
""",
    "average_pool": """\
/* y = the mean of each window of x (height, width, channels), of the places that lie in the picture */
static void $average_pool(const float *x, float *y, const struct $axis *rows, const struct $axis *columns,
                          size_t channels)
{
    for (size_t h = 0; h < rows->outputs; h++) {
        const struct $taps down = $taps_of(rows, h);
        for (size_t v = 0; v < columns->outputs; v++, y += channels) {
            const struct $taps across = $taps_of(columns, v);
            $begin(NULL, y, channels);
            for (size_t i = down.first; i < down.end; i++)
                for (size_t j = across.first; j < across.end; j++) {
                    const size_t row = down.place + i - down.first, column = across.place + j - across.first;
                    $add(x + (row * columns->places + column) * channels, y, channels);
                }
            $scale(y, 1.0f / (float)((down.end - down.first) * (across.end - across.first)), channels);
        }
    }
}
""",
}
