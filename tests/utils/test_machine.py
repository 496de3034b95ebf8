import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from explr.utils.readings import Machine, peak_memory

DRIVER = """
#include <string.h>
int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **device) { *device = (void *)1; return 0; }
typedef struct { unsigned long long total, free, used; } memory_t;
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
  memory->total = 32000000000ULL; memory->used = 8000000000ULL;
  memory->free = memory->total - memory->used;
  return 0;
}
typedef struct { unsigned int gpu, memory; } load_t;
int nvmlDeviceGetUtilizationRates(void *device, load_t *load) { load->gpu = 75; return 0; }
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) { return 3; }
int nvmlDeviceGetName(void *d, char *name, unsigned int n) { strcpy(name, "A card"); return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned int n) { strcpy(text, "570.1"); return 0; }
const char *nvmlErrorString(int code) { return "not supported"; }
"""
LOOK = """
import json
from explr.utils.readings import gpu_readings, gpu_tags
print(json.dumps([gpu_readings(), gpu_tags()]))
"""


def test_a_look_at_this_machine() -> None:
    found = Machine(os.getpid()).look()
    assert 0 < found["system/system_memory_usage_percentage"] <= 100
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100
    assert found["system/process_memory_usage_megabytes"] > 5
    assert found["system/network_receive_megabytes"] >= 0


def test_a_process_that_is_gone_takes_no_memory() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert Machine(child.pid).look()["system/process_memory_usage_megabytes"] == 0


def test_the_peak_stays() -> None:
    content = bytearray(os.urandom(1000) * 100_000)
    assert content[-1] == content[999]
    first = peak_memory()["system/peak_memory_megabytes"]
    del content
    assert peak_memory()["system/peak_memory_megabytes"] >= first > 100


def test_a_card_tells_what_it_can(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed, which builds the driver library for this test")
    (tmp_path / "nvml.c").write_text(DRIVER)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [
        {
            "gpu_0_memory_usage_percentage": 25.0,
            "gpu_0_memory_usage_megabytes": 8000.0,
            "gpu_0_utilization_percentage": 75.0,
        },
        {"explr.gpu": "A card", "explr.driver": "570.1"},
    ]
