"""Standing back: a process and its own scheduling group, and nobody else's."""

import subprocess
import sys
from pathlib import Path

import pytest

from explr.utils.priority import LOW

STANDS_BACK = """
import os
from pathlib import Path
from explr.utils.priority import LOW, lower_priority
lower_priority(os.getpid(), LOW)
group = Path("/proc/self/autogroup").read_text().split()[-1]
print(os.getpriority(os.PRIO_PROCESS, 0), group, flush=True)
"""
IN_ANOTHERS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STANDS_BACK!r}])"


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel groups no sessions"
)
@pytest.mark.parametrize(
    ("code", "group"), [(STANDS_BACK, LOW), (IN_ANOTHERS, 0)], ids=["own", "another's"]
)
def test_the_group_of_a_session_is_its_leaders(code: str, group: int) -> None:
    started = [  # several at once, of which Linux would refuse some of another user than root
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        for _ in range(3)
    ]
    for process in started:
        output, _ = process.communicate()
        assert output.split() == [str(LOW), str(group)]
