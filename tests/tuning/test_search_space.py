"""Ranges: from Python to Hydra's grammar, from there to Optuna, and values back unchanged."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from explr.config.grammar import literal, plain
from explr.core.errors import ConfigError
from explr.tuning.search_space import SearchSpaceBuilder, parse

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
    assert plain(override.value()) == value


def test_every_faulty_range_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"lr": "interval(1", "width": "range(1,2,0)", "ok": "choice(1,2)"})
    assert len(caught.value.faults) == 2
    assert caught.value.faults[0].startswith("lr=interval(1 cannot be read at (")


def test_what_is_no_range_is_fixed() -> None:
    space, fixed = parse({"lr": "0.1", "epochs": 3, "name": "'a,b'"})
    assert space.distributions == {}
    assert fixed == {"lr": 0.1, "epochs": 3, "name": "a,b"}


@pytest.mark.parametrize("text", ["choice(a,null)", "shuffle(choice(a,null))", "shuffle(a,null)"])
def test_null_is_a_choice_as_in_a_plain_list(text: str) -> None:
    space, _ = parse({"c": text})
    assert space.distributions == {"c": CategoricalDistribution(["a", None])}


@pytest.mark.parametrize(
    "text", ["shuffle(range(0,30))", "sort(range(0,30),reverse=true)", "range(0,30)"]
)
def test_the_order_of_a_range_is_left_to_the_sampler(text: str) -> None:
    assert parse({"c": text})[0].distributions == {"c": IntDistribution(0, 29)}


def test_a_shuffled_list_keeps_the_order_that_was_drawn() -> None:
    import random

    text = f"choice(shuffle({list(range(30))}),[1])"
    spaces = []
    for seed in (1, 2):
        random.seed(seed)
        after = random.random()
        random.seed(seed)
        spaces.append(parse({"c": text})[0])
        assert random.random() == after
    assert spaces[0] == spaces[1]
    (drawn, _) = spaces[0].decode["c"].values()
    assert sorted(drawn) == list(range(30)) != drawn


REFUSED = {
    "choice(a<b,c)": ' cannot be read at <: quote the text, as in "a<b"',
    "choice(d,it's)": """ cannot be read at ': quote the text, as in "it's\"""",
    'say "so",b': ' cannot be read at ": quote the text, as in "say \\"so\\""',
    "choice(\u00fcber uns,b)": ' cannot be read at \u00fc: quote the text, as in "\u00fcber uns"',
    "choice('a,b)": " cannot be read at ': the quote is not closed",
    "choice({a<b: 1},c)": " cannot be read at <: a key of a mapping cannot have this sign",
    "choice(c,a=b)": ' cannot be read at =: it names an argument; quote a text, as in "a=b"',
    "choice(a=b,c)": ' cannot be read at =: it names an argument; quote a text, as in "a=b"',
    "choice(a,b": " cannot be read at (: it has no counterpart; quote a text that has brackets",
    "a},b": " cannot be read at }: it has no counterpart; quote a text that has brackets",
    "choice(a,,b)": " cannot be read at ,: a value is missing beside it; quote a text that has "
    "commas",
    "chioce(a,b)": " cannot be read: there is no function chioce; did you mean choice? quote a "
    "text that has brackets",
    "choice()": " cannot be read: empty choice is not legal",
    "choice(???,a)": ": ??? stands for a missing value and cannot be chosen",
    "glob(*)": ": only the command line takes glob(\u2026), for a config group",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_refused_range_names_the_sign_and_the_right_spelling(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"c": text})
    assert caught.value.faults == [f"c={text}{REFUSED[text]}"]


def test_the_spellings_that_are_named_are_right() -> None:
    for said in REFUSED.values():
        if (spelled := said.partition("as in ")[2]) != "":
            space, _ = parse({"c": f"choice({spelled},b)"})
            assert "b" in space.distributions["c"].choices  # type: ignore[attr-defined]


OFFICIAL = [
    "interval(0,1)", "interval(0,1.5)", "tag(log,interval(1e-5,1))", "int(interval(1.2,9.9))",
    "tag(log,int(interval(1,100)))", "range(3)", "range(1,9,3)", "range(9,1,-3)",
    "range(0,1,0.1)", "range(0.1,1,0.25)", "range(1,0,-0.3)", "float(range(1,4))",
    "int(range(0.5,3.5))", "range(1e17,1e17,1)", "range(1,1.00000000000000000001,1e-21)",
    "range(1,9,0)", "range(9,1)", "interval(2,1)", "tag(log,interval(0,1))",
]  # fmt: skip
"""Ranges of all kinds, and some that cannot be sampled."""


@pytest.mark.parametrize("text", OFFICIAL)
def test_a_range_is_that_of_hydras_own_optuna_sweeper(text: str) -> None:
    official = pytest.importorskip(
        "hydra_plugins.hydra_optuna_sweeper._impl", reason="that sweeper needs Hydra 1.4"
    )
    override = OverridesParser.create().parse_override(f"x={text}")
    try:
        expected = official.create_optuna_distribution_from_override(override)
    except (ValueError, HydraException):
        with pytest.raises(ConfigError):
            parse({"x": text})
    else:
        assert parse({"x": text})[0].distributions == {"x": expected}
