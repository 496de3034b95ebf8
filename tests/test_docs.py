"""The site builds without a warning, needs no network, and names all that can be set or called."""

from __future__ import annotations

import html
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

import explr
import explr.tuning
from explr.core.config import (
    ROOT_KEYS,
    SCHEMAS,
    DataConfig,
    FrameworkConfig,
    GpuConfig,
    MLflowConfig,
    ObjectiveConfig,
    OptunaConfig,
    RayClusterConfig,
    RayConfig,
)
from explr.runner.cli.commands import commands

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONF = ROOT / "conf"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def shown(page: Path) -> str:
    """What a reader sees of a page of the site."""
    text = page.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
    return html.unescape(re.sub(r"<[^>]+>", "", text))


@pytest.fixture(scope="module")
def configuration(site: Path) -> str:
    return shown(site / "configuration" / "index.html")


GROUPS = {
    "objective": ObjectiveConfig,
    "framework": FrameworkConfig,
    "tuner": OptunaConfig,
    "tuner.ray": RayClusterConfig,
    "tracking": MLflowConfig,
    "gpu": GpuConfig,
    "data": DataConfig,
}
KEYS = [f"{group}.{field.name}" for group, schema in GROUPS.items() for field in fields(schema)]


def test_the_schemas_are_all_looked_at() -> None:
    bases = {base for schema in GROUPS.values() for base in schema.__mro__}
    assert set(SCHEMAS.values()) - bases == {RayConfig}  # its one key has a table of its own
    assert {field.name for field in fields(RayConfig)} - {f.name for f in fields(OptunaConfig)} == {
        "ray"
    }


@pytest.mark.slow
def test_the_reference_has_every_key(configuration: str) -> None:
    assert [key for key in KEYS if key not in configuration] == []
    assert [key for key in ROOT_KEYS - {"hydra"} if key not in configuration] == []


@pytest.mark.slow
def test_the_reference_tells_unit_default_and_meaning(configuration: str) -> None:
    cells = " ".join(configuration.split())
    assert (
        "tuner.trial_timeout_s s null seconds after which a trial is stopped and counts as failed"
        in cells
    )
    assert "gpu.memory_limit_gb GiB null GPU memory in GiB for all running trials together" in cells
    assert "tracking.autostart true start an MLflow server for the local store" in cells
    assert "tuner/pruner=asha asynchronous successive halving" in cells


@pytest.mark.slow
def test_the_reference_has_every_option(configuration: str) -> None:
    inner = (CONF, CONF / "explr")
    paths = [path for path in CONF.rglob("*.yaml") if path.parent not in inner]
    options = [f"{path.parent.relative_to(CONF).as_posix()}={path.stem}" for path in paths]
    assert len(options) > 20
    assert [option for option in options if option not in configuration] == []


@pytest.mark.slow
def test_the_reference_has_every_command_with_its_options(site: Path) -> None:
    page = shown(site / "reference" / "commands" / "index.html")
    for name, command in commands.commands.items():
        assert f"explr {name}" in page
        for parameter in command.params:
            assert all(option in page for option in parameter.opts if option.startswith("-"))
    assert "--multirun" in page
    assert "--verbose" in page


@pytest.mark.slow
def test_the_reference_has_every_public_name(site: Path) -> None:
    page = shown(site / "reference" / "python" / "index.html")
    for module in (explr, explr.tuning):
        for name in set(module.__all__) - {"SweepResult"}:
            assert f"{module.__name__}.{name}" in page


@pytest.mark.slow
def test_pages_need_no_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?([^\"' >]+)", text)
        loaded += re.findall(r"<link[^>]*\srel=[\"']?(?:stylesheet|icon|preload)[^>]*", text)
        assert loaded
        assert not [one for one in loaded if "://" in one or one.startswith("//")], page


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert hook().filled(text) == text, "make docs writes them anew"


def test_a_table_is_replaced_by_the_one_of_today() -> None:
    fresh = hook().filled("<!-- keys: gpu -->\n\nafter\n")
    assert "`gpu.memory_limit_gb`" in fresh
    assert fresh.endswith(" |\n\nafter\n")
    assert hook().filled(fresh.replace("gpu.memory_limit_gb", "gpu.of_before")) == fresh


def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "hooks" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("asked", ["keys: nothing", "options: nothing"])
def test_a_table_of_a_group_that_is_not_there_is_an_error(asked: str) -> None:
    with pytest.raises(KeyError, match="nothing"):
        hook().filled(f"<!-- {asked} -->\n")


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_the_readme_names_every_subcommand(name: str) -> None:
    assert f"`explr {name}" in PAGES[0].read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors_of(file), target


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
