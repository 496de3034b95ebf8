"""What can be known of the container files without an engine that builds them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_pydantic import ComposeSpecification
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import ValidationError

import explr

ROOT = Path(__file__).parents[1]
TARGETS = ("torch", "tensorflow", "cpu")
CONSTRAINTS = {
    "torch": "constraints-cu128.txt",
    "tensorflow": "constraints-cu128.txt",
    "cpu": "constraints-cpu.txt",
}
LOCKS = ["requirements-run.txt", *(f"docker/requirements-{target}.txt" for target in TARGETS)]
CUDA = "cuda:12.8.1-base-ubuntu24.04"
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
            found[canonicalize_name(name)] = number.split()[0]
    return found


def locked(target: str) -> dict[str, str]:
    """Version by name of all that an image gets."""
    files = sorted((ROOT / "docker").glob(f"requirements-{target}*.txt"))
    return {name: number for file in files for name, number in pins(file).items()}


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
    (base,) = [text for word, text in instructions() if word == "ARG"]
    assert base.partition("@")[0] == f"BASE=nvidia/{CUDA}"
    assert stages()["base"] == "${BASE}"
    assert pins(ROOT / "docker" / "requirements-torch.txt")["torch"] == "2.10.0"


def test_no_target_runs_as_root() -> None:
    words = [word for word, _ in instructions()]
    assert ("USER", "10001:10001") in instructions()
    assert words.count("USER") == 1
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_installed_is_what_the_constraints_name(target: str) -> None:
    found = locked(target)
    named = pins(ROOT / CONSTRAINTS[target])
    assert len(named.keys() & found.keys()) > 10
    for name in named.keys() & found.keys():
        assert Requirement(f"{name}=={named[name]}").specifier.contains(found[name], True)


@pytest.mark.parametrize(
    ("target", "extras"),
    [("torch", ["torch", "ray"]), ("tensorflow", ["tensorflow", "ray"]), ("cpu", ["torch", "ray"])],
)
def test_what_is_installed_is_all_that_explr_needs(target: str, extras: list[str]) -> None:
    assert missing(locked(target), extras) == []


def missing(found: dict[str, str], extras: list[str]) -> list[str]:
    """What explr needs and does not find among versions by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"]]
    for extra in extras:
        needed += project["optional-dependencies"][extra]
    return [
        text
        for text in needed
        if not (one := Requirement(text)).specifier.contains(
            found.get(canonicalize_name(one.name), "0"), prereleases=True
        )
    ]


def test_what_is_missing_is_found() -> None:
    found = pins(ROOT / "requirements-run.txt")
    assert missing({**found, "optuna": "4.0.0"}, []) == ["optuna>=5,<6"]
    assert missing(found, ["tensorflow"]) == ["tensorflow>=2.20"]


def test_make_run_installs_what_explr_needs_and_the_constraints_name() -> None:
    found = pins(ROOT / "requirements-run.txt")
    assert missing(found, ["hydra14"]) == []
    named = pins(ROOT / "constraints-common.txt")
    assert {name: found[name] for name in named.keys() & found.keys()} == {
        name: named[name] for name in named.keys() & found.keys()
    }


@pytest.mark.parametrize("file", LOCKS)
def test_each_package_is_locked_by_hashes_and_no_index_is_named(file: str) -> None:
    text = (ROOT / file).read_text()
    entries = re.sub(r"\\\n", "", text).splitlines()
    packages = [line for line in entries if not line.startswith("#")]
    assert len(packages) > 100
    assert all(re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", each) for each in packages)
    assert "://" not in text
    assert "make lock" in entries[1]


def test_images_are_installed_by_their_hashes() -> None:
    installs = [text for word, text in instructions() if "--requirement" in text]
    assert len(installs) == len(TARGETS)
    for text in installs:
        unlocked = text.count("--requirement requirements-cpu-torch.txt")
        assert text.count("--require-hashes") == text.count("--requirement") - unlocked


def test_what_pytorch_needs_is_locked_for_each_of_its_builds() -> None:
    needed = [Requirement(text) for text in requires("torch") or []]
    plain = {
        canonicalize_name(one.name)
        for one in needed
        if (one.marker is None or one.marker.evaluate({**PYTHON, "extra": ""}))
        and not re.match("nvidia-|cuda-|triton", one.name)
    }
    assert plain <= pins(ROOT / "requirements-run.txt").keys() & locked("cpu").keys()


def test_the_page_of_licences_names_what_is_installed() -> None:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "docs/hooks/licences.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (\S.*) \|$", hook.PAGE.read_text(), re.MULTILINE)
    table = {name: licence for name, licence in rows if name != "package"}
    assert hook.PAGE.read_text() == hook.page(table), "make licences writes it anew"
    assert {"mlflow", "torch", "tensorflow", "ray", "hydra-core"} <= table.keys()
    assert not [name for name, licence in table.items() if re.search("GPL|UNKNOWN", licence)]


def test_make_pins_images_by_digest(tmp_path: Path) -> None:
    for name in ("Makefile", "Dockerfile", "docker-compose.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docker").write_text(
        '#!/bin/sh\necho sha256:$(printf %s "$4" | sha256sum | cut -c-64)\n'
    )
    (tmp_path / "docker").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    images = {f"nvidia/{CUDA}", "ubuntu:24.04", str(compose()["services"]["mlflow"]["image"])}
    digests = {each: hashlib.sha256(each.partition("@")[0].encode()).hexdigest() for each in images}
    for _ in range(2):  # it replaces a digest, too
        subprocess.run(["make", "digests"], cwd=tmp_path, env=environment, check=True, timeout=60)
        text = "".join(
            (tmp_path / name).read_text() for name in ("Dockerfile", "docker-compose.yml")
        )
        for image, digest in digests.items():
            pinned = f"{image.partition('@')[0]}@sha256:{digest}"
            assert text.count(pinned + "\n") == 1
        assert text.count("@sha256:") == len(images)


def test_no_image_for_the_cpu_brings_cuda() -> None:
    for target in ("cpu", "tensorflow"):
        assert [name for name in locked(target) if name.startswith("nvidia-")] == ["nvidia-ml-py"]
    text = (ROOT / "docker" / "requirements-cpu-torch.txt").read_text()
    assert "--index-url https://download.pytorch.org/whl/cpu\n" in text


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
        assert services["mlflow"]["image"].partition("@")[0].endswith(f":v{version}")


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
    (base,) = services["train-cpu"]["build"]["args"].items()
    assert (base[0], base[1].partition("@")[0]) == ("BASE", "ubuntu:24.04")
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
