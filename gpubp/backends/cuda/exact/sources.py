"""CUDA C of products and sums in the order of `order.py`.

A kernel works on runs: a whole piece of the tree each, so that every run ends in one number for each element of the
product. These numbers are parts, and `tree` adds them. How many runs there are decides how many threads have work, and
no bit.

    run      a power of two of whole groups, or of whole blocks of one group
    merges   how many sums of the stack are added to that of a block, when it is done: those that are complete with it

Beyond the last term of a block a tile is filled with 0 and -0: fma(0, -0, s) = s, whatever s is, also for s = -0.
"""

from __future__ import annotations

from ..reductions import LESS

MERGES = """\
// After block number `block` of a group, and, if that is its last, group number `group`, which may be the last too
static __device__ int merges(int block, int group, bool ends_group, bool ends_run)
{
    if (!ends_group) return __ffs(~block) - 1;
    return __popc(block) + (ends_run ? __popc(group) : __ffs(~group) - 1);
}

"""

COMMON = (
    """\
static __device__ real fused(real a, real b, real s) { return FMA(a, b, s); }

"""
    + MERGES
)

TILED = """\
struct alignas(16) Four { real v[4]; };

// out_ij = sum of a_ik b_kj, for each run a part, or the result if there is one run. 256 threads make a tile of
// 16 TM x 16 TN numbers of one run, 4 x 4 next to each other at a time.
// length: of a group; together, piece: of a run, in groups and in terms of its group; runs, pieces: in all, in a group
// *_m, *_n, *_k: steps; *_batch: to the next matrix. A_BY_K, B_BY_K: whether neighbouring threads read along k
extern "C" __launch_bounds__(256, 2) __global__ void product(
    const int M, const int N, const int K, const int length, const int together, const int piece, const int pieces,
    const int runs, const real* __restrict__ a, const STEP a_m, const STEP a_k, const STEP a_batch,
    const real* __restrict__ b, const STEP b_k, const STEP b_n, const STEP b_batch,
    real* out, const STEP out_m, const STEP out_batch)
{
    __shared__ Four A[2][8][4 * TM + 1], B[2][8][4 * TN + 1];
    real stack[LEVELS][TM * TN];
    const int t = threadIdx.x, tx = t % 16, ty = t / 16;
    const unsigned int wide = (N + 16 * TN - 1) / (16 * TN), high = (M + 16 * TM - 1) / (16 * TM);
    const unsigned int tile = blockIdx.x % (wide * high), z = blockIdx.x / (wide * high);
    const int run = z % runs, batch = z / runs, m0 = tile / wide * (16 * TM), n0 = tile % wide * (16 * TN);
    const long long first = (long long)(run / pieces) * together * length + (long long)(run % pieces) * piece;
    const long long whole = first + (pieces > 1 ? piece : (long long)together * length);
    const long long border = pieces > 1 ? (long long)(run / pieces + 1) * length : K;
    const int last = whole < border ? (whole < K ? whole : K) : (border < K ? border : K);
    const int each = pieces > 1 ? piece : length;

    const int a_row = A_BY_K ? t / 8 : t % (16 * TM), a_at = A_BY_K ? t % 8 : t / (16 * TM);
    const int b_row = B_BY_K ? t / 8 : t % (16 * TN), b_at = B_BY_K ? t % 8 : t / (16 * TN);
    const int a_rows = A_BY_K ? 32 : 0, a_ats = A_BY_K ? 0 : 16 / TM;
    const int b_rows = B_BY_K ? 32 : 0, b_ats = B_BY_K ? 0 : 16 / TN;
    const STEP a_step = a_rows * a_m + a_ats * a_k, b_step = b_rows * b_n + b_ats * b_k;
    a += (STEP)batch * a_batch + (m0 + a_row) * a_m + a_at * a_k;
    b += (STEP)batch * b_batch + (n0 + b_row) * b_n + b_at * b_k;

    real sums[TM][TN], of_a[TM / 2], of_b[TN / 2];
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) sums[i][j] = 0;

    int k = first, end = last - k < each ? last : k + each, stop = end - k < 64 ? end : k + 64;
    int block = 0, group = 0, top = 0, side = 0;

#define LOAD(from, to) \\
    _Pragma("unroll") \\
    for (int q = 0; q < TM / 2; q++) { \\
        const bool there = m0 + a_row + q * a_rows < M && (from) + a_at + q * a_ats < (to); \\
        of_a[q] = there ? a[(from) * a_k + q * a_step] : real(0); \\
    } \\
    _Pragma("unroll") \\
    for (int q = 0; q < TN / 2; q++) { \\
        const bool there = n0 + b_row + q * b_rows < N && (from) + b_at + q * b_ats < (to); \\
        of_b[q] = there ? b[(from) * b_k + q * b_step] : -real(0); \\
    }
#define STORE(into) \\
    _Pragma("unroll") \\
    for (int q = 0; q < TM / 2; q++) ((real*)A[into][a_at + q * a_ats])[a_row + q * a_rows] = of_a[q]; \\
    _Pragma("unroll") \\
    for (int q = 0; q < TN / 2; q++) ((real*)B[into][b_at + q * b_ats])[b_row + q * b_rows] = of_b[q];

    LOAD(k, stop)
    STORE(0)
    __syncthreads();
    while (k < last) {
        const int next = stop - k > 8 ? k + 8 : stop;
        const bool done = next == stop, ends_group = next == end, ends_run = next == last;
        if (ends_group) end = last - next < each ? last : next + each;
        if (done) stop = end - next < 64 ? end : next + 64;
        if (!ends_run) { LOAD(next, stop) }
#pragma unroll
        for (int q = 0; q < 8; q++) {
            real x[TM], y[TN];
#pragma unroll
            for (int i = 0; i < TM; i += 4) *(Four*)(x + i) = A[side][q][4 * i + ty];
#pragma unroll
            for (int j = 0; j < TN; j += 4) *(Four*)(y + j) = B[side][q][4 * j + tx];
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++) sums[i][j] = fused(x[i], y[j], sums[i][j]);
        }
        if (done) {
#pragma unroll 1
            for (int more = merges(block, group, ends_group, ends_run); more > 0; more--) {
                top--;
#pragma unroll
                for (int i = 0; i < TM; i++)
#pragma unroll
                    for (int j = 0; j < TN; j++) sums[i][j] = stack[top][i * TN + j] + sums[i][j];
            }
            if (!ends_run) {
#pragma unroll
                for (int i = 0; i < TM; i++)
#pragma unroll
                    for (int j = 0; j < TN; j++) {
                        stack[top][i * TN + j] = sums[i][j];
                        sums[i][j] = 0;
                    }
                top++;
            }
            block = ends_group ? 0 : block + 1;
            group += ends_group;
        }
        if (!ends_run) {
            side = 1 - side;
            STORE(side)
            __syncthreads();
        }
        k = next;
    }
    out += (STEP)batch * out_batch + (STEP)(runs > 1 ? run : 0) * M * N;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            const int m = m0 + i / 4 * 64 + 4 * ty + i % 4, n = n0 + j / 4 * 64 + 4 * tx + j % 4;
            if (m < M && n < N) out[m * out_m + n] = sums[i][j];
        }
}
#undef LOAD
#undef STORE
"""

