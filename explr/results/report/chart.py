"""A chart that a notebook displays, and that can be saved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from explr.core.errors import UsageError
from explr.core.secrets.masking import redacted_text
from explr.results.report.svg import STYLE

SIZE = re.compile(r'width="(\d+)" height="(\d+)"')


class Chart:
    """One drawing, or several below each other.

    Args:
        drawings: `<svg>` elements.
    """

    def __init__(self, drawings: Sequence[str]) -> None:
        self._drawings = list(drawings)

    def save(self, path: str | Path) -> Path:
        """Write the chart as an SVG file.

        Args:
            path: the file, ending in `.svg`.

        Returns:
            The file.

        Raises:
            UsageError: the file has another ending or cannot be written.
        """
        file = Path(path)
        if file.suffix != ".svg":
            raise UsageError(f"{file}: a chart is saved as .svg")
        try:
            file.write_text(self._repr_svg_(), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror or error}") from None
        return file

    def _repr_svg_(self) -> str:
        """The SVG for a notebook; its CSS does not affect the page around it."""
        width, top, parts = 0, 0, []
        for drawing in self._drawings:
            size = SIZE.search(drawing)
            assert size is not None  # every drawing has a size
            parts.append(drawing.replace("<svg ", f'<svg y="{top}" ', 1))
            width, top = max(width, int(size[1])), top + int(size[2])
        rules = re.sub(r"([.\w]+)\{", r".explr-chart \1{", STYLE)
        return redacted_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" class="explr-chart" width="{width}" '
            f'height="{top}" viewBox="0 0 {width} {top}"><style>{rules}</style>'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
        )

    def __repr__(self) -> str:
        return f"<Chart of {len(self._drawings)} drawing(s); save('chart.svg') writes a file>"
