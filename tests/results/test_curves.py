"""The curves below a notebook's cell."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from explr.results.live.curves import HEIGHT, MOST_CURVES, MOST_POINTS, WIDTH, Curves


def lines(curves: Curves) -> list[list[tuple[float, float]]]:
    """The points of each line, in pixels; the best one is the last."""
    root = ElementTree.fromstring(curves.svg())
    found = [element.get("points", "") for element in root if element.tag == "polyline"]
    points = [[tuple(map(float, p.split(","))) for p in text.split()] for text in found]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in points for x, y in line)
    return points  # type: ignore[return-value]


def test_a_curve_for_each_training_the_best_one_on_top() -> None:
    curves = Curves("val_loss", minimize=True)
    assert curves.svg() == ""
    for key, end in enumerate([0.5, 0.1, 0.3]):
        for step, value in enumerate([1.0, float("nan"), end]):
            curves.reported(key, step, value)
    drawn = lines(curves)
    assert [len(line) for line in drawn] == [2, 2, 2]
    assert max(y for _, y in drawn[-1]) > max(y for line in drawn[:-1] for _, y in line)
    assert "val_loss by step" in curves.svg()


@pytest.mark.parametrize(("values", "is_log"), [((1e-3, 1.0), True), ((0.0, 1.0), False)])
def test_decades_have_a_logarithmic_axis(values: tuple[float, float], is_log: bool) -> None:
    curves = Curves("a<b", minimize=True)
    for step, value in enumerate(values):
        curves.reported(0, step, value)
    assert ("logarithmic" in curves.svg()) is is_log
    assert "a&lt;b" in curves.svg()


def test_very_many_points_and_curves_are_thinned() -> None:
    curves = Curves("reward", minimize=False)
    for step in range(10_000):
        curves.reported("long", step, step)
    for key in range(MOST_CURVES + 50):
        curves.reported(key, 0, 0)
        curves.reported(key, 9_999, 1)
    drawn = lines(curves)
    assert len(drawn) == MOST_CURVES + 1
    assert MOST_POINTS // 2 <= len(drawn[-1]) < MOST_POINTS
    assert len(curves.svg()) < 20_000


def test_trials_that_report_nothing_are_dots_below_the_best_so_far() -> None:
    curves = Curves("acc", minimize=False)
    for trial, value in enumerate([0.2, 0.1, 0.4]):
        curves.ended(trial, value)
    assert len(re.findall("<circle", curves.svg())) == 3
    (line,) = lines(curves)
    assert [y for _, y in line] == sorted((y for _, y in line), reverse=True)
    assert "acc by trial" in curves.svg()
