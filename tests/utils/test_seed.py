from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from explr.utils.seed import seed_everything


def output_of(code: str) -> list[str]:
    """What a fresh interpreter prints, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_python_and_numpy_repeat() -> None:
    seed_everything(7)
    first = random.random(), np.random.rand()
    seed_everything(7)
    assert (random.random(), np.random.rand()) == first
    seed_everything(8)
    assert (random.random(), np.random.rand()) != first


def test_an_import_without_a_seed_leaves_nothing_behind() -> None:
    lines = output_of(
        "import random, sys\n"
        "from explr.utils.seed import seed_everything\n"
        "seed_everything(1); seed_everything(None)\n"
        "import numpy.random\n"
        "for _ in range(2): seed_everything(7); print(random.random())"
    )
    assert lines[0] == lines[1]


def test_none_leaves_the_generators_as_they_are() -> None:
    seed_everything(7)
    state = random.getstate()
    seed_everything(None)
    assert random.getstate() == state


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_ends_of_the_range_are_seeds(seed: int) -> None:
    seed_everything(seed)
    first = np.random.rand()
    seed_everything(seed)
    assert np.random.rand() == first


@pytest.mark.slow
def test_importing_before_or_after_makes_no_difference() -> None:
    seed = "from explr.utils.seed import seed_everything; seed_everything(5)"
    use = "import random; import numpy; print(random.random(), numpy.random.rand())"
    after = output_of(f"{seed}\n{use}")
    assert output_of(f"import numpy.random\n{seed}\n{use}") == after
    assert output_of(f"{seed}\n{seed.replace('5', '6')}\n{seed}\n{use}") == after


def test_a_seed_that_was_taken_back_is_not_applied_by_a_late_import() -> None:
    lines = output_of(
        "from explr.utils.seed import seed_everything\n"
        "seed_everything(5); seed_everything(None)\n"
        "import numpy; late = numpy.random.rand()\n"
        "numpy.random.seed(5); print(late != numpy.random.rand())"
    )
    assert lines == ["True"]


@pytest.mark.slow
def test_nothing_is_imported_to_be_seeded() -> None:
    lines = output_of(
        "import sys; from explr.utils.seed import seed_everything; seed_everything(5)\n"
        "print({'numpy', 'torch', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    assert lines == ["set()"]
