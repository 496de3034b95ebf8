"""What a PyTorch checkpoint gives back: values with their types, and weights under their names."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import fractions
import pickle
import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.parallel import DistributedDataParallel

from explr.core.checkpoint import Checkpoints
from explr.core.errors import CheckpointError
from explr.frameworks.pytorch import PyTorch, TorchReporter

pytestmark = pytest.mark.slow

save, load = PyTorch.serializer.save, PyTorch.serializer.load


class Pair(NamedTuple):
    left: int
    right: float


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    rate: float = 0.1


def there_and_back(state: Any, folder: Path) -> Any:
    save(state, folder / "state.pt")
    return load(folder / "state.pt")


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type, in depth."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.layout == other.layout and torch.equal(one.to_dense(), other.to_dense())
    if isinstance(one, np.ndarray):
        kinds = [(each.dtype.kind, each.itemsize) for each in (one, other)]  # pickle swaps bytes
        return kinds[0] == kinds[1] and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple, collections.deque)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def trained() -> dict[str, Any]:
    """The state of what a training has."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedulers = torch.optim.lr_scheduler
    several: list[Any] = [
        schedulers.MultiStepLR(optimizer, [2, 4]),
        schedulers.OneCycleLR(optimizer, max_lr=0.1, total_steps=9),
        schedulers.ReduceLROnPlateau(optimizer),
    ]
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedulers": [each.state_dict() for each in several],
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
        "rng": torch.get_rng_state(),
    }


def everything() -> dict[str, Any]:
    """What comes back as it was."""
    generator = np.random.Generator(np.random.Philox(3))
    return {
        **trained(),
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "generator": generator.bit_generator.state,
        "arrays": [
            np.arange(6.0).reshape(2, 3)[:, ::-1],
            np.array(1, np.uint16),
            np.arange(3, dtype=">i4"),
            np.array(["a", "bc"]),
            np.zeros((0, 2), np.complex64),
            np.frombuffer(b"\1\2", np.uint8),
            np.dtype("f4"),
        ],
        "paths": (Path("runs/1"), [Path("x")]),
        "sets": [{1, "a"}, frozenset({2}), set()],
        "deque": collections.deque([Path("y"), 1.5], maxlen=3),
        "mappings": [
            collections.OrderedDict(b=1, a=2),
            collections.Counter("aab"),
            collections.defaultdict(list, a=[Path("z")]),
            {1: "int", (2, "b"): "tuple", None: "none"},
        ],
        "numbers": [2**5000, -(2**5000), 2**2039 - 1, 1 + 2j, -0.0, True, range(2, 9, 3)],
        "exact": [decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=7)],
        "times": [datetime(2026, 1, 2, 3, tzinfo=UTC), date(2026, 1, 2), timedelta(1, 2, 3)],
        "bytes": [b"\0\xff", bytearray(b"ab")],
        "torch": [torch.Size([1, 2]), torch.float16, torch.device("cpu"), torch.strided],
        "tensors": [torch.eye(2).to_sparse(), torch.nn.Parameter(torch.ones(2))],
        "config": OmegaConf.create({"lr": 0.1, "from": "${lr}", "layers": [1, {"a": None}]}),
    }


READ = """
import pickle, sys
from pathlib import Path
import torch
from explr.frameworks.pytorch import PyTorch

torch.load(sys.argv[1], weights_only=True)
Path(sys.argv[2]).write_bytes(pickle.dumps(PyTorch.serializer.load(Path(sys.argv[1]))))
"""


def test_all_comes_back_with_its_type_also_in_a_fresh_process(tmp_path: Path) -> None:
    state = everything()
    here = there_and_back(state, tmp_path)
    assert [key for key in state if not same(here[key], state[key])] == []
    assert here["deque"].maxlen == 3
    np.random.set_state(here["numpy"])
    random.setstate(here["python"])
    files = [str(tmp_path / "state.pt"), str(tmp_path / "read.pkl")]
    subprocess.run([sys.executable, "-c", READ, *files], check=True, timeout=240)
    fresh = pickle.loads((tmp_path / "read.pkl").read_bytes())
    assert [key for key in state if not same(fresh[key], state[key])] == []


@pytest.mark.parametrize(
    "number", [np.float64(0.1), np.float32(0.1), np.int64(2**40), np.bool_(True), np.str_("a")]
)
def test_a_number_of_numpy_is_one_of_python(number: Any, tmp_path: Path) -> None:
    back = there_and_back({"best": [number], "seen": {number}, "by": {number: 1}}, tmp_path)
    assert back == {"best": [number], "seen": {number}, "by": {number: 1}}
    assert type(back["best"][0]) in (float, int, bool, str)


@pytest.mark.parametrize(
    "state", [(Path("a"), 1), [np.arange(2)], Path("b"), 3, None, torch.ones(1)]
)
def test_a_state_need_not_be_a_mapping(state: Any, tmp_path: Path) -> None:
    assert same(there_and_back(state, tmp_path), state)


def test_the_file_has_plain_values_for_other_programs(tmp_path: Path) -> None:
    state = {
        "loss": np.float32(0.5),
        "at": Path("a"),
        "last": collections.deque([1]),
        "p": Pair(1, 2.0),
    }
    save({**state, "array": np.arange(2)}, tmp_path / "state.pt")
    read = torch.load(tmp_path / "state.pt", weights_only=True)
    assert torch.equal(read.pop("array"), torch.arange(2))
    assert read == {"loss": 0.5, "at": "a", "last": [1], "p": (1, 2.0)}


