"""What is installed works: from a wheel and in place, from any folder."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import explr

pytestmark = pytest.mark.slow

SOURCE = Path(explr.__path__[0]).parent
DATA = {
    "explr/py.typed",
    "explr/conf/config.yaml",
    "explr/conf/tuner/sampler/tpe.yaml",
    "explr/examples/data/digits.csv.gz",
    "explr/examples/pytorch_example.py",
}
MADE_BY_A_BUILD = ("PKG-INFO", "setup.cfg", "*.egg-info/*")


def call(command: list[str], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


class Installed:
    """An environment that explr was installed into.

    Args:
        python: its interpreter.
    """

    def __init__(self, python: Path) -> None:
        self.python = python

    @property
    def script(self) -> Path:
        return self.python.parent / "explr"


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that a build leaves nothing beside the originals."""
    if not (SOURCE / "pyproject.toml").is_file():
        pytest.skip("the tested explr is installed without its sources")
    copy = tmp_path_factory.mktemp("source")
    for name in files_of_the_project():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / name, copy / name)
    return copy


def files_of_the_project() -> list[str]:
    """What git keeps here; all that git would not ignore, where the sources were unpacked."""
    if (SOURCE / ".git").exists():
        tracked = call(["git", "ls-files", "-z"], SOURCE).split("\0")
        return [name for name in tracked if name and (SOURCE / name).is_file()]
    ignored = {name.strip("/") for name in (SOURCE / ".gitignore").read_text().split()}
    paths = [path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file()]
    kept = [path for path in paths if not any(map(path.match, MADE_BY_A_BUILD))]
    return [str(path) for path in kept if not {*path.parts} & ignored]


@pytest.fixture(scope="session")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    output = call(command, source, PYTHONDONTWRITEBYTECODE="")
    assert re.findall(r"(?i).*(?:\bwarn|deprecat).*", output) == []
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def wheel(built: tuple[Path, Path]) -> Path:
    return built[1]


