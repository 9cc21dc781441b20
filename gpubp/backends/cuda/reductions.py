"""CUDA C of sums over all elements and over all rows of an array.

They add in an order that depends on the shapes alone: each thread its own part, then a tree over the threads of a
block, then, by the block that ends last, the blocks in their order. The one atomic operation counts the blocks that
have ended; no number is added atomically. So results have the same bits at every run and on every GPU.
"""

from __future__ import annotations

COLUMNS = 32  # that a block of sum_rows works on, with 8 threads to a column

IS_LAST = """\
// Whether this is the last of `blocks` blocks to come here; `counter` is 0 before and after.
static __device__ bool is_last(unsigned int* counter, unsigned int blocks, unsigned int* order)
{
    if (blocks == 1) return true;
    __threadfence();  // what this block has written can be seen before it is counted
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) *order = atomicInc(counter, blocks - 1);
    __syncthreads();
    return *order == blocks - 1;
}

"""

_DOT = """\
// sum = sum of a[i] b[i], and total += sum where there is a total; blockDim = 256
extern "C" __global__ void dot(
    const unsigned long long n, const real* a, const real* b, real* sum, double* total,
    volatile real* partial, unsigned int* counter)
{
    __shared__ real memory[256];
    __shared__ unsigned int order;
    real v = 0;
    for (unsigned long long i = blockIdx.x * 256ull + threadIdx.x; i < n; i += gridDim.x * 256ull) v = v + a[i] * b[i];
    v = row_sum(v, memory);
    if (threadIdx.x == 0) partial[blockIdx.x] = v;
    __syncthreads();
    if (!is_last(counter, gridDim.x, &order)) return;
    v = 0;
    for (unsigned int k = threadIdx.x; k < gridDim.x; k += 256) v = v + partial[k];
    v = row_sum(v, memory);
    if (threadIdx.x == 0) {
        *sum = v;
        if (total) *total = *total + v;
    }
}
"""

_SUM_ROWS = """\
// out[k] = sum of a[r, k] over r. blockDim = (32, 8): 32 columns; gridDim.y blocks share the rows of the same columns.
extern "C" __global__ void sum_rows(
    const unsigned long long rows, const unsigned long long n, const real* a, real* out,
    volatile real* partial, unsigned int* counter)
{
    __shared__ real memory[256];
    __shared__ unsigned int order;
    const unsigned long long k = blockIdx.x * 32ull + threadIdx.x;
    const unsigned int t = threadIdx.y * 32 + threadIdx.x;
    real v = 0;
    if (k < n)
        for (unsigned long long r = blockIdx.y * 8ull + threadIdx.y; r < rows; r += gridDim.y * 8ull)
            v = v + a[r * n + k];
    memory[t] = v;
    __syncthreads();
    for (unsigned int half = 4; half > 0; half /= 2) {
        if (threadIdx.y < half) memory[t] = memory[t] + memory[t + half * 32];
        __syncthreads();
    }
    const bool mine = threadIdx.y == 0 && k < n;
    if (gridDim.y == 1) {
        if (mine) out[k] = memory[t];
        return;
    }
    if (mine) partial[blockIdx.y * n + k] = memory[t];
    __syncthreads();
    if (is_last(counter + blockIdx.x, gridDim.y, &order) && mine) {
        v = 0;
        for (unsigned int j = 0; j < gridDim.y; j++) v = v + partial[j * n + k];
        out[k] = v;
    }
}
"""

_WEIGHTED_SUM_ROWS = (
    _SUM_ROWS.replace("= sum of a[r, k]", "= sum of w[r] a[r, k]")
    .replace("void sum_rows", "void weighted_sum_rows")
    .replace("const real* a,", "const real* a, const real* w,")
    .replace("v + a[r * n + k]", "v + a[r * n + k] * w[r]")
)

SOURCES = {
    "dot": IS_LAST + _DOT, "sum_rows": IS_LAST + _SUM_ROWS, "weighted_sum_rows": IS_LAST + _WEIGHTED_SUM_ROWS
}  # by the kernel's name  # fmt: skip

SORT = """
// Sorts rows, equal ones in the order they came in: numbers k of the sorted ones is sorted[k], and came order[k]-th.
extern "C" __global__ void sort_rows(
    const unsigned int count, const long long* __restrict__ rows, unsigned int* order, long long* sorted)
{
    for (unsigned int i = blockIdx.x * 256u + threadIdx.x; i < count; i += gridDim.x * 256u) {
        const long long mine = rows[i];
        unsigned int k = 0;
        for (unsigned int j = 0; j < i; j++) k += rows[j] <= mine;
        for (unsigned int j = i + 1; j < count; j++) k += rows[j] < mine;
        order[k] = i;
        sorted[k] = mine;
    }
}
"""

LESS = """
// How many of the sorted rows are less than v
static __device__ unsigned int less(const long long* sorted, unsigned int count, long long v)
{
    unsigned int low = 0;
    while (low < count) {
        const unsigned int middle = low + (count - low) / 2;
        if (sorted[middle] < v) low = middle + 1;
        else count = middle;
    }
    return low;
}

"""

SCATTER = (
    LESS
    + """\
// out[v, k] = sum of a[i, k] over all i whose row is v, in the order of i; the rows sorted by sort_rows
extern "C" __global__ void scatter_rows(
    const unsigned int count, const unsigned long long size, const unsigned int n, const real* __restrict__ a,
    const unsigned int* __restrict__ order, const long long* __restrict__ sorted, real* out)
{
    for (unsigned long long q = blockIdx.x * 256ull + threadIdx.x; q < size; q += gridDim.x * 256ull) {
        const unsigned long long v = q / n, k = q - v * n;
        const unsigned int end = less(sorted, count, v + 1);
        real sum = 0;
        for (unsigned int j = less(sorted, count, v); j < end; j++)
            sum = sum + a[(unsigned long long)order[j] * n + k];
        out[q] = sum;
    }
}
"""
)