THIN = """\
// The same by a thread for each element of a part: for few rows or columns, and for plain sums, where a is all 1
extern "C" __global__ void NAME(
    const int M, const int N, const int K, const int length, const int together, const int piece, const int pieces,
    const int runs, const INDEX parts, const real* __restrict__ a, const long long a_m, const long long a_k,
    const long long a_batch, const real* __restrict__ b, const long long b_k, const long long b_n,
    const long long b_batch, real* out, const long long out_m, const long long out_n, const long long out_batch)
{
    for (INDEX p = blockIdx.x * (INDEX)256 + threadIdx.x; p < parts; p += gridDim.x * (INDEX)256) {
        real stack[LEVELS];
        const INDEX row = p / N, z = row / M;
        const int n = p - row * N, m = row - z * M, batch = z / runs, run = z - batch * (INDEX)runs;
        const long long first = (long long)(run / pieces) * together * length + (long long)(run % pieces) * piece;
        const long long whole = first + (pieces > 1 ? piece : (long long)together * length);
        const long long border = pieces > 1 ? (long long)(run / pieces + 1) * length : K;
        const int last = whole < border ? (whole < K ? whole : K) : (border < K ? border : K);
        const int each = pieces > 1 ? piece : length;
        const real* of_a = a + batch * a_batch + m * a_m;
        const real* of_b = b + batch * b_batch + n * b_n;
        int k = first, end = last - k < each ? last : k + each, block = 0, group = 0, top = 0;
        real s = 0;
        while (k < last) {
            const int stop = end - k < 64 ? end : k + 64;
            s = 0;
#pragma unroll 8
            for (int q = k; q < stop; q++) s = TERM;
            const bool ends_group = stop == end, ends_run = stop == last;
            for (int more = merges(block, group, ends_group, ends_run); more > 0; more--) s = stack[--top] + s;
            if (!ends_run) stack[top++] = s;
            if (ends_group) end = last - stop < each ? last : stop + each;
            block = ends_group ? 0 : block + 1;
            group += ends_group;
            k = stop;
        }
        out[batch * out_batch + (runs > 1 ? (long long)run * M * N : 0) + m * out_m + n * out_n] = s;
    }
}
"""