def environment(folder: Path, what: list[str]) -> Installed:
    """A fresh environment with explr installed, and this one's packages behind it."""
    call([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    python = folder / "bin" / "python"
    # A plain path, unlike the entry of an editable install, comes after the environment's own
    # packages and brings no finder of the tested one.
    packages = call(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder
    ).strip()
    behind = [path for path in sys.path if path.endswith("site-packages")]
    (Path(packages) / "behind.pth").write_text("\n".join(behind))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--ignore-installed"]
    call(
        [sys.executable, "-m", "pip", "--python", str(python), "install", *options, *what],
        folder.parent,
    )
    return Installed(python)


@pytest.fixture(scope="session", params=["wheel", "editable"])
def installed(
    request: pytest.FixtureRequest,
    wheel: Path,
    source: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Installed, Path]:
    folder = tmp_path_factory.mktemp(request.param) / "environment"
    if request.param == "wheel":
        place = environment(folder, [str(wheel)])
        home = folder
    else:
        place = environment(folder, ["--editable", str(source)])
        home = source
    return request.param, place, home


def test_the_wheel_holds_the_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= DATA
    for path in (SOURCE / "conf").rglob("*.yaml"):
        assert f"explr/conf/{path.relative_to(SOURCE / 'conf')}" in names
    sources = (SOURCE / "explr").rglob
    for path in [*sources("*.py"), *sources("*.template")]:
        name = f"explr/{path.relative_to(SOURCE / 'explr')}"
        assert name.replace("explr/plugins/namespace", "hydra_plugins/explr") in names
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"explr", "explr_train", "hydra_plugins"}


def test_the_source_distribution_holds_all_that_its_tests_need(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        paths = [Path(*Path(each.name).parts[1:]) for each in archive if each.isfile()]
    names = {str(path) for path in paths if not any(map(path.match, MADE_BY_A_BUILD))}
    assert names == {*files_of_the_project()}


def test_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        told = email.message_from_bytes(archive.read(name))
    assert (told["Name"], told["Author"]) == ("explr-train", "The explr developers")
    assert told["License-Expression"] == "Apache-2.0"
    pythons = re.findall(r":: (3\.\d+)$", "\n".join(told.get_all("Classifier", [])), re.MULTILINE)
    assert all(version in SpecifierSet(told["Requires-Python"]) for version in pythons)
    assert pythons[0] == told["Requires-Python"].removeprefix(">=")


def test_texts_name_extras_that_exist() -> None:
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    for name in files_of_the_project():
        if Path(name).suffix in (".py", ".md", ".yaml", ".template") and "tests" not in name:
            text = (SOURCE / name).read_text()
            for package, extras in re.findall(r"\b(explr[\w-]*)\[([a-z0-9,]+)\]'", text):
                assert package == project["name"], name
                assert {*extras.split(",")} <= project["optional-dependencies"].keys(), name


def test_the_installed_one_is_used_from_any_folder(
    installed: tuple[str, Installed, Path], tmp_path: Path
) -> None:
    _, place, home = installed
    code = (
        "import explr, explr.conf, explr.examples\n"
        "from importlib.resources import files\n"
        "print(explr.__file__)\n"
        "assert (files('explr.conf') / 'tuner' / 'optuna.yaml').is_file()\n"
        "assert (files('explr.examples') / 'data' / 'digits.csv.gz').is_file()\n"
        "assert (files('explr') / 'py.typed').is_file()\n"
    )
    file = Path(call([str(place.python), "-c", code], tmp_path).strip())
    assert file.is_relative_to(home)
    assert not file.is_relative_to(SOURCE)


def test_the_commands(installed: tuple[str, Installed, Path], tmp_path: Path) -> None:
    _, place, _ = installed
    shown = call([str(place.script), "--help"], tmp_path)
    assert "tensorflow          TensorFlow and Keras" in shown
    assert call([str(place.python), "-m", "explr", "--help"], tmp_path) == shown
    config = call([str(place.python), "-m", "explr", "--cfg", "job", "lr=3"], tmp_path)
    assert "lr: 3\n" in config


def test_a_training_with_a_module_of_the_working_directory(
    installed: tuple[str, Installed, Path], tmp_path: Path
) -> None:
    _, place, home = installed
    (tmp_path / "mine.py").write_text(
        "import explr\n"
        "def f(ctx):\n    print(explr.__file__)\n    return ctx.hyperparameters['lr']\n"
    )
    output = call(
        [str(place.script), "train_model=mine:f", "lr=3", "tracking=off", "hydra.run.dir=out"],
        tmp_path,
    )
    file, result, *_ = output.splitlines()
    assert Path(file).is_relative_to(home)
    assert result.startswith("Result: val_loss 3 ")
    assert (tmp_path / "out" / "result.json").is_file()


def resolved(*what: str) -> dict[str, Version]:
    """Name and version of what pip would install into an empty environment."""
    options = [
        "--dry-run",
        "--ignore-installed",
        "--no-build-isolation",
        "--quiet",
        "--report",
        "-",
    ]
    report = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *what],
        stdout=subprocess.PIPE, check=True, env={**os.environ, "PIP_CONSTRAINT": ""},
    )  # fmt: skip
    told = [each["metadata"] for each in json.loads(report.stdout)["install"]]
    return {each["name"]: Version(each["version"]) for each in told}


@pytest.mark.parametrize(
    ("pins", "hydra", "omegaconf"),
    [
        ("hydra-core==1.3.2", "==1.3.2", "==2.3.*"),
        ("hydra-core==1.3.2 omegaconf==2.3.0", "==1.3.2", "==2.3.0"),
        ("hydra-core<=1.3.2", "==1.3.2", "==2.3.*"),
        ("hydra-core>=1.3,<1.4", "==1.3.*", "==2.3.*"),
        ("omegaconf<2.4", "==1.3.*", "==2.3.*"),
        ("", ">=1.3.8", ">=2.3.1"),  # which no release candidate satisfies
    ],
)
def test_it_installs_beside_any_pinned_hydra_or_takes_the_newest_stable_one(
    wheel: Path, pins: str, hydra: str, omegaconf: str
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        wanted = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    bounds = [each for each in wanted if re.match(r"(hydra-core|omegaconf)[^;]*$", each)]
    assert len(bounds) == 2
    found = resolved(*bounds, *pins.split())  # nothing else wants either of them
    assert found["hydra-core"] in SpecifierSet(hydra)
    assert found["omegaconf"] in SpecifierSet(omegaconf)


@pytest.mark.parametrize("installed", ["editable"], indirect=True)
def test_make_leaves_the_environment_of_another_checkout_alone(
    installed: tuple[str, Installed, Path], source: Path, tmp_path: Path
) -> None:
    _, place, _ = installed
    other = tmp_path / "other"
    shutil.copytree(source, other)
    place_of_explr = [str(place.python), "-c", "import explr; print(explr.__file__)"]
    before = call(place_of_explr, tmp_path)
    done = subprocess.run(
        ["make", "docs", f"VENV={place.python.parents[1]}"],
        cwd=other, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert (
        f"{place.python.parents[1]} uses explr of {source}, so nothing is installed" in done.stderr
    )
    assert call(place_of_explr, tmp_path) == before
