"""Turns dictionaries, figures and images into files that MLflow's pages show."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.errors import MissingDependencyError
from explr.core.folders import json_text
from explr.tracking.values import WarnOnce, listed

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEW_PIXELS = 256
"""Longer side of the preview of an image, which MLflow shows in its grid of images."""

_KEY = re.compile(r"[a-zA-Z0-9_\-./ ]+")


def dictionary_text(dictionary: Mapping[str, Any], name: str) -> str:
    """A mapping as YAML if `name` ends in .yaml or .yml, else as JSON.

    Arrays and sets become lists, other types text. JSON has no NaN and no infinities: there they
    are the texts "NaN", "Infinity" and "-Infinity", which `float` understands.
    """
    if name.endswith((".yaml", ".yml")):
        import yaml

        simple = json.loads(json.dumps(listed(dictionary), default=str))
        return str(yaml.safe_dump(simple, sort_keys=False, allow_unicode=True))
    return json_text(listed(dictionary))


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure of Matplotlib or Plotly to a file.

    Raises:
        TypeError: it is neither.
        ValueError: the ending of the path is unknown.
    """
    if hasattr(figure, "savefig"):
        figure.savefig(path)
    elif hasattr(figure, "write_html") and path.suffix == ".html":
        figure.write_html(path, include_plotlyjs="cdn", auto_open=False)
    elif hasattr(figure, "write_image"):
        figure.write_image(path)
    else:
        kind = type(figure).__name__
        raise TypeError(f"log_figure: a figure is one of Matplotlib or Plotly, got {kind}")


def check_place(artifact_file: str | Path | None, key: str | None) -> None:
    """Check that an image gets either a file name or a key.

    Raises:
        TypeError: it gets none or both.
    """
    if (artifact_file is None) is (key is None):
        raise TypeError("log_image: give one of artifact_file=… and key=…")


def image_of(image: Any, warn: WarnOnce) -> Image:
    """Convert to a Pillow image.

    Args:
        image: a Pillow image, or an array or tensor of shape (height, width) or
            (height, width, 1, 3 or 4) with integers from 0 to 255, booleans, or floats from 0 to 1.
            Other values are rescaled, the smallest to 0 and the largest to 255.
        warn: takes the warning about that.

    Raises:
        TypeError: it is neither an image nor such an array.
        ValueError: the array has another shape.
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError(
            "images need Pillow, which is not installed: pip install pillow"
        ) from None
    if hasattr(image, "to_pil"):  # MLflow's own
        image = image.to_pil()
    if isinstance(image, Image.Image):
        return image
    import numpy as np

    if hasattr(image, "detach"):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image  # NumPy has no bfloat16
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"log_image: an array of {array.dtype} is no image")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or (array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4))):
        turned = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        remedy = ": put its channels last, as numpy.moveaxis(image, 0, -1) does" if turned else ""
        raise ValueError(
            "log_image: an image has the shape (height, width) or (height, width, 1, 3 or 4), "
            f"got {array.shape}{remedy}"
        )
    top = 255 if array.dtype.kind in "iu" else 1
    if not (array.min() >= 0 and array.max() <= top):
        warn(
            "log_image",
            f"log_image: values must lie between 0 and {top}, and are rescaled, since they go "
            f"from {array.min():.4g} to {array.max():.4g}",
        )
        array, top = _rescaled(array), 1
    return Image.fromarray((array * (255 // top)).astype(np.uint8))


def preview(image: Image) -> Image:
    """A small copy of an image, `PREVIEW_PIXELS` on its longer side."""
    scale = PREVIEW_PIXELS / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height))


def stepped_name(key: str, step: int, time_ms: int) -> str:
    """The file name, without its ending, by which MLflow finds the image of `key` at a step.

    Raises:
        ValueError: MLflow does not accept the key.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"log_image: a key has letters, digits, blanks and _ - . / only, got {key!r}"
        )
    flat = key.replace("/", "~")
    return f"images/{flat}+step+{step}+timestamp+{time_ms}+{uuid.uuid4()}"


def _rescaled(array: Any) -> Any:
    """An array with its smallest number at 0.0 and its largest at 1.0; NaN becomes 0.0."""
    import numpy as np

    array = array.astype(np.float64)
    finite = array[np.isfinite(array)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if low == high or (low >= 0 and high <= 1):  # one colour, which scaling would lose; only NaN
        low, high = min(low, 0.0), max(high, 1.0)
    return np.clip((np.nan_to_num(array, nan=low) - low) / (high - low), 0, 1)
