from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from explr.core import errors

CLASSES = [
    each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)
]


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"\b(?:[A-Z]\w+Error|TrialPruned|JobStopped)\b", errors.__doc__))
    assert drawn == {each.__name__ for each in CLASSES}


@pytest.mark.parametrize("kind", CLASSES)
def test_exit_codes(kind: type[Exception]) -> None:
    if issubclass(kind, errors.ExplrError):
        assert kind.exit_code == (2 if issubclass(kind, errors.UsageError) else 1)
    else:
        assert kind is errors.TrialPruned


def test_a_pruned_trial_is_no_error_of_explr() -> None:
    assert not issubclass(errors.TrialPruned, errors.ExplrError)


@pytest.mark.parametrize("how", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_faults_survive_a_pickle(how: object) -> None:
    assert callable(how)
    error = how(errors.ConfigError(["one", "two"]))
    assert error.faults == ["one", "two"]
    assert str(error) == "one\ntwo"
