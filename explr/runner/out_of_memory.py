"""Telling a training that ran out of memory from one that failed for another reason."""

from __future__ import annotations

import errno

OUT_OF_MEMORY = "out of memory"
"""How the reason of such a failure begins."""

NAMES = frozenset({"OutOfMemoryError", "ResourceExhaustedError"})
"""What PyTorch, CuPy and TensorFlow call it; neither is imported to be asked."""

PHRASES = (
    "CUDA out of memory",
    "RESOURCE_EXHAUSTED",  # JAX
    "CUDA_ERROR_OUT_OF_MEMORY",
    "DefaultCPUAllocator: can't allocate memory",  # PyTorch, for host memory
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What errors of libraries say that have one class for everything."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, means that memory ran out.

    Args:
        error: what a training raised.
    """
    if isinstance(error, MemoryError) or type(error).__name__ in NAMES:
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in PHRASES):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)
