"""The functions in C of convolutions and poolings, of images and over time; see `library`."""

from __future__ import annotations

IMAGES: dict[str, str] = {
    "axis": """\
/* Windows along one axis of a picture: its places, the taps of a window, the step from one window to the next, the
   places added in front, the number of windows, and how far apart the taps of a window are. */
struct $axis {
    size_t places, window, step, padding, outputs, apart;
};

/* Of one window the taps that lie in the picture, and the place where the first of them lies. */
struct $taps {
    size_t first, end, place;
};

static struct $taps $taps_of(const struct $axis *axis, size_t output)
{
    const size_t start = output * axis->step, limit = axis->places + axis->padding, d = axis->apart;
    const size_t before = start < axis->padding ? axis->padding - start : 0, room = limit > start ? limit - start : 0;
    struct $taps taps;
    taps.first = before ? (before + d - 1) / d : 0;
    taps.end = (axis->window - 1) * d < room ? axis->window : (room + d - 1) / d;
    taps.place = start + taps.first * d - axis->padding;
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
            for (size_t i = down.first; i < down.end; i++) {
                const size_t row = down.place + (i - down.first) * rows->apart;
                const size_t run = columns->apart == 1 ? across.end - across.first : 1; /* neighbours in x and in w */
                for (size_t j = across.first; j < across.end; j += run) {
                    const size_t column = across.place + (j - across.first) * columns->apart;
                    $add_products(x + (row * columns->places + column) * channels,
                                  w + (i * columns->window + j) * channels * filters, y, run * channels, filters,
                                  filters);
                }
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
                    const size_t row = down.place + (i - down.first) * rows->apart;
                    const size_t column = across.place + (j - across.first) * columns->apart;
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
                    const size_t row = down.place + (i - down.first) * rows->apart;
                    const size_t column = across.place + (j - across.first) * columns->apart;
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
    "volume_convolution": """\
/* As a grouped convolution, of x (depth, height, width, channels); w (kd, kh, kw, channels / groups, filters) */
static void $volume_convolution(const float *x, const float *w, const float *b, float *y, const struct $axis *layers,
                                const struct $axis *rows, const struct $axis *columns, size_t channels, size_t filters,
                                size_t groups)
{
    const size_t n = channels / groups, m = filters / groups;
    for (size_t l = 0; l < layers->outputs; l++)
        for (size_t h = 0; h < rows->outputs; h++)
            for (size_t v = 0; v < columns->outputs; v++, y += filters) {
                const struct $taps in = $taps_of(layers, l), down = $taps_of(rows, h), across = $taps_of(columns, v);
                $begin(b, y, filters);
                for (size_t k = in.first; k < in.end; k++)
                    for (size_t i = down.first; i < down.end; i++)
                        for (size_t j = across.first; j < across.end; j++) {
                            const size_t layer = in.place + (k - in.first) * layers->apart;
                            const size_t row = down.place + (i - down.first) * rows->apart;
                            const size_t column = across.place + (j - across.first) * columns->apart;
                            const size_t pixel = ((layer * rows->places + row) * columns->places + column) * channels;
                            const float *tap = w + ((k * rows->window + i) * columns->window + j) * n * filters;
                            for (size_t g = 0; g < groups; g++)
                                $add_products(x + pixel + g * n, tap + g * m, y + g * m, n, m, filters);
                        }
            }
}
""",
    "transposed_convolution": """\
/* y (depth, height, width, filters) = b, and under the windows of each pixel of x, which are the outputs of the axes,
   the pixel times w (kd, kh, kw, channels, filters / groups) */
static void $transposed_convolution(const float *x, const float *w, const float *b, float *y,
                                    const struct $axis *layers, const struct $axis *rows, const struct $axis *columns,
                                    size_t channels, size_t filters, size_t groups)
{
    const size_t n = channels / groups, m = filters / groups;
    for (size_t a = 0; a < layers->places * rows->places * columns->places; a++)
        $begin(b, y + a * filters, filters);
    for (size_t l = 0; l < layers->outputs; l++)
        for (size_t h = 0; h < rows->outputs; h++)
            for (size_t v = 0; v < columns->outputs; v++, x += channels) {
                const struct $taps in = $taps_of(layers, l), down = $taps_of(rows, h), across = $taps_of(columns, v);
                for (size_t k = in.first; k < in.end; k++)
                    for (size_t i = down.first; i < down.end; i++)
                        for (size_t j = across.first; j < across.end; j++) {
                            const size_t layer = in.place + (k - in.first) * layers->apart;
                            const size_t row = down.place + (i - down.first) * rows->apart;
                            const size_t column = across.place + (j - across.first) * columns->apart;
                            float *pixel = y + ((layer * rows->places + row) * columns->places + column) * filters;
                            const float *tap = w + ((k * rows->window + i) * columns->window + j) * channels * m;
                            for (size_t g = 0; g < groups; g++)
                                $add_products(x + g * n, tap + g * n * m, pixel + g * m, n, m, m);
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
                    const size_t row = down.place + (i - down.first) * rows->apart;
                    const size_t column = across.place + (j - across.first) * columns->apart;
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
                    const size_t row = down.place + (i - down.first) * rows->apart;
                    const size_t column = across.place + (j - across.first) * columns->apart;
                    $add(x + (row * columns->places + column) * channels, y, channels);
                }
            $scale(y, 1.0f / (float)((down.end - down.first) * (across.end - across.first)), channels);
        }
    }
}
""",
    "volume_max_pool": """\
