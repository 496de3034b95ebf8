"""What can be known of the container files without an engine that builds them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_pydantic import ComposeSpecification
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic import ValidationError

import explr

ROOT = Path(__file__).parents[1]
TARGETS = ("torch", "tensorflow", "cpu")
CONSTRAINTS = {
    "torch": "constraints-cu128.txt",
    "tensorflow": "constraints-cu128.txt",
    "cpu": "constraints-cpu.txt",
}
PYTHON = {"python_version": "3.12", "python_full_version": "3.12.3"}


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its arguments, continued lines in one."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def stages() -> dict[str, str]:
    """What each stage of the Dockerfile is built on."""
    found = [
        re.fullmatch(r"(\S+) AS (\S+)", text) for word, text in instructions() if word == "FROM"
    ]
    return {match[2]: match[1] for match in found if match}


def copied() -> Iterator[tuple[str | None, list[str]]]:
    """The stage that each COPY takes from, None for the repository, and what it takes."""
    for word, text in instructions():
        if word == "COPY":
            words = shlex.split(text)
            stage = words[0].removeprefix("--from=") if words[0].startswith("--from=") else None
            yield stage, words[1 if stage else 0 : -1]


def sources() -> list[str]:
    return sorted({path for stage, paths in copied() if stage is None for path in paths})


def compose() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(compose()["services"])


def pins(path: Path) -> dict[str, str]:
    """Version by name of a requirements file, those of the files that it includes too."""
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if line.startswith("-c "):
            found |= pins(path.parent / line.removeprefix("-c "))
        elif "==" in line:
            name, _, number = line.partition("==")
            found[canonicalize_name(name)] = number
    return found


@pytest.mark.parametrize("source", sources())
def test_what_is_copied_exists_and_is_sent_to_the_engine(source: str) -> None:
    assert (ROOT / source).exists()
    sent = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert any(Path(source).match(pattern) for pattern in sent)


def test_the_image_copies_all_that_the_package_is_built_from() -> None:
    assert {"pyproject.toml", "README.md", "LICENSE", "conf", "examples", "explr"} <= set(sources())


def test_the_linter_of_dockerfiles_has_nothing_to_object_to() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint has no build for this machine")
    done = subprocess.run(
        [linter, "--no-color", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_each_target_is_a_small_stage_with_an_environment_of_its_own() -> None:
    built = stages()
    assert set(TARGETS) <= set(built)
    taken = [stage for stage, _ in copied() if stage is not None]
    assert set(taken) <= set(built)
    for target in TARGETS:
        # Neither pip's leftovers nor the sources come along: only the environment does.
        assert built[target] == "runtime"
        assert built[f"build-{target}"] == built["wheel"] == "build"
        assert (f"build-{target}", ["/opt/explr"]) in list(copied())
    assert next(reversed(built)) == "torch"  # what is built where no target is named


def test_the_base_serves_an_rtx_5090_and_driver_570() -> None:
    assert ("ARG", "BASE=nvidia/cuda:12.8.1-base-ubuntu24.04") in instructions()
    assert stages()["base"] == "${BASE}"
    assert pins(ROOT / "docker" / "requirements-torch.txt")["torch"] == "2.10.0"


def test_no_target_runs_as_root() -> None:
    words = [word for word, _ in instructions()]
    assert ("USER", "10001:10001") in instructions()
    assert words.count("USER") == 1
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_installed_is_what_the_constraints_name(target: str) -> None:
    locked = pins(ROOT / "docker" / f"requirements-{target}.txt")
    named = pins(ROOT / CONSTRAINTS[target])
    assert len(named.keys() & locked.keys()) > 10
    for name in named.keys() & locked.keys():
        assert Requirement(f"{name}=={named[name]}").specifier.contains(locked[name], True)


@pytest.mark.parametrize(
    ("target", "extras"),
    [("torch", ["torch", "ray"]), ("tensorflow", ["tensorflow", "ray"]), ("cpu", ["torch", "ray"])],
)
def test_what_is_installed_is_all_that_explr_needs(target: str, extras: list[str]) -> None:
    locked = pins(ROOT / "docker" / f"requirements-{target}.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"]]
    for extra in extras:
        needed += project["optional-dependencies"][extra]
    for text in needed:
        requirement = Requirement(text)
        found = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(Version(found), prereleases=True), text


def test_no_image_for_the_cpu_brings_cuda() -> None:
    for target in ("cpu", "tensorflow"):
        locked = pins(ROOT / "docker" / f"requirements-{target}.txt")
        assert [name for name in locked if name.startswith("nvidia-")] == ["nvidia-ml-py"]
    text = (ROOT / "docker" / "requirements-cpu.txt").read_text()
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in text


def test_the_compose_file_follows_the_specification() -> None:
    # Keys that begin with x- are free, by the specification; the package does not know that.
    content = {key: value for key, value in compose().items() if not key.startswith("x-")}
    ComposeSpecification.model_validate(content)
    wrong = {**content, "services": {**content["services"], "train": {"image": "explr"}}}
    wrong["services"]["train"]["shmsize"] = "8gb"
    with pytest.raises(ValidationError, match="shmsize"):
        ComposeSpecification.model_validate(wrong)


def test_no_container_gets_more_rights_than_it_needs(services: dict[str, Any]) -> None:
    for service in services.values():
        assert "privileged" not in service
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] is True
    assert services["mlflow"]["user"] == "10001:10001"


def test_the_mlflow_server_lets_in_this_machine_and_the_trainings(
    services: dict[str, Any],
) -> None:
    assert services["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    uri = services["train"]["environment"]["MLFLOW_TRACKING_URI"]
    (default,) = re.findall(r"\$\{MLFLOW_TRACKING_URI:-http://(.+)\}", uri)
    (option,) = [o for o in services["mlflow"]["command"] if o.startswith("--allowed-hosts=")]
    assert default in option.partition("=")[2].split(",")
    probe = services["mlflow"]["healthcheck"]["test"][-1]
    compile(probe, "healthcheck", "exec")
    assert f'"Host": "{default}"' in probe


def test_server_and_clients_are_of_one_version(services: dict[str, Any]) -> None:
    for target in TARGETS:
        version = pins(ROOT / "docker" / f"requirements-{target}.txt")["mlflow"]
        assert services["mlflow"]["image"].endswith(f":v{version}")


@pytest.mark.slow
def test_the_servers_command_is_one_that_mlflow_knows(services: dict[str, Any]) -> None:
    program, subcommand, *options = services["mlflow"]["command"]
    mlflow = Path(sys.executable).with_name(program)
    done = subprocess.run(
        [mlflow, subcommand, "--help"], capture_output=True, text=True, timeout=120, check=True
    )
    for option in options:
        assert option.partition("=")[0] in done.stdout


def test_trainings_get_a_gpu_where_they_can_use_one(services: dict[str, Any]) -> None:
    (device,) = services["train"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    for name in ("train-tensorflow", "train-cpu"):
        assert "deploy" not in services[name]
    assert services["train-cpu"]["profiles"] == ["cpu"]
    assert services["train-cpu"]["build"]["args"] == {"BASE": "ubuntu:24.04"}
    # A plain `docker compose up` starts the server alone.
    assert [name for name, each in services.items() if "profiles" not in each] == ["mlflow"]


@pytest.mark.parametrize("name", ["train", "train-tensorflow", "train-cpu"])
def test_each_training_can_be_built_and_called(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["build"]["target"] in TARGETS
    assert service["shm_size"] == "8gb"
    assert service["depends_on"] == {"mlflow": {"condition": "service_healthy"}}
    assert explr.compose(service["command"]).framework.name in ("pytorch", "tensorflow")
    entry = {text for word, text in instructions() if word == "ENTRYPOINT"}
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entry == {'["explr"]'}
    assert "explr" in scripts
    owned = next(text for word, text in instructions() if "useradd" in text)
    for volume in service["volumes"]:
        source, _, target = volume.partition(":")
        assert source in compose()["volumes"]
        assert target in owned.split()
