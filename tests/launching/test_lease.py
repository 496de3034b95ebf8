"""Slots spread over GPUs, and budgets over slots."""

import pytest

from explr.utils.lease import CONTEXT_GB, divide, grouped, visible_devices


def test_without_a_gpu_no_variable_is_set_and_no_limit_applies() -> None:
    leases = divide(3, {})
    assert [lease.environment for lease in leases] == [{}, {}, {}]
    assert {lease.memory_gb for lease in leases} == {0.0}


def test_slots_take_turns_on_the_gpus() -> None:
    leases = divide(3, {"0": 24.0, "1": 24.0})
    assert [lease.environment["CUDA_VISIBLE_DEVICES"] for lease in leases] == ["0", "1", "0"]


def test_jobs_on_one_gpu_stay_within_its_budget_together() -> None:
    leases = divide(3, {"0": 24.0, "1": 24.0})
    shared = [lease for lease in leases if lease.devices == "0"]
    assert sum(lease.memory_gb + CONTEXT_GB for lease in shared) == pytest.approx(24.0)
    assert leases[1].memory_gb == 24.0


def test_each_gpu_has_a_budget_of_its_own() -> None:
    leases = divide(3, {"0": 24.0, "1": 1.8})
    assert [lease.memory_gb for lease in leases] == [11.5, 1.8, 11.5]


def test_a_job_with_several_gpus_has_neighbours_and_the_budget_of_the_smallest() -> None:
    gpus = {"0": 24.0, "1": 14.4, "2": 24.0, "3": 24.0, "GPU-ab": 24.0}
    groups = grouped(gpus, 2)
    assert groups == {"0,1": 14.4, "2,3": 24.0}
    leases = divide(2, groups)
    assert [lease.gpus for lease in leases] == [["0", "1"], ["2", "3"]]
    assert [lease.memory_gb for lease in leases] == [14.4, 24.0]
    assert leases[1].environment == {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert grouped(gpus, 1) == gpus
    assert grouped(gpus, 8) == {}


def test_no_budget_is_no_limit() -> None:
    assert {lease.memory_gb for lease in divide(2, {"0": 0.0})} == {0.0}


@pytest.mark.parametrize(
    ("setting", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("1", 2, ["1"]),
        ("", 2, []),
        ("-1", 2, []),
        ("GPU-abc, GPU-def", 2, ["GPU-abc", "GPU-def"]),
    ],
)
def test_the_users_own_choice_of_gpus_is_kept(
    setting: str | None, count: int, expected: list[str]
) -> None:
    assert visible_devices(setting, count) == expected
