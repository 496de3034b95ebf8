"""What can be known of the container files without building them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def copied_paths() -> list[str]:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    return [
        source for line in lines if line.startswith("COPY ") for source in shlex.split(line)[1:-1]
    ]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return dict(content["services"])


@pytest.mark.parametrize("source", copied_paths())
def test_what_is_copied_exists_and_is_sent_to_the_engine(source: str) -> None:
    assert (ROOT / source).exists()
    sent = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert any(Path(source).match(pattern) for pattern in sent)


def test_the_image_copies_all_that_the_package_is_built_from() -> None:
    assert {"pyproject.toml", "README.md", "LICENSE", "conf", "examples", "explr"} <= set(
        copied_paths()
    )


def test_the_image_installs_the_pytorch_build_for_its_own_cuda() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "FROM nvidia/cuda:12.8" in text
    assert "--constraint constraints-cu128.txt" in text


def test_no_container_gets_more_rights_than_it_needs(services: dict[str, Any]) -> None:
    for service in services.values():
        assert "privileged" not in service
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] is True
    assert services["mlflow"]["user"] == "10001:10001"
    assert "\nUSER explr\n" in (ROOT / "Dockerfile").read_text()


def test_the_mlflow_server_lets_in_this_machine_and_the_trainings(
    services: dict[str, Any],
) -> None:
    assert services["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    uri = services["train"]["environment"]["MLFLOW_TRACKING_URI"]
    (option,) = [o for o in services["mlflow"]["command"] if o.startswith("--allowed-hosts=")]
    assert uri.removeprefix("http://") in option.partition("=")[2].split(",")
