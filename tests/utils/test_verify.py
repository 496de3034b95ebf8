"""What follows from what is seen of an installation; the traps of an RTX 5090 by name."""

from __future__ import annotations

import signal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from explr.utils.nvml import Driver, Gpu
from explr.utils.verify.check import Probe, probe
from explr.utils.verify.driver import binding_check, budget_checks, driver_checks, share_check
from explr.utils.verify.machine import folder_check, ray_check, shared_memory_check
from explr.utils.verify.mlflow import server_checks
from explr.utils.verify.tensorflow import checks as tensorflow_checks
from explr.utils.verify.torch import checks as torch_checks
from explr.utils.verify.torch import runs_on

RTX_5090 = Gpu(0, "NVIDIA GeForce RTX 5090", compute_capability=(12, 0), memory_total_gb=32.0)
DRIVER_570 = Driver(version="570.195.03", cuda=(12, 8), gpus=(RTX_5090,))
DRIVER_580 = Driver(version="580.65.06", cuda=(13, 0), gpus=(RTX_5090,))
NO_DRIVER = Driver(fault="not found", missing=True)

CU128 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
"""What PyTorch 2.10.0 on the package index is compiled for."""
CU126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
STOCK_TENSORFLOW = ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"]


def torch_facts(version: str, cuda: str | None, gpus: int, kernels: list[str]) -> Probe:
    facts: dict[str, Any] = {"version": version, "cuda": cuda, "gpus": gpus, "kernels": kernels}
    facts |= {"reason": "", "capabilities": [[12, 0]] * gpus, "computed": ["cuda:0"]}
    return Probe(facts)


def test_the_right_pytorch_for_the_card_passes() -> None:
    found = torch_facts("2.10.0", "12.8", 1, CU128)
    checks = torch_checks(found, DRIVER_570, 1, needed=True)
    assert [check.status for check in checks] == ["pass"] * 3


def test_cuda_13_wheels_on_driver_570_fail_with_the_pin() -> None:
    found = torch_facts("2.13.0", "13.0", 0, [])
    build, kernels, _ = torch_checks(found, DRIVER_570, 1, needed=True)
    assert build.status == "fail"
    seen = "torch 2.13.0 is built for CUDA 13.0, and driver 570.195.03 runs CUDA up to 12.8"
    assert build.seen == seen
    assert "pip install torch==2.10.0" in build.remedy
    assert "580" in build.remedy
    assert kernels.status == "warn"


def test_a_build_without_sm_120_fails_on_the_card_by_its_name() -> None:
    found = torch_facts("2.10.0+cu126", "12.6", 1, CU126)
    build, kernels, _ = torch_checks(found, DRIVER_570, 1, needed=True)
    assert build.status == "pass"
    assert kernels.status == "fail"
    assert kernels.seen.startswith("no kernels for sm_120, only for sm_50")
    assert "torch==2.10.0" in kernels.remedy


def test_a_build_for_the_cpu_beside_a_gpu_fails() -> None:
    found = torch_facts("2.13.0+cpu", None, 0, [])
    assert torch_checks(found, DRIVER_570, 1, needed=True)[0].status == "fail"
    newest = torch_checks(found, DRIVER_580, 1, needed=True)[0]
    assert "pip install --upgrade torch" in newest.remedy
    hidden = torch_checks(found, DRIVER_570, 0, needed=True)
    assert [check.status for check in hidden] == ["pass"] * 3


@pytest.mark.parametrize(
    ("driver", "cuda", "gpus", "status"),
    [
        (Driver(version="550", cuda=(12, 4), gpus=(RTX_5090,)), "12.8", 1, "warn"),
        (Driver(version="470", cuda=(11, 4), gpus=(RTX_5090,)), "12.8", 0, "fail"),
        (DRIVER_580, "12.8", 1, "pass"),
        (DRIVER_580, "13.0", 0, "fail"),
    ],
)
def test_the_drivers_cuda_against_that_of_pytorch(
    driver: Driver, cuda: str, gpus: int, status: str
) -> None:
    found = torch_facts("2.10.0", cuda, gpus, CU128)
    check = torch_checks(found, driver, 1, needed=True)[0]
    assert check.status == status
    assert bool(check.remedy) is (status != "pass")


