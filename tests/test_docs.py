"""The pages in `docs/` name everything that can be set or called, as the code has it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

import explr
from explr.core.config import (
    ROOT_KEYS,
    FrameworkConfig,
    GpuConfig,
    MLflowConfig,
    ObjectiveConfig,
    OptunaConfig,
    RayClusterConfig,
    TrackingConfig,
    TunerConfig,
)
from explr.runner.commands import commands

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

GROUPS = {
    "objective": (ObjectiveConfig,),
    "framework": (FrameworkConfig,),
    "tuner": (TunerConfig, OptunaConfig),
    "tuner.ray": (RayClusterConfig,),
    "tracking": (TrackingConfig, MLflowConfig),
    "gpu": (GpuConfig,),
}
TOLD = {
    "tuner.name": "`none`",
    "tuner.study_name": "the time of the start",
    "tuner.sampler": "`tuner/sampler=tpe`",
    "tuner.pruner": "`tuner/pruner=median`",
}
"""Defaults that a value alone does not tell."""

UNITS = {"_s": "s", "_gb": "GiB"}


def row_of(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def shown(value: Any) -> str:
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, Enum):
        value = value.name
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def unit_of(name: str) -> str:
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def meanings_of(schema: type) -> dict[str, str]:
    """The comment above each field of a dataclass."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in inspect.getsource(schema).splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
        else:
            if field := re.match(r"(\w+): ", text):
                found[field[1]] = " ".join(comment)
            comment = []
    return found


def schema_rows() -> Iterator[str]:
    """The row that the page must hold for each key of the schema."""
    composed = explr.compose(["tuner=ray"])
    for group, schemas in GROUPS.items():
        seen: set[str] = set()
        for schema in schemas:
            meanings = meanings_of(schema)
            for field in fields(schema):
                key = f"{group}.{field.name}"
                if key in seen:
                    continue
                seen.add(key)
                default = TOLD.get(key) or f"`{shown(OmegaConf.select(composed, key))}`"
                yield row_of(f"`{key}`", unit_of(field.name), default, meanings[field.name])


def options() -> list[Path]:
    """Every option of the groups that a command line chooses from."""
    inner = (CONF, CONF / "explr")
    return sorted(path for path in CONF.rglob("*.yaml") if path.parent not in inner)


def described(path: Path) -> tuple[str, str]:
    """How an option is chosen, and what its file says of it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ") for line in lines if line.startswith("# ")]
    text = next(comment for comment in comments if not comment.startswith("@package"))
    return f"{path.parent.relative_to(CONF).as_posix()}={path.stem}", text


def settings_of(path: Path) -> list[str]:
    """The keys of a sampler or a pruner, as one would override them."""
    content = OmegaConf.load(path)
    assert isinstance(content, DictConfig)
    group = path.parent.relative_to(CONF).as_posix().replace("/", ".")
    return [f"{group}.{key}" for key in content if not str(key).startswith("_")]


def option_rows() -> Iterator[str]:
    """The row that the page must hold for each option of each group."""
    for path in options():
        choice, text = described(path)
        if "/" in choice:
            names = ", ".join(f"`{key.rpartition('.')[2]}`" for key in settings_of(path))
            yield row_of(f"`{choice}`", text, names)
        else:
            yield row_of(f"`{choice}`", text)


def test_the_page_on_configuration_has_every_key_with_its_default_and_meaning() -> None:
    assert [row for row in schema_rows() if row not in CONFIGURATION.splitlines()] == []


def test_the_page_on_configuration_has_every_option_with_what_it_does() -> None:
    assert [row for row in option_rows() if row not in CONFIGURATION.splitlines()] == []


@pytest.mark.parametrize("key", sorted(ROOT_KEYS - {"hydra"}))
def test_the_page_on_configuration_has_every_key_of_the_root(key: str) -> None:
    assert f"`{key}`" in CONFIGURATION or f"`{key}." in CONFIGURATION


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
