import random
import warnings
from typing import Any

import pytest

from explr.tracking.mlflow.names import (
    MAX_FILE,
    MAX_NAME,
    MAX_PARAM,
    folder_name,
    legal_file,
    legal_name,
    short_value,
)
from explr.tracking.values import flatten

ALPHABET = "ab9_@[]/.-: é日\n\t\0\udcff#%\\"


@pytest.fixture(scope="module")
def validation() -> Any:
    """What MLflow itself refuses; it takes a second to import, so not to collect the tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.utils import validation
    return validation


def random_names(count: int) -> set[str]:
    chance = random.Random(7)
    return {"".join(chance.choices(ALPHABET, k=chance.randint(0, 12))) for _ in range(count)}


@pytest.mark.parametrize(
    "name",
    ["loss", "val/acc", "lr.weight-decay", "a b", "x:0", "Präzision", "精度", ".hidden", "a" * 250],
)
def test_legal_names_stay(name: str, validation: Any) -> None:
    assert legal_name(name) == name
    validation._validate_metric_name(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("acc@5", "acc_5-"),
        ("a//b", "a/b-"),
        ("x[0]", "x_0_-"),
        ("train/acc@5", "train/acc_5-"),
        ("/abs", "abs-"),
        ("../up", "up-"),
        (".", "name-"),
        ("", "name-"),
        ("a" * 300, "a" * 241 + "-"),
        ("日" * 300, "日" * 241 + "-"),
    ],
)
def test_illegal_names_become_legal_and_can_be_recognised(
    name: str, words: str, validation: Any
) -> None:
    legal = legal_name(name)
    assert legal.startswith(words)
    validation._validate_metric_name(legal)


def test_any_name_becomes_legal_and_no_two_become_one(validation: Any) -> None:
    names = random_names(20_000)
    legal = {name: legal_name(name) for name in names}
    assert len(set(legal.values())) == len(names)
    for name, made in legal.items():
        assert 0 < len(made) <= MAX_NAME
        validation._validate_metric_name(made)
        validation._validate_tag_name(made)
        assert legal_name(made) == made, name


def test_long_names_that_differ_at_the_end_stay_apart() -> None:
    assert len({legal_name("x" * 400 + str(i)) for i in range(1000)}) == 1000


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "plots/ü é.png",
        ".hydra/config.yaml",
        "lr=0.1,b=[2].pt",
        "a~b+step+1.png",
        "日" * 85,
    ],
)
def test_legal_names_of_files_stay(name: str) -> None:
    assert legal_file(name) == name


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a#b.txt", "a_b-71fc95c0.txt"),
        ("%2e%2e", "_2e_2e-"),
        ("acc: 5%.png", "acc_ 5_-"),
        ("a.txt ", "a-c2197e20.txt"),
        ("a.", "a-"),
        ("..", "name-"),
        ("out?/a.txt", "out_-"),
        ("é" * 128 + ".txt", "é" * 121 + "-"),
        (".artifact.uploading.x", "artifact.uploading-"),
    ],
)
def test_illegal_names_of_files_become_legal_and_keep_their_ending(name: str, made: str) -> None:
    assert legal_file(name).startswith(made)
    assert legal_file(name).endswith(name.rpartition(".")[2].rstrip() if ".txt" in name else "")


def test_any_path_of_a_file_becomes_legal_and_no_two_become_one(validation: Any) -> None:
    from mlflow.utils.uri import validate_path_is_safe

    names = random_names(20_000) | {"x" * 400 + str(i) for i in range(100)}
    legal = {name: legal_file(name) for name in names}
    assert len(set(legal.values())) == len(names)
    for name, made in legal.items():
        assert validate_path_is_safe(made) == made
        assert not validation.path_not_unique(made)
        assert all(0 < len(part.encode()) <= MAX_FILE for part in made.split("/"))
        assert legal_file(made) == made, name


def test_folders_have_plain_names() -> None:
    names = random_names(2_000) | {"é" * 300, "é" * 301, "..", "a/b", "digits"}
    made = {name: folder_name(name) for name in names}
    assert made["digits"] == "digits"
    assert len(set(made.values())) == len(names)
    for folder in made.values():
        assert "/" not in folder
        assert not folder.startswith(".")
        assert folder.isascii()
        assert 0 < len(folder) < 120


@pytest.mark.parametrize("size", [0, 1, MAX_PARAM, MAX_PARAM + 1, 50_000])
def test_values_fit(size: int, validation: Any) -> None:
    value = short_value("x" * size, MAX_PARAM)
    validation._validate_param("name", value)
    assert len(value) <= MAX_PARAM
    assert (value == "x" * size) == (size <= MAX_PARAM)


def test_long_values_that_differ_at_the_end_stay_apart() -> None:
    assert len({short_value("x" * 7000 + str(i), MAX_PARAM) for i in range(100)}) == 100


def test_what_no_database_takes_is_written_as_an_escape() -> None:
    assert short_value("a\0b\udcffc", 100) == "a\\x00b\\udcffc"


def test_nested_settings_get_dotted_names() -> None:
    nested = {"a": 1, "b": {"c": 2, "d": {"e": [3, {"f": 4}]}}, "g": {}}
    assert flatten(nested) == {"a": 1, "b.c": 2, "b.d.e": [3, {"f": 4}], "g": {}}
