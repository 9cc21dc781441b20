"""CUDA C of the first kernel of a step, which copies the batch and the scalars of the step."""

from __future__ import annotations

NEXT_BATCH = """
// Step k = count[0] begins: x[i] = X[order[k rows + i]], t[i] = T[the same], numbers = table[k], and weighing =
// weights[k], if they have any words; then count[0] = k + 1. nx, nt: numbers of a row. INDEX: unsigned int, or unsigned
// long long. The last block to end counts: all have read k.
extern "C" __global__ void next_batch(
    const long long steps, const unsigned int rows, const INDEX nx, const INDEX nt, const unsigned int width,
    const unsigned int words,
    const from_x* X, to_x* x, const from_t* T, to_t* t,
    const long long* order, const unsigned char* table, unsigned char* numbers,
    const unsigned int* weights, unsigned int* weighing,
    volatile long long* count, unsigned int* counter)
{
    __shared__ unsigned int place;
    const long long k = count[0] < steps ? count[0] : steps - 1;  // a timed call has no step of its own
    const long long* mine = order + k * rows;
    const INDEX first = blockIdx.x * (INDEX)256 + threadIdx.x, all = gridDim.x * (INDEX)256;
    for (INDEX i = first; i < rows * nx; i += all) x[i] = to_x(X[mine[i / nx] * nx + i % nx]);
    for (INDEX i = first; i < rows * nt; i += all) t[i] = to_t(T[mine[i / nt] * nt + i % nt]);
    for (INDEX i = first; i < words; i += all) weighing[i] = weights[k * words + i];
    if (blockIdx.x == 0)
        for (unsigned int i = threadIdx.x; i < width; i += 256) numbers[i] = table[k * width + i];
    __syncthreads();
    if (is_last(counter, gridDim.x, &place) && threadIdx.x == 0) count[0] = count[0] + 1;
}
"""