TREE = """\
// to = parts added as a tree, `width` at a time, of `runs` parts of M x N numbers of each matrix; numbers: of `to`
extern "C" __global__ void tree(
    const int M, const int N, const int runs, const int width, const INDEX numbers, const real* __restrict__ parts,
    real* to, const long long to_m, const long long to_n, const long long to_part, const long long to_batch)
{
    const int left = (runs - 1) / width + 1;
    for (INDEX p = blockIdx.x * (INDEX)256 + threadIdx.x; p < numbers; p += gridDim.x * (INDEX)256) {
        real stack[32], s = 0;
        const INDEX row = p / N, z = row / M;
        const int n = p - row * N, m = row - z * M, batch = z / left, part = z - batch * (INDEX)left;
        const int first = part * width, count = runs - first < width ? runs - first : width;
        const real* from = parts + ((long long)batch * runs + first) * M * N + (long long)m * N + n;
        int top = 0;
        for (int k = 0; k < count; k++) {
            s = from[(long long)k * M * N];
            for (int more = merges(k, 0, k == count - 1, true); more > 0; more--) s = stack[--top] + s;
            if (k < count - 1) stack[top++] = s;
        }
        to[batch * to_batch + part * to_part + m * to_m + n * to_n] = s;
    }
}
"""

ADD_TOTAL = """\
// total = total + a
extern "C" __global__ void add_total(double* total, const real* a)
{
    if (blockIdx.x == 0 && threadIdx.x == 0) *total = *total + *a;
}
"""

FOLD = """\
// out[i, j] = the largest, or smallest, of a[i, k, j] over k, from the first to the last
extern "C" __global__ void NAME(const long long size, const long long n, const long long K, const real* a, real* out)
{
    for (long long p = blockIdx.x * 256ll + threadIdx.x; p < size; p += gridDim.x * 256ll) {
        const real* of = a + p / n * K * n + p % n;
        real s = of[0];
        for (long long k = 1; k < K; k++) s = FUNCTION(s, of[k * n]);
        out[p] = s;
    }
}
"""

ARGUMENT = """\
// out[i, j] = the first k at which a[i, k, j] is largest, or smallest, or not a number
extern "C" __global__ void NAME(
    const long long size, const long long n, const long long K, const real* a, long long* out)
{
    for (long long p = blockIdx.x * 256ll + threadIdx.x; p < size; p += gridDim.x * 256ll) {
        const real* of = a + p / n * K * n + p % n;
        real s = of[0];
        long long at = 0;
        for (long long k = 1; k < K && s == s; k++) {
            const real x = of[k * n];
            if (x BEATS s || x != x) {
                s = x;
                at = k;
            }
        }
        out[p] = at;
    }
}
"""

SCATTER = (
    LESS
    + """\
// out[v, j] = sum of a[i, j] over all i whose row is v: of a sum over all i, the tree without the terms of other rows.
// The rows are sorted by sort_rows. length: terms of a group. bits: that number the blocks of a group.
extern "C" __global__ void scatter_exactly(
    const unsigned int count, const unsigned long long size, const unsigned int n, const unsigned int length,
    const int bits, const real* __restrict__ a, const unsigned int* __restrict__ order,
    const long long* __restrict__ sorted, real* out)
{
    for (unsigned long long q = blockIdx.x * 256ull + threadIdx.x; q < size; q += gridDim.x * 256ull) {
        const unsigned long long v = q / n, j = q - v * n;
        const unsigned int end = less(sorted, count, v + 1);
        real stack[64], s = 0;
        unsigned long long places[64];
        int top = 0;
        for (unsigned int p = less(sorted, count, v); p < end;) {
            const unsigned int group = order[p] / length;
            const unsigned int block = (order[p] - group * length) / 64;
            const unsigned long long place = (unsigned long long)group << bits | block;
            while (top > 1 && (places[top - 2] ^ places[top - 1]) < (places[top - 1] ^ place)) {  // they meet before
                top--;
                stack[top - 1] = stack[top - 1] + stack[top];
            }
            places[top] = place;
            s = 0;
            for (; p < end; p++) {
                const unsigned int i = order[p];
                if (i / length != group || (i - group * length) / 64 != block) break;
                s = s + a[(unsigned long long)i * n + j];
            }
            stack[top++] = s;
        }
        if (top) s = stack[--top];
        while (top) s = stack[--top] + s;
        out[q] = s;
    }
}
"""
)
