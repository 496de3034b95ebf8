from __future__ import annotations

import sys
from pathlib import Path

import pytest

from explr.utils.invocation import call_of, in_folder, starting_folder, with_override

CALLS = [
    (["app.py", "-m", "lr=1,2"], "python app.py", 2),
    (["-u", "-W", "error", "-Xdev", "src/my app.py", "lr=1"], "python -u -W error -Xdev", 1),
    (["-m", "pkg.train", "-cn", "other"], "python -m pkg.train", 2),
    (["-um", "pkg", "-m"], "python -um pkg", 1),
    (["--check-hash-based-pycs", "always", "-c", "print(1)"], "python --check-hash", 0),
    (["-cprint(1)", "x=1"], "python -cprint(1)", 1),
    (["folder", "x=1"], "python folder", 1),
    (["-m", "explr", "tuner=optuna"], "explr", 1),
    (["/old/bin/explr", "-m"], "explr", 1),
    ([], "python", 0),
]


@pytest.mark.parametrize(("argv", "program", "arguments"), CALLS)
def test_a_command_is_the_program_and_its_arguments(
    argv: list[str], program: str, arguments: int
) -> None:
    call = call_of(argv)
    assert " ".join(call.program).startswith(program)
    assert list(call.arguments) == argv[len(argv) - arguments :]
    assert call.is_explr == (program == "explr")


def test_a_program_has_the_name_by_which_the_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in (("a", "train"), ("a", "python3"), ("b", "train")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("#!/bin/sh\n")
        (tmp_path / folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "a"))
    assert call_of([f"{tmp_path}/a/train"]).program == ["train"]
    assert call_of([f"{tmp_path}/b/train"]).program == [f"{tmp_path}/b/train"]
    assert call_of(["b/train"], cwd=tmp_path).program == ["b/train"]
    assert call_of(["x.py"], f"{tmp_path}/a/python3.11").program == ["python3", "x.py"]
    assert call_of(["x.py"], f"{tmp_path}/b/python").program == [f"{tmp_path}/b/python", "x.py"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python -Xa=1 t.py -m x=1 +y=2 -cn c", "python -Xa=1 t.py -m x=1 +y=2 NEW -cn c"),
        ("python -X a=1 t.py -m", "python -X a=1 t.py -m NEW"),
        ("train -m db@src=a,b --config-name=c", "train -m db@src=a,b NEW --config-name=c"),
    ],
)
def test_an_override_is_added_to_the_others(line: str, expected: str) -> None:
    assert with_override(line.split(), "NEW") == expected.split()


def test_the_folder_of_a_script_that_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.py").touch()
    (other := tmp_path / "an other").mkdir()
    monkeypatch.chdir(other)
    monkeypatch.setenv("PWD", str(tmp_path))
    assert starting_folder() == other
    monkeypatch.setattr(sys, "orig_argv", ["python", "t.py"])
    assert starting_folder() == tmp_path
    assert in_folder(tmp_path, ["a", "b c"]) == in_folder(other, ["a", "b c"]) == "a 'b c'"
    monkeypatch.chdir(tmp_path)
    assert in_folder(other, ["a"]) == f"cd '{other}' && a"
