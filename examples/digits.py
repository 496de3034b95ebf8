"""The handwritten digits that the bundled examples are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data" / "digits.csv.gz"
PIXELS = 64
DARKEST = 16


class Digits(NamedTuple):
    """Images and labels in a fixed split: 1,442 to train on, 355 to validate on.

    Args:
        train_images: shape (1442, 8, 8), float32 from 0 (paper) to 1 (ink).
        train_labels: shape (1442,), int64 from 0 to 9.
        val_images: shape (355, 8, 8), like `train_images`.
        val_labels: shape (355,), like `train_labels`.
    """

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    val_images: NDArray[np.float32]
    val_labels: NDArray[np.int64]


def load_digits() -> Digits:
    """Read the images and split them: every fifth image of each digit is for validation.

    The images of a digit are counted in the order of the file, the first of them trains, and no
    random number decides, so that the split is the same everywhere and for every seed.
    """
    rows = np.loadtxt(DATA, delimiter=",", dtype=np.int64)
    images = (rows[:, :PIXELS].reshape(-1, 8, 8) / DARKEST).astype(np.float32)
    labels = rows[:, PIXELS]
    validates = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        validates[np.flatnonzero(labels == digit)[4::5]] = True
    return Digits(images[~validates], labels[~validates], images[validates], labels[validates])