def test_the_state_itself_stays_as_it_was(tmp_path: Path) -> None:
    shared: list[Any] = [np.float64(1), torch.ones(2)]
    state: dict[str, Any] = {"one": shared, "two": shared, "weights": {"a": torch.ones(2)}}
    state["self"] = state["weights"]
    back = there_and_back(state, tmp_path)
    assert back["one"] is back["two"]
    assert back["self"] is back["weights"]
    assert state["one"] is shared
    assert isinstance(shared[0], np.float64)


REFUSED: dict[str, tuple[Any, str]] = {
    "module": (torch.nn.Linear(1, 1), r"give its state_dict\(\)"),
    "optimizer": (None, r"give its state_dict\(\)"),
    "torch's generator": (torch.Generator(), r"give its get_state\(\)"),
    "random": (random.Random(0), r"give its getstate\(\)"),
    "numpy's generator": (np.random.default_rng(0), r"give its bit_generator\.state"),
    "enum": (Colour.RED, "give its value"),
    "dataclass": (Settings(), r"give dataclasses\.asdict\(…\) of it"),
    "objects": (np.array([1, None]), r"give its tolist\(\)"),
    "date of numpy": (np.datetime64("2026-01-01"), r"give float\(…\) or str\(…\) of it"),
    "mapping": (collections.UserDict(a=1), r"give dict\(…\) of it"),
    "factory": (collections.defaultdict(lambda: 1), r"give dict\(…\) of it"),
    "class": (Settings, "leave it out, or give its name"),
    "function": (len, "leave it out, or give its name"),
    "slice": (slice(1), "give what it holds"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_not_be_read_back_is_refused_with_its_place(what: str, tmp_path: Path) -> None:
    value, remedy = REFUSED[what]
    if what == "optimizer":  # the first one imports half of PyTorch
        value = torch.optim.SGD([torch.ones(1)])
    state = {"model": torch.ones(1), "optimizer": {"groups": [{}, {"foo": value}]}}
    with pytest.raises(CheckpointError, match=rf"optimizer\.groups\[1\]\.foo is a .*: {remedy}"):
        Checkpoints(tmp_path, PyTorch.serializer).save(state, 0)
    assert list(tmp_path.iterdir()) == []


def test_other_things_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.b has PosixPath\('x'\) as a key or in a set"):
        save({"a": {"b": {Path("x"): 1}}}, tmp_path / "state.pt")
    odd = torch.ones(1)
    odd.__dict__["note"] = Settings()
    with pytest.raises(CheckpointError, match=r"holds more than a tensor \(.*Settings\)"):
        save({"odd": odd}, tmp_path / "state.pt")


def test_what_the_user_allows_is_taken_as_it_is(tmp_path: Path) -> None:
    with torch.serialization.safe_globals([Settings]):
        assert there_and_back({"settings": Settings(0.2)}, tmp_path) == {"settings": Settings(0.2)}


compiled = partial(torch.compile, backend="eager")
"""Another backend would take seconds to import; the names are the same."""


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))


class Own(torch.nn.Module):
    """A model that has the name of a wrapper's part, and a compiled part."""

    def __init__(self) -> None:
        super().__init__()
        self.module = torch.nn.Linear(2, 2)


class Half(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = compiled(torch.nn.Linear(2, 2))
        self.decoder = torch.nn.Linear(2, 1)


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "compiled": compiled,
    "DataParallel": torch.nn.DataParallel,
    "DDP": DistributedDataParallel,
    "compiled DDP": lambda model: compiled(DistributedDataParallel(model)),
    "DDP of a compiled one": lambda model: DistributedDataParallel(compiled(model)),
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A distributed training of one process."""
    store = tmp_path_factory.mktemp("ranks") / "store"
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("ranks")
@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_models_are_saved_under_the_names_of_the_model(kind: str, tmp_path: Path) -> None:
    wrapped = WRAPPED[kind](network())
    saved = there_and_back({"nested": {"model": wrapped.state_dict()}}, tmp_path)["nested"]["model"]
    plain = network()
    plain.load_state_dict(saved)
    assert same(dict(plain.state_dict()), dict(saved))
    for wrap in WRAPPED.values():
        another = wrap(network())
        another.load_state_dict(saved)
        another.load_state_dict(another.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        another.load_state_dict({"other": torch.ones(1)})


@pytest.mark.usefixtures("ranks")
def test_names_of_a_models_own_stay(tmp_path: Path) -> None:
    own = DistributedDataParallel(Own())
    saved = there_and_back(own.state_dict(), tmp_path)
    assert list(saved) == ["module.weight", "module.bias"]
    Own().load_state_dict(saved)
    own.load_state_dict(saved)
    half = Half()
    saved = there_and_back(half.state_dict(), tmp_path)
    assert list(saved)[:2] == ["encoder.weight", "encoder.bias"]
    half.load_state_dict(saved)


def test_the_best_model_has_the_names_of_the_model(make_context: Any, tmp_path: Path) -> None:
    reporter = TorchReporter(make_context(), compiled(network()))  # type: ignore[arg-type]
    reporter.epoch_end(0, val_loss=1.0)
    network().load_state_dict(torch.load(tmp_path / "best_model.pt", weights_only=True))
