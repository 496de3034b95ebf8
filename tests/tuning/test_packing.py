"""How many trials at once, by the memory of those before them."""

from __future__ import annotations

import pytest

from explr.sweep.executors.packing import Packing, Room
from explr.tuning.trial import Peak


def decided(room: Room, *peaks: Peak) -> list[int]:
    """The number at first, and after each trial that was measured."""
    packing = Packing(room)
    numbers = [packing.slots]
    for peak in peaks:
        packing.measured(peak)
        numbers.append(packing.slots)
    return numbers


def test_the_first_trial_is_alone_and_its_peak_decides() -> None:
    packing = Packing(Room(cores=16, host_gb=4.7))
    assert packing.slots == 1
    line = packing.measured(Peak(2.1))
    assert packing.slots == 2
    assert line == "2 trials at once: each took up to 2.1 GiB of 4.7 GiB host memory"


def test_a_trial_that_is_measured_twice_counts_once() -> None:
    packing = Packing(Room(16, 64.0))
    packing.measured(Peak(1.0))
    assert packing.measured(Peak(4.0), again=True) is None
    assert packing.slots == 2
    packing.measured(Peak(4.0))
    assert packing.slots == 4


def test_the_number_at_most_doubles_with_what_was_measured() -> None:
    assert decided(Room(16, 64.0), *[Peak(4.0)] * 8) == [1, 2, 4, 6, 8, 10, 12, 14, 14]


def test_a_tenth_is_left_beside_the_largest_peak() -> None:
    assert decided(Room(16, 10.0), *[Peak(1.0)] * 6)[-1] == 9
    assert decided(Room(16, 11.0), *[Peak(1.0)] * 6)[-1] == 10


def test_the_largest_peak_counts_and_not_the_last() -> None:
    packing = Packing(Room(16, 10.0))
    packing.measured(Peak(1.0))
    assert packing.measured(Peak(1.0)) is not None
    assert packing.measured(Peak(6.0)) == (
        "1 trial at once: each took up to 6.0 GiB of 10.0 GiB host memory"
    )
    assert packing.measured(Peak(1.0)) is None
    assert packing.slots == 1


def test_never_more_than_cores() -> None:
    packing = Packing(Room(2, 64.0))
    line = packing.measured(Peak(0.25))
    assert (
        line == "2 trials at once: there are 2 CPU cores; each took up to 0.25 GiB of host memory"
    )
    assert decided(Room(1, 64.0), *[Peak(0.25)] * 3) == [1, 1, 1, 1]
    assert Packing(Room(2, 64.0, gpus=8, gpu_gb=24.0)).slots == 2


def test_a_trial_above_all_memory_still_runs() -> None:
    assert decided(Room(4, 1.0), Peak(3.0)) == [1, 1]


@pytest.mark.parametrize(
    ("gpus", "peak_gb", "numbers"),
    [
        (1, 7.0, [1, 2, 3, 3]),
        (2, 7.0, [2, 2, 4, 6]),
        (2, 30.0, [2, 2, 2, 2]),
        (1, 0.0, [1, 2, 4, 6]),
    ],
)
def test_gpus_are_filled_each_for_itself(gpus: int, peak_gb: float, numbers: list[int]) -> None:
    room = Room(16, 256.0, gpus, 24.0)
    assert decided(room, *[Peak(1.0, peak_gb)] * 3) == numbers


def test_the_scarcer_memory_decides() -> None:
    assert decided(Room(16, 4.0, 1, 24.0), *[Peak(1.0, 1.0)] * 4)[-1] == 3
    assert decided(Room(16, 40.0, 1, 3.5), *[Peak(1.0, 1.0)] * 4)[-1] == 3


def test_a_gpu_of_which_nothing_is_known_has_one_trial() -> None:
    assert decided(Room(16, 64.0, 2, 24.0), *[Peak(1.0, None)] * 4) == [2] * 5
    assert decided(Room(16, 64.0, 1, None), *[Peak(1.0, 2.0)] * 4) == [1] * 5
    # One trial of which it is known is enough.
    assert decided(Room(16, 64.0, 1, 24.0), Peak(1.0, 8.0), Peak(1.0, None)) == [1, 2, 2]


def test_running_out_of_memory_lowers_the_number_for_good() -> None:
    packing = Packing(Room(16, 64.0))
    for _ in range(2):
        packing.measured(Peak(1.0))
    assert packing.slots == 4
    assert packing.ran_out(4, Peak(0.5)) == "3 trials at once: 4 together ran out of memory"
    assert packing.ran_out(4, Peak(0.5)) is None  # one that died with it
    assert packing.measured(Peak(1.0)) is None
    assert packing.ran_out(2, Peak(0.5)) == "1 trial at once: 2 together ran out of memory"
    assert packing.slots == 1


def test_running_out_with_nothing_beside_says_nothing_of_the_number() -> None:
    packing = Packing(Room(16, 64.0))
    packing.measured(Peak(1.0))
    assert packing.ran_out(1, Peak(2.0)) is None
    assert packing.slots == 2
    assert packing.ran_out(1, Peak(50.0)) is not None  # but the peak does


def test_one_on_each_gpu_stays() -> None:
    packing = Packing(Room(16, 64.0, gpus=2, gpu_gb=24.0))
    assert packing.ran_out(2, Peak(1.0, 23.0)) is None
    assert packing.slots == 2


def test_a_peak_is_the_larger_of_each_kind() -> None:
    assert Peak(1.0, None) | Peak(2.0, 3.0) == Peak(2.0, 3.0)
    assert Peak(4.0, 1.0) | Peak(2.0, None) == Peak(4.0, 1.0)
    assert (Peak() | Peak()).gpu_gb is None


def test_what_is_said_at_the_beginning() -> None:
    assert str(Packing(Room(8, 20.0))) == (
        "1 trial at once, until the memory of a trial is measured; "
        "available: 20.0 GiB of host memory"
    )
    assert str(Packing(Room(8, 20.0, 2, 24.0))).endswith("and 24.0 GiB of each GPU")


def test_trials_with_several_gpus_do_not_share_them() -> None:
    room = Room(64, 64.0, gpus=4, gpu_gb=24.0, per_trial=2)
    assert decided(room, *[Peak(1.0, 2.0)] * 6)[-1] == 4
    packing = Packing(Room(64, 5.0, gpus=4, gpu_gb=24.0, per_trial=2))
    assert packing.slots == 4
    line = packing.measured(Peak(2.0, 2.0))
    assert (packing.slots, line) == (
        2,
        "2 trials at once: each took up to 2.0 GiB of 5.0 GiB host memory",
    )


def test_each_process_of_a_trial_has_a_core() -> None:
    assert decided(Room(9, 64.0, processes=4), *[Peak(1.0)] * 4)[-1] == 2
    assert Packing(Room(2, 64.0, gpus=8, processes=4)).slots == 1
