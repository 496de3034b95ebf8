"""What is installed works: from a wheel and in place, from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

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


def call(command: list[str], cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
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
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (SOURCE / name).is_file():
            shutil.copy(SOURCE / name, copy)
        else:
            (copy / name).touch()
    ignored = shutil.ignore_patterns("__pycache__", "outputs", "multirun")
    for name in ("explr", "conf", "examples"):
        shutil.copytree(SOURCE / name, copy / name, ignore=ignored)
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    call([sys.executable, "-m", "pip", "wheel", *options, str(source)], folder)
    (file,) = folder.glob("*.whl")
    return file


def environment(folder: Path, what: list[str]) -> Installed:
    """A fresh environment with explr installed, and this one's packages behind it."""
    call([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    python = folder / "bin" / "python"
    # A plain path, unlike the entry of an editable install, comes after the environment's own
    # packages and brings no finder of the tested one.
    packages = call(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder
    ).strip()
    (Path(packages) / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
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
