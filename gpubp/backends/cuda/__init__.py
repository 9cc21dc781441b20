"""The CUDA backend: CuPy, our own kernels, cuBLAS and CUDA graphs."""
