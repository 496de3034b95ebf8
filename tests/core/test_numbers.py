"""Values of any library as numbers."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from explr.core.numbers import MOST_VALUES, described, one_number, read_metric


class Odd:
    """Its library raises an error of its own, and it cannot even be shown."""

    def __float__(self) -> float:
        raise RuntimeError("no value yet")

    def __repr__(self) -> str:
        raise ValueError


HALVES = [
    0.5, Decimal("0.5"), Fraction(1, 2), np.float16(0.5), np.float32(0.5), np.float64(0.5),
    np.longdouble(0.5), np.array(0.5), np.array([0.5]), np.array([[0.5]], dtype=np.float32),
    [0.5], (np.float32(0.5),),
]  # fmt: skip


@pytest.mark.parametrize("value", HALVES, ids=described)
def test_one_number(value: Any) -> None:
    assert read_metric("m", value) == {"m": 0.5}
    assert type(one_number(value)) is float


@pytest.mark.slow
def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    for half in (
        torch.tensor(0.5),
        torch.tensor([[0.5]]),
        torch.tensor(1.0, requires_grad=True) / 2,
        torch.tensor([0.5], dtype=torch.bfloat16),
        torch.nn.Parameter(torch.tensor([0.5])),
    ):
        assert read_metric("m", half) == {"m": 0.5}
    assert read_metric("m", torch.tensor([True, False])) == {"m/0": 1.0, "m/1": 0.0}
    for other, words in (
        (torch.ones(0), r"Tensor of shape \(0,\) has no elements"),
        (torch.ones(101), r"Tensor of shape \(101,\) has more than 100 elements"),
        (torch.tensor(1j), "Tensor .* is not a number"),
        (torch.tensor(0.5, device="meta"), "Tensor .*meta.* is not a number"),
        (torch.ones(1).to_sparse(), r"Tensor of shape \(1,\) is not a number \(RuntimeError\)"),
    ):
        with pytest.raises(TypeError, match=words):
            read_metric("m", other)


@pytest.mark.parametrize("value", [True, 1, np.bool_(True), np.int64(1)])
def test_whole_numbers_and_truths(value: Any) -> None:
    number = one_number(value)
    assert (number, type(number)) == (1.0, float)


def test_what_is_not_finite_is_a_number() -> None:
    assert math.isnan(one_number(np.float32("nan")))
    assert one_number(Decimal("-Infinity")) == -math.inf


@pytest.mark.parametrize("library", [np.array, list])
def test_several_values_are_rows(library: Any) -> None:
    assert read_metric("f1", library([0.5, 0.25])) == {"f1/0": 0.5, "f1/1": 0.25}
    assert read_metric("c", library([[1.0, 2.0], [3.0, 4.0]])) == {
        "c/0/0": 1.0, "c/0/1": 2.0, "c/1/0": 3.0, "c/1/1": 4.0,
    }  # fmt: skip
    assert len(read_metric("m", library([0.5] * MOST_VALUES))) == MOST_VALUES
    with pytest.raises(TypeError, match="has more than 100 elements"):
        read_metric("m", library([0.5] * (MOST_VALUES + 1)))
    with pytest.raises(TypeError, match="is not one number"):
        one_number(library([0.5, 0.25]))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "NoneType None is not a number"),
        ("0.5", "str '0.5' is not a number"),
        (b"1", "bytes b'1' is not a number"),
        (np.array("0.5"), "is not a number"),
        ({"a": 1.0}, "dict {'a': 1.0} is not a number"),
        (1j, "complex 1j is not a number"),
        (np.complex64(1), "is not a number"),
        (np.timedelta64(5, "s"), "is not a number"),
        (10**400, "is too large for a metric"),
        ([-(10**5000)], "list is too large for a metric"),
        (Decimal("1e400"), "is too large for a metric"),
        ([], r"list \[\] has no elements"),
        ([0.5, "x"], "is not a number"),
        (list(range(10**5)), "list of 100000 elements has more than 100 elements"),
        (Odd(), r"^Odd is not a number \(RuntimeError\)"),
        (np.ndarray, "type is not a number"),
    ],
)
def test_what_is_no_number_is_described(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words) as caught:
        read_metric("m", value)
    assert len(str(caught.value)) < 160
    with pytest.raises(TypeError):
        one_number(value)