/* y = the largest number of each window of x (depth, height, width, channels), channel by channel */
static void $volume_max_pool(const float *x, float *y, const struct $axis *layers, const struct $axis *rows,
                             const struct $axis *columns, size_t channels)
{
    for (size_t l = 0; l < layers->outputs; l++)
        for (size_t h = 0; h < rows->outputs; h++)
            for (size_t v = 0; v < columns->outputs; v++, y += channels) {
                const struct $taps in = $taps_of(layers, l), down = $taps_of(rows, h), across = $taps_of(columns, v);
                const size_t first = (in.place * rows->places + down.place) * columns->places + across.place;
                $copy(x + first * channels, y, channels);
                for (size_t k = in.first; k < in.end; k++)
                    for (size_t i = down.first; i < down.end; i++)
                        for (size_t j = across.first; j < across.end; j++) {
                            const size_t layer = in.place + (k - in.first) * layers->apart;
                            const size_t row = down.place + (i - down.first) * rows->apart;
                            const size_t column = across.place + (j - across.first) * columns->apart;
                            const size_t pixel = ((layer * rows->places + row) * columns->places + column) * channels;
                            for (size_t c = 0; c < channels; c++)
                                y[c] = $larger(y[c], x[pixel + c]);
                        }
            }
}
""",
    "volume_average_pool": """\
/* y = the sum of each window of x (depth, height, width, channels), divided by the product of three counts, one for
   the window's place along each axis */
static void $volume_average_pool(const float *x, float *y, const float *counts_in, const float *counts_down,
                                 const float *counts_across, const struct $axis *layers, const struct $axis *rows,
                                 const struct $axis *columns, size_t channels)
{
    for (size_t l = 0; l < layers->outputs; l++)
        for (size_t h = 0; h < rows->outputs; h++)
            for (size_t v = 0; v < columns->outputs; v++, y += channels) {
                const struct $taps in = $taps_of(layers, l), down = $taps_of(rows, h), across = $taps_of(columns, v);
                $begin(NULL, y, channels);
                for (size_t k = in.first; k < in.end; k++)
                    for (size_t i = down.first; i < down.end; i++)
                        for (size_t j = across.first; j < across.end; j++) {
                            const size_t layer = in.place + (k - in.first) * layers->apart;
                            const size_t row = down.place + (i - down.first) * rows->apart;
                            const size_t column = across.place + (j - across.first) * columns->apart;
                            $add(x + ((layer * rows->places + row) * columns->places + column) * channels, y, channels);
                        }
                $scale(y, 1.0f / (counts_in[l] * counts_down[h] * counts_across[v]), channels);
            }
}
""",
}