@pytest.mark.parametrize(
    ("capability", "kernels", "runs"),
    [
        ((12, 0), ["sm_120"], True),
        ((8, 9), ["sm_86"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_90a"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((7, 5), ["compute_80"], False),
    ],
)
def test_which_gpu_runs_what_was_compiled(
    capability: tuple[int, int], kernels: list[str], runs: bool
) -> None:
    assert runs_on(capability, kernels) is runs
    assert runs_on((12, 0), STOCK_TENSORFLOW, ptx=False) is False


def tensorflow_facts(cuda: str | None, gpus: int, **more: Any) -> Probe:
    facts = {"version": "2.21.0", "cuda": cuda, "gpus": gpus, "kernels": STOCK_TENSORFLOW}
    facts |= {"capabilities": [[12, 0]] * gpus, "computed": ["/CPU:0"]} | more
    return Probe(facts)


def test_stock_tensorflow_on_the_card_fails_with_what_to_do_instead() -> None:
    found = tensorflow_facts("12.5", 1)
    build, kernels, computes = tensorflow_checks(found, DRIVER_570, 1, needed=True)
    assert [build.status, kernels.status, computes.status] == ["pass", "fail", "pass"]
    assert kernels.seen.startswith("no kernels for sm_120")
    assert "gpu=cpu" in kernels.remedy
    assert "KERAS_BACKEND=torch" in kernels.remedy


def test_tensorflow_on_the_cpu_is_right_beside_the_card_and_told_beside_another() -> None:
    found = tensorflow_facts(None, 0)
    assert tensorflow_checks(found, DRIVER_570, 1, needed=True)[0].status == "pass"
    older = Driver(version="570", cuda=(12, 8), gpus=(Gpu(0, compute_capability=(8, 6)),))
    check = tensorflow_checks(found, older, 1, needed=True)[0]
    assert check.status == "warn"
    assert "tensorflow[and-cuda]" in check.remedy


def test_a_framework_that_aborts_fails_alone() -> None:
    facts = tensorflow_facts("12.5", 1).facts
    del facts["computed"]
    checks = tensorflow_checks(Probe(facts, "was ended by SIGABRT"), DRIVER_570, 1, needed=False)
    assert (checks[-1].status, checks[-1].seen) == ("fail", "was ended by SIGABRT")
    (broken,) = torch_checks(Probe({}, "ImportError: no libcudart"), DRIVER_570, 1, needed=False)
    assert broken.status == "fail"
    assert "ImportError: no libcudart" in broken.seen


def test_a_framework_is_missed_where_it_is_to_train() -> None:
    assert [c.status for c in torch_checks(None, NO_DRIVER, 0, needed=False)] == ["pass"]
    for checks in (torch_checks, tensorflow_checks):
        (missed,) = checks(None, NO_DRIVER, 0, needed=True)
        assert missed.status == "fail"
        assert "explr-train[" in missed.remedy
    assert ray_check(None, needed=True).status == "fail"
    assert ray_check(None, needed=False).status == "pass"
    assert ray_check(Probe({"version": "2"}, "RuntimeError: no"), needed=True).status == "fail"


CRASHING = """
import os, signal
print("noise")
print('{"version": "1"}', flush=True)
os.kill(os.getpid(), signal.SIGABRT)
"""


def test_a_probe_that_crashes_has_told_what_it_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    (tmp_path / "raising.py").write_text("raise ImportError('no such library')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probe("crashing") == Probe(
        {"version": "1"}, f"was ended by {signal.Signals.SIGABRT.name}"
    )
    assert probe("raising") == Probe({}, "ImportError: no such library")


def test_no_driver_passes_without_a_card_and_warns_with_one(tmp_path: Path) -> None:
    assert {check.status for check in driver_checks(NO_DRIVER, tmp_path)} == {"pass"}
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030000\n")
    (check,) = driver_checks(NO_DRIVER, tmp_path)
    assert check.status == "warn"
    assert "--gpus all" in check.remedy


def test_a_driver_updated_without_a_reboot_fails_with_the_reboot() -> None:
    loads, match = driver_checks(Driver(fault="mismatch", mismatched=True))
    assert (loads.status, match.status) == ("pass", "fail")
    assert match.remedy.startswith("Reboot")
    (check,) = driver_checks(Driver(fault="Unknown Error"))
    assert (check.status, check.seen) == ("fail", "Unknown Error")


@pytest.mark.parametrize(
    ("configured", "free_gb", "status"),
    [(24, 30.0, "pass"), (24, 12.0, "warn"), (40, 30.0, "fail"), (0, 1.0, "pass")],
)
def test_the_budget_against_what_is_there(configured: float, free_gb: float, status: str) -> None:
    gpu = Gpu(0, memory_total_gb=32.0, memory_free_gb=free_gb, memory_used_gb=32.0 - free_gb)
    (check,) = budget_checks(Driver(version="570", gpus=(gpu,)), configured)
    assert check.status == status


def test_a_budget_that_is_none_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLR_GPU_MEMORY_GB", "much")
    (check,) = budget_checks(NO_DRIVER, None)
    assert check.status == "fail"
    assert "EXPLR_GPU_MEMORY_GB" in check.seen


@pytest.mark.parametrize(
    ("trials", "shares_gb", "status"),
    [
        (1, [24.0], "pass"),
        (2, [11.5, 11.5], "pass"),
        (20, [0.7] * 20, "warn"),
        (60, [0.1] * 60, "fail"),
        (2, [0.0, 0.0], "warn"),
        (1, [0.0], "pass"),
    ],
)
def test_trials_at_once_against_the_budget(
    trials: int, shares_gb: list[float], status: str
) -> None:
    assert share_check(trials, shares_gb, 0.5, gpus=1).status == status
    assert share_check(trials, shares_gb, 0.5, gpus=0).status == "pass"


def test_an_old_binding_beside_the_new_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert binding_check().status == "pass"
    info = tmp_path / "pynvml-11.5.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pynvml\nVersion: 11.5.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    check = binding_check()
    assert check.status == "warn"
    assert "pynvml 11.5.0" in check.seen
    assert "pip uninstall pynvml" in check.remedy


def test_folders_are_really_written_to(tmp_path: Path) -> None:
    check = folder_check("outputs", tmp_path / "not" / "yet")
    assert check.status in ("pass", "warn")  # as much as is free here
    assert "GiB free" in check.seen
    assert list(tmp_path.iterdir()) == []
    assert folder_check("outputs", Path("/proc/nothing")).status == "fail"
    assert shared_memory_check(str(tmp_path / "none")).status == "warn"


class Answers(BaseHTTPRequestHandler):
    """A server that lives, tells its version, and lets no client in."""

    def do_GET(self) -> None:
        self._answer(200, {"/health": b"OK", "/version": b"2.9.0"}[self.path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))  # what is not read resets the answer
        self._answer(403, b"Invalid Host header - possible DNS rebinding attack detected")

    def _answer(self, code: int, text: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.slow
def test_a_server_that_lives_but_refuses_the_host_fails_with_the_option_to_set() -> None:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    uri = f"http://127.0.0.1:{server.server_port}"
    try:
        found = probe("explr.utils.verify.mlflow", uri)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    health, call, versions = server_checks(found, uri)
    assert (health.status, call.status, versions.status) == ("pass", "fail", "warn")
    assert "403" in call.seen
    assert f"--allowed-hosts=127.0.0.1:{server.server_port}" in call.remedy
    assert versions.seen.endswith("server 2.9.0")


@pytest.mark.slow
def test_a_server_that_is_away_fails_at_once() -> None:
    uri = "http://127.0.0.1:9"
    health, call = server_checks(probe("explr.utils.verify.mlflow", uri), uri)
    assert (health.status, call.status) == ("fail", "fail")
    assert "explr sync" in call.remedy
