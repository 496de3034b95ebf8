"""The files for the service that checks changes and makes releases."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def content(file: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(file.read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_job_may_read_alone_and_ends_in_time(file: Path) -> None:
    workflow = content(file)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 90
        assert ("permissions" in job) is (name == "release")


def test_a_change_is_checked_by_the_script_that_a_person_runs() -> None:
    steps = content(GITHUB / "workflows" / "ci.yml")["jobs"]["check"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_a_release_is_tried_with_each_python_that_the_package_names() -> None:
    tried = content(GITHUB / "workflows" / "release.yml")["jobs"]["try"]
    named = [
        f"Programming Language :: Python :: {each}"
        for each in tried["strategy"]["matrix"]["python"]
    ]
    classifiers = [line.strip(' ",') for line in (ROOT / "pyproject.toml").read_text().splitlines()]
    assert named == [line for line in classifiers if "Python :: 3." in line]


def test_a_release_says_what_it_is_made_of() -> None:
    jobs = content(GITHUB / "workflows" / "release.yml")["jobs"]
    assert any(step.get("run") == "make sbom" for step in jobs["build"]["steps"])
    (signed,) = [s["with"] for s in jobs["release"]["steps"] if "attest-sbom" in s.get("uses", "")]
    assert f"--output-file {signed['sbom-path']} " in (ROOT / "Makefile").read_text()


def test_forms_ask_for_what_explr_can_tell() -> None:
    forms = [content(file) for file in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml")]
    asked = [field["attributes"]["label"] for form in forms for field in form.get("body", ())]
    assert {"The output of `explr verify`", "The output of `explr --version`"} <= set(asked)
