"""Out of memory is told from other failures, whatever library says it, in its own words."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE_S

from explr.sweep.executors.outcome import is_out_of_memory

HUGE = {
    "python": "bytearray(2**50)",
    "numpy": "import numpy; numpy.ones(2**50)",
    "torch": (
        "import torch\n"
        "assert is_out_of_memory(torch.OutOfMemoryError('CUDA out of memory'))\n"
        "torch.ones(2**50)"
    ),
    "tensorflow": (
        "import tensorflow; raise tensorflow.errors.ResourceExhaustedError(None, None, 'OOM')"
    ),
}
"""What really raises, by library."""

ASK = """\
import sys
from explr.sweep.executors.outcome import is_out_of_memory
try:
    exec(sys.argv[1])
except BaseException as error:
    print(type(error).__name__, is_out_of_memory(error))
"""


@pytest.mark.parametrize(
    "name",
    [
        "python",
        "numpy",
        pytest.param("torch", marks=pytest.mark.slow),
        pytest.param("tensorflow", marks=pytest.mark.slow),
    ],
)
def test_what_libraries_raise(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK, HUGE[name]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=True,
    )
    assert done.stdout.split()[-1] == "True", done


def test_a_limit_of_the_shell() -> None:
    limited = ["sh", "-c", 'ulimit -v 524288; exec "$@"', "sh"]  # KiB
    done = subprocess.run(
        [*limited, sys.executable, "-c", ASK, "bytearray(2**30)"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout.split() == ["MemoryError", "True"]


class XlaRuntimeError(RuntimeError):
    """As JAX names its errors, whatever they are about."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        XlaRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_errors_of_one_class_for_everything_are_told_by_their_words(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_an_error_that_was_raised_from_one_is_one() -> None:
    wrapped = ValueError("the batch cannot be loaded")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)
    wrapped.__cause__ = KeyError("batch")
    assert not is_out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes do not match"),
        ValueError("CUDA out of memory"),
        OSError(errno.ENOSPC, ""),
    ],
)
def test_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)
