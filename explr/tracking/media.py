"""Turns dictionaries, tables and images into files that MLflow's pages show."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from explr.core.errors import MissingDependencyError

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEW_PIXELS = 256
"""Longer side of the preview of an image, which MLflow shows in its grid of images."""

_KEY = re.compile(r"[a-zA-Z0-9_\-./ ]+")


def dictionary_text(dictionary: Mapping[str, Any], name: str) -> str:
    """A mapping as YAML if `name` ends in .yaml or .yml, else as JSON; other types become text."""
    if name.endswith((".yaml", ".yml")):
        import yaml

        plain = json.loads(json.dumps(dictionary, default=str))
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
    return json.dumps(dictionary, indent=2, default=str)


def table_text(data: Any, before: str | None) -> str:
    """A table as JSON in the form that pandas calls `split`, appended to an earlier table.

    Args:
        data: a mapping of columns, a mapping of single values, or a pandas DataFrame.
        before: the table as it was written earlier; None if it is new.

    Raises:
        TypeError: it is no table.
        ValueError: its columns are not equally long.
    """
    columns = _columns(data)
    table = json.loads(before) if before else {"columns": [], "data": []}
    names = [*table["columns"], *(name for name in columns if name not in table["columns"])]
    padding = len(names) - len(table["columns"])
    rows = [[*row, *([None] * padding)] for row in table["data"]]
    length = len(next(iter(columns.values()), ()))
    rows += [
        [_cell(columns[name][i]) if name in columns else None for name in names]
        for i in range(length)
    ]
    return json.dumps({"columns": names, "data": rows}, default=str, allow_nan=False)


def check_table_name(name: str) -> None:
    """Check that MLflow shows a file of this name as a table.

    Raises:
        ValueError: it does not end in `.json`, or has characters that MLflow refuses.
    """
    if not name.endswith(".json") or set(name) & set("\"',:[]{}"):
        raise ValueError(
            f"log_table: the name ends in .json, and has none of \" ' , : [ ] {{ }}, got {name!r}"
        )


def check_place(artifact_file: str | None, key: str | None) -> None:
    """Check that an image gets either a file name or a key.

    Raises:
        TypeError: it gets none or both.
    """
    if (artifact_file is None) is (key is None):
        raise TypeError("log_image: give one of artifact_file=… and key=…")


def image_of(image: Any) -> Image:
    """Convert to a Pillow image.

    Args:
        image: a Pillow image, or an array of shape (height, width) or
            (height, width, 1, 3 or 4) with integers from 0 to 255, booleans, or floats from 0 to 1.

    Raises:
        TypeError: it is neither an image nor such an array.
        ValueError: the array has another shape or other values.
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError(
            "images need Pillow, which is not installed: pip install pillow"
        ) from None
    if isinstance(image, Image.Image):
        return image
    import numpy as np

    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"log_image: an array of {array.dtype} is no image")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ValueError(
            "log_image: an image has the shape (height, width) or (height, width, 1, 3 or 4), "
            f"got {array.shape}"
        )
    top = 255 if array.dtype.kind in "iu" else 1
    if array.size and not (array.min() >= 0 and array.max() <= top):
        raise ValueError(
            f"log_image: values must lie between 0 and {top}, got {array.min()} to {array.max()}"
        )
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


def _columns(data: Any) -> dict[str, Sequence[Any]]:
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # a DataFrame
        data = data.to_dict("list")
    if not isinstance(data, Mapping):
        raise TypeError(f"log_table: data must be a mapping of columns, got {type(data).__name__}")
    columns = {str(name): _column(values) for name, values in data.items()}
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
        raise ValueError(f"log_table: the columns must be equally long, got {lengths}")
    return columns


def _column(values: Any) -> Sequence[Any]:
    if hasattr(values, "tolist"):
        values = values.tolist()
    return values if isinstance(values, (list, tuple)) else [values]


def _cell(value: Any) -> Any:
    """A value that JSON can hold; NaN becomes null, as pandas writes it."""
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
