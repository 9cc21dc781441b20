"""Bilinear sampling of images through affine maps, as CUDA C. The formula is in `cpu/sampling.py`."""

from __future__ import annotations

SOURCE = """
// Output pixel (i, j) looks at four pixels; which is number k of them, and its weight, 0 where there is none.
static __device__ int tap(const real* t, int i, int j, int k, int H, int W, real* weight)
{
    const real h = (t[0] * i + t[1] * j) + t[2], w = (t[3] * i + t[4] * j) + t[5];
    const real h0 = floor(h), w0 = floor(w);
    const int down = k / 2, right = k % 2;
    const bool inside = h0 >= -down && h0 < H - down && w0 >= -right && w0 < W - right;
    const real dh = h - h0, dw = w - w0;
    *weight = inside ? (down ? dh : real(1) - dh) * (right ? dw : real(1) - dw) : real(0);
    return inside ? ((int)h0 + down) * W + (int)w0 + right : 0;
}

// One thread for each pixel of the outputs
extern "C" __global__ void sample(long long pixels, int H, int W, int C, const real* x, const real* theta, real* out)
{
    for (long long p = blockIdx.x * 256ll + threadIdx.x; p < pixels; p += gridDim.x * 256ll) {
        const long long n = p / (H * W);
        const int ij = p % (H * W);
        int at[4];
        real weight[4];
        for (int k = 0; k < 4; k++) at[k] = tap(theta + 6 * n, ij / W, ij % W, k, H, W, weight + k);
        for (int c = 0; c < C; c++) {
            real v = 0;
            for (int k = 0; k < 4; k++) v = v + x[(n * H * W + at[k]) * C + c] * weight[k];
            out[p * C + c] = v;
        }
    }
}

// The whole numbers from 0 below `size` that are nearer to `middle` than `reach`, and maybe more; all, if it is NaN
static __device__ void box(real middle, real reach, int size, int* first, int* end)
{
    const real low = middle - reach, high = middle + reach + 1;
    *first = low > 0 ? (low < size ? (int)low : size) : 0;
    *end = high < size ? (high > 0 ? (int)high : 0) : size;
}

// One thread for each number of dx, which looks for its pixel (r, s) among the taps of the output pixels that may see
// it: those (i, j) whose place (h, w) is less than 1 away, which lie in a box around what the inverse map gives. The
// sums are in the order of the taps, and of the output pixels of each.
extern "C" __global__ void sample_adjoint(
    long long numbers, int H, int W, int C, const real* dy, const real* theta, real* out)
{
    for (long long q = blockIdx.x * 256ll + threadIdx.x; q < numbers; q += gridDim.x * 256ll) {
        const long long p = q / C, n = p / (H * W);
        const int c = q % C, rs = p % (H * W);
        const real* t = theta + 6 * n;
        const real r = rs / W - t[2], s = rs % W - t[5], one = 1 / (t[0] * t[4] - t[1] * t[3]);
        int i0, i1, j0, j1;  // rounding moves the box by much less than the 1.5 and the hundredth that it is larger
        box((t[4] * r - t[1] * s) * one, real(1.01) * (fabs(t[4]) + fabs(t[1])) * fabs(one) + real(1.5), H, &i0, &i1);
        box((t[0] * s - t[3] * r) * one, real(1.01) * (fabs(t[0]) + fabs(t[3])) * fabs(one) + real(1.5), W, &j0, &j1);
        real sum = 0;
        for (int k = 0; k < 4; k++)
            for (int i = i0; i < i1; i++)
                for (int j = j0; j < j1; j++) {
                    real weight;
                    if (tap(t, i, j, k, H, W, &weight) == rs)
                        sum = sum + dy[((n * H + i) * W + j) * C + c] * weight;
                }
        out[q] = sum;
    }
}
"""
