"""Ranges: from Python to Hydra's grammar, from there to Optuna, and values back unchanged."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from explr.config.grammar import literal
from explr.core.errors import ConfigError
from explr.tuning.search_space import SearchSpaceBuilder, _plain, parse

AWKWARD = ["a,b", " x ", "q\"u'o", "{z}", "[y]", "a=b", "é", "null", "true", "1", ""]
AWKWARD += ["a\\", 'a\\"b']


def test_the_builder_speaks_hydras_grammar() -> None:
    ranges = (
        SearchSpaceBuilder()
        .interval("lr", 1e-5, 1e-2, log=True)
        .interval("dropout", 0, 1)
        .integer("depth", 1, 9)
        .integer("width", 8, 512, log=True)
        .range("units", 16, 65, 16)
        .choice("optimizer", ["sgd", "adam"])
        .build()
    )
    space, fixed = parse(ranges)
    assert fixed == {}
    assert space.distributions == {
        "lr": FloatDistribution(1e-5, 1e-2, log=True),
        "dropout": FloatDistribution(0, 1),
        "depth": IntDistribution(1, 9),
        "width": IntDistribution(8, 512, log=True),
        "units": IntDistribution(16, 64, step=16),
        "optimizer": CategoricalDistribution(["sgd", "adam"]),
    }


def test_choices_of_every_kind_come_back_as_they_went_in() -> None:
    choices = [*AWKWARD, None, 1, 2.5, False]
    space, _ = parse(SearchSpaceBuilder().choice("c", choices).build())
    distribution = space.distributions["c"]
    assert isinstance(distribution, CategoricalDistribution)
    assert list(distribution.choices) == choices


def test_lists_and_mappings_are_choices_too() -> None:
    choices = [[1, 2], {"a": None, "b": "x,y"}, "plain"]
    space, _ = parse(SearchSpaceBuilder().choice("c", choices).build())
    distribution = space.distributions["c"]
    assert isinstance(distribution, CategoricalDistribution)
    assert [space.value("c", sampled) for sampled in distribution.choices] == choices
    assert [space.encode("c", choice) for choice in choices] == list(distribution.choices)


def test_true_and_one_stay_two_choices() -> None:
    space, _ = parse(SearchSpaceBuilder().choice("c", [True, 1]).build())
    distribution = space.distributions["c"]
    assert isinstance(distribution, CategoricalDistribution)
    values = [space.value("c", sampled) for sampled in distribution.choices]
    assert [repr(value) for value in values] == ["True", "1"]


@pytest.mark.parametrize("value", [*AWKWARD, None, 3, 1e-7, True, [1, "a,b"], {"k": [None]}])
def test_a_value_survives_hydras_command_line(value: object) -> None:
    override = OverridesParser.create().parse_override(f"key={literal(value)}")
    assert _plain(override.value()) == value


def test_every_faulty_range_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"lr": "interval(1", "width": "range(1,2,0)", "ok": "choice(1,2)"})
    assert len(caught.value.faults) == 2
    assert caught.value.faults[0].startswith("lr=interval(1:")


def test_what_is_no_range_is_fixed() -> None:
    space, fixed = parse({"lr": "0.1", "epochs": 3, "name": "'a,b'"})
    assert space.distributions == {}
    assert fixed == {"lr": 0.1, "epochs": 3, "name": "a,b"}
