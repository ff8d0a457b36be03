# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu-ready: what a host says of its GPUs at boot and afterwards, with a fake NVML and a fake sysfs. Every state has its own sentence."""

from __future__ import annotations

import ctypes
import datetime
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from ansible_collections.boring.fleet.plugins.module_utils.fleet import host as fleet_host
from ansible_collections.boring.fleet.plugins.module_utils.host import told as host_file
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError
from conversion.worker import gpu as engine_gpu
from gpu_host import cuda, nvml, prepare, program
from gpu_host.facts import Declared
from gpu_host.host import Host, run
from tests.fakes.gpus import LOST, VERSION, Gpu, Nvml, Programs, sysfs
from tests.unit.roles.module_parts import MODULES, ROOT, needed

FILES = ROOT / "roles" / "nvidia_driver" / "files"
BUSES = [0x10 + number for number in range(8)]


class Box:
    """A host of eight GPUs, all of them well until a test says otherwise."""

    def __init__(self, root: Path, count: int = 8) -> None:
        self.root = root
        self.gpus = [Gpu(bus) for bus in BUSES[:count]]
        self.library = Nvml(self.gpus)
        self.programs = Programs()
        self.sysfs: dict[str, Any] = {}
        self.pci = BUSES[:count]
        self.said: list[str] = []
        self.notified: list[tuple[Any, ...]] = []
        self.refusal = ""
        self.clock = 0.0
        self.naps: list[Callable[[], None]] = []
        self.load: Callable[[], Any] = lambda: self.library
        self.declare()

    def declare(self, **host: Any) -> None:
        for place, content in ((program.IMAGE, {"module_version": VERSION}), (program.HOST, {"gpus": 8, **host})):
            (self.root / place).parent.mkdir(parents=True, exist_ok=True)
            (self.root / place).write_text(json.dumps(content))

    def _sleep(self, seconds: float) -> None:
        self.clock += seconds
        if self.naps:
            self.naps.pop(0)()

    def _notify(self, *given: Any) -> str:
        if self.refusal:
            raise HostError(self.refusal)
        self.notified.append(given)
        return "i-1 is marked Unhealthy: its group replaces it"

    def outside(self, root: Path) -> program.Outside:
        return program.Outside(
            root=root,
            host=Host(root, self.programs, self.load, ["gpu"]),
            sleep=self._sleep,
            monotonic=lambda: self.clock,
            now=lambda: datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC),
            say=self.said.append,
            notify=self._notify,
        )

    def __call__(self, *argv: str) -> int:
        if not (self.root / "sys").exists():
            sysfs(self.root, self.pci, **self.sysfs)
        self.said.clear()
        return program.main(["--root", str(self.root), *argv], self.outside)

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / program.STATE).read_text())
        return found


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_eight_that_work(box: Box) -> None:
    assert box("ready") == 0
    assert box.said == ["8 GPUs work"]
    assert sorted(box.programs.computed) == [gpu.uuid for gpu in box.gpus], "a kernel runs on each"
    document = box.document
    assert (document["ready"], document["reason"], document["booted"], len(document["gpus"])) == (True, "", True, 8)
    assert document["gpus"][0]["bus_id"] == "0000:10:00.0"
    assert box("enter") == 0 and box("watch") == 0 and box("show") == 0
    assert not box.notified


def broken_seven(box: Box) -> None:
    box.pci = BUSES[:7]
    del box.library.gpus[7]


def broken_lost_and_absent(box: Box) -> None:
    """A lost one has no address, so that two seem to be missing."""
    box.gpus[5].lost = True
    del box.library.gpus[3]


def broken_module(box: Box) -> None:
    box.sysfs["module"] = ""
    box.library.init = 9


def broken_libraries(box: Box) -> None:
    box.sysfs["module"] = "575.1"
    box.library.init = 18


def broken_library_file(box: Box) -> None:
    def load() -> Any:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    box.load = load


def broken_fabric_manager(box: Box) -> None:
    box.sysfs["switches"] = 4
    box.programs.answers["systemctl show"] = (0, "LoadState=loaded\nActiveState=failed")


def broken_manager_of_blackwell(box: Box) -> None:
    """Beside an adapter whose product data cannot be read."""
    sysfs(box.root, box.pci)
    devices = box.root / "sys/bus/pci/devices"
    for address in ("0000:00:06.0", "0000:00:07.0"):
        (devices / address).mkdir()
        (devices / address / "vendor").write_text("0x15b3\n")
        (devices / address / "class").write_text("0x020700\n")
    (devices / "0000:00:06.0/vpd").symlink_to("/proc/self/mem")  # whose beginning is EIO
    (devices / "0000:00:07.0/vpd").write_bytes(b"\x82\xff SMDL=SW_MNG")
    box.programs.answers["systemctl show"] = (0, "LoadState=loaded\nActiveState=inactive")


def broken_absent_manager(box: Box) -> None:
    box.sysfs["switches"] = 4
    box.programs.answers["systemctl show"] = (0, "LoadState=not-found\nActiveState=inactive")


def broken_mig(box: Box) -> None:
    box.declare(mig=["3g.40gb", "3g.40gb"])
    for gpu in box.gpus:
        gpu.mig_mode, gpu.mig = 1, ["3g.40gb", "3g.40gb"]
    box.gpus[2].mig = ["3g.40gb"]


def broken_kernel(box: Box) -> None:
    box.programs.wrong[box.gpus[6].uuid] = "cuCtxCreate_v2: CUDA_ERROR_ECC_UNCORRECTABLE"


def xid(number: int, bus: str = "0000:13:00") -> tuple[int, str]:
    return (
        0,
        f"nvidia 0000:13:00.0: enabling device\nNVRM: Xid (PCI:{bus}): {number}, pid=1234, name=job, it happened\n",
    )


STATES: list[tuple[Callable[[Box], Any], str, str]] = [
    (broken_seven, "pci", "PCI shows 7 GPUs, and this class of machines has 8: replace the host"),
    (lambda box: box.library.gpus.pop(3), "count", "the driver knows 7 of 8 GPUs, not 0000:13:00.0: replace the host"),
    (broken_lost_and_absent, "count", "the driver knows 7 of 8 GPUs: replace the host"),
    (broken_module, "module", "NVIDIA's module is not loaded"),
    (lambda box: box.declare(gpus=0) or (box.root / program.IMAGE).write_text('{"module_version": "570.1"}'), "module", "the module is version 580.95.05, and the image's lock says 570.1: build the image anew"),
    (broken_libraries, "nvml", "the driver does not answer: nvmlInit_v2: Driver/library version mismatch"),
    (broken_library_file, "nvml", "the driver does not answer: libnvidia-ml.so.1: it cannot be loaded"),
    (lambda box: setattr(box.library, "version", "580.1"), "libraries", "the driver's libraries are version 580.1 and its module is 580.95.05"),
    (lambda box: box.sysfs.update(uvm=False), "uvm", "nvidia-uvm is not there, without which CUDA cannot start"),
    (lambda box: setattr(box.gpus[5], "lost", True), "lost", "GPU 5 does not answer: nvmlDeviceGetHandleByIndex_v2: GPU is lost; replace the host"),
    (lambda box: setattr(box.gpus[1], "persistence", 0), "persistence", "persistence is off on GPU 1 (0000:11:00.0): look at systemctl status nvidia-persistenced"),
    (lambda box: setattr(box.gpus[4], "ecc", 2), "ecc", "GPU 4 (0000:14:00.0) had 2 uncorrected memory errors: replace the host"),
    (lambda box: setattr(box.gpus[0], "rows", (1, 0)), "rows", "GPU 0 (0000:10:00.0) has rows of memory that it remaps at its next reset"),
    (lambda box: setattr(box.gpus[0], "rows", (1, 1)), "rows", "GPU 0 (0000:10:00.0) could not remap a broken row"),
    (lambda box: box.programs.answers.update({"journalctl": xid(79)}), "xid", "the GPU 0000:13:00.0 had Xid 79 since the host booted, it fell off the bus: replace the host"),
    (lambda box: box.programs.answers.update({"journalctl": xid(149)}), "xid", "had Xid 149 since the host booted, see NVIDIA's list"),
    (broken_fabric_manager, "fabric", "the host has NVLink switches and its fabric manager is failed"),
    (broken_manager_of_blackwell, "fabric", "the host has NVLink switches and its fabric manager is inactive"),
    (broken_absent_manager, "fabric", "the host has NVLink switches and its fabric manager is not installed"),
    (lambda box: setattr(box.gpus[7], "fabric", 2), "fabric", "GPU 7 has not joined the NVLink fabric (in progress)"),
    (lambda box: box.gpus[7].__dict__.update(fabric=3, fabric_status=LOST), "fabric", "GPU 7 could not join the NVLink fabric: GPU is lost"),
    (broken_mig, "mig", "GPU 2 (0000:12:00.0) has the MIG devices 3g.40gb, and its class has 3g.40gb, 3g.40gb"),
    (lambda box: box.declare(mig=["1g.10gb"]), "mig", "MIG is off on GPU 0 (0000:10:00.0), and its class has 1g.10gb"),
    (lambda box: box.declare(mig=[]) or setattr(box.gpus[1], "mig_mode", 1), "mig", "MIG is on on GPU 1 (0000:11:00.0), and its class has none"),
    (lambda box: box.declare(power_limit=400), "power", "GPU 0 (0000:10:00.0) is limited to 700 W, and its class says 400"),
    (broken_kernel, "cuda", "no kernel ran as it should on GPU-00000016: cuCtxCreate_v2: CUDA_ERROR_ECC_UNCORRECTABLE; replace the host"),
]  # fmt: skip


@pytest.mark.parametrize(("breaks", "check", "sentence"), STATES)
def test_each_state_has_its_sentence(box: Box, breaks: Callable[[Box], Any], check: str, sentence: str) -> None:
    breaks(box)
    assert box("ready", "--seconds", "30") == 1
    problems = {problem["check"]: problem["sentence"] for problem in reversed(box.document["problems"])}
    assert sentence in problems[check]
    assert not [words for words in problems.values() if "\n" in words]
    assert len(box.notified) == 1, "its group is notified once"
    assert problems[check] in box.said and box.said[-1] == "i-1 is marked Unhealthy: its group replaces it"
    assert box("enter") == program.NEVER, "and it does not enter service"
    assert box.said == [box.document["reason"]]


def test_an_adapter_of_others_leads_to_no_switch(box: Box) -> None:
    sysfs(box.root, box.pci)
    (box.root / "sys/bus/pci/devices/0000:00:05.0/vpd").write_bytes(b"\x82 SMDL=SW_MNG")
    assert box("ready") == 0
    assert box.document["switches"] == 0


@pytest.mark.parametrize("number", [13, 31, 43, 45, 94])
def test_faults_of_programs_are_not_the_hosts(box: Box, number: int) -> None:
    box.programs.answers["journalctl"] = xid(number)
    assert box("ready") == 0
    assert [one["number"] for one in box.document["xids"]] == [number]


def test_a_host_without_gpus_that_needs_none(tmp_path: Path) -> None:
    """The unit of an image for GPUs, on a host of a class without: no failed unit."""
    box = Box(tmp_path)
    (tmp_path / program.HOST).unlink()
    box.pci, box.load = [], lambda: pytest.fail("NVML is not asked")
    assert box("prepare") == 0
    assert box("ready") == 0 and box("watch") == 0 and box("enter") == 0
    assert box.said == ["this host has no GPU, and its class needs none"]


def test_a_class_with_gpus_on_a_host_without(box: Box) -> None:
    box.pci = []
    box.library.gpus.clear()
    assert box("ready", "--seconds", "9") == 1
    assert box.document["problems"][0]["sentence"].startswith("PCI shows 0 GPUs, and this class of machines has 8")


def test_it_waits_for_what_takes_a_moment(box: Box) -> None:
    box.gpus[0].persistence = 0
    box.naps = [lambda: None, lambda: setattr(box.gpus[0], "persistence", 1)]
    assert box("ready") == 0
    assert box.clock == 6.0 and not box.notified


def test_a_gpu_that_falls_off_the_bus_takes_its_host_out(box: Box) -> None:
    """PCI forgets it: the host remembers how many there were. One look alone is not enough."""
    box.declare(gpus=0)
    assert box("ready") == 0
    shutil.rmtree(box.root / "sys/bus/pci/devices/0000:13:00.0")
    del box.library.gpus[3]
    assert box("watch") == 0 and not box.notified
    assert box.said == [f"{box.document['reason']}; looked at again before its group is notified"]
    assert box("watch") == 1
    assert (
        box.document["reason"]
        == "PCI shows 7 GPUs, and showed 8 since the host booted: one fell off the bus; replace the host"
    )
    assert len(box.notified) == 1 and box.document["notified"]
    assert (
        engine_gpu.problem(box.root / program.STATE) == f"The GPUs of this host do not work: {box.document['reason']}."
    )


def test_what_is_well_again_is_ready_again(box: Box) -> None:
    assert box("ready") == 0
    box.gpus[0].persistence = 0
    assert box("watch") == 0 and not box.document["ready"]
    box.gpus[0].persistence = 1
    assert box("watch") == 0
    assert (box.document["ready"], box.document["failures"]) == (True, 0)
    assert len(box.programs.computed) == 8, "the watch runs no kernel: the GPU is in use"


def test_a_fault_stays_one_when_the_log_has_lost_it(box: Box) -> None:
    box.programs.answers["journalctl"] = xid(79)
    box("ready", "--seconds", "5")
    box.programs.answers["journalctl"] = (0, "")
    assert box("watch") == 1
    assert "Xid 79" in box.document["reason"]


def test_a_kernel_that_failed_at_boot_stays_failed(box: Box) -> None:
    broken_kernel(box)
    assert box("ready", "--seconds", "5") == 1
    assert box("watch") == 1
    assert "no kernel ran as it should" in box.document["reason"]


def test_auto_scaling_that_cannot_be_notified(box: Box) -> None:
    broken_kernel(box)
    box.refusal = "Auto Scaling refused with 403: not authorized"
    assert box("ready", "--seconds", "5") == 1
    assert box.said[-1] == "Auto Scaling was not notified: Auto Scaling refused with 403: not authorized"


def test_auto_scaling_is_where_the_host_was_given_that_it_is(box: Box) -> None:
    """The local cloud's hosts notify it, and never AWS."""
    broken_kernel(box)
    (box.root / program.FLEET).write_text(json.dumps({"endpoint": "http://10.0.0.1:5", "region": "eu-central-1"}))
    assert box("ready", "--seconds", "5") == 1
    told, dummy, now = box.notified[0]
    assert (told["endpoint"], now()) == ("http://10.0.0.1:5", 1795996800.0)
    assert f"/{program.FLEET}" == host_file.PATH == fleet_host.PATH


def test_the_hook_waits_for_the_check(box: Box) -> None:
    assert box("enter", "--seconds", "5") == program.AGAIN
    assert box.said == ["gpu-ready is not done after 5 s: look at its journal"]
    assert box("show") == 1


def test_under_mig_a_kernel_runs_on_every_device(tmp_path: Path) -> None:
    box = Box(tmp_path, 2)
    box.declare(gpus=2, mig=["3g.40gb", "4g.40gb"])
    for gpu in box.gpus:
        gpu.mig_mode, gpu.mig = 1, ["4g.40gb", "3g.40gb"]
    assert box("ready") == 0
    assert sorted(box.programs.computed) == [f"MIG-{bus:08x}-{device}" for bus in BUSES[:2] for device in (1, 2)]


def test_check_tells_nobody(box: Box) -> None:
    broken_kernel(box)
    assert box("check", "--module-version", "570.1") == 1
    document = json.loads(box.said[0])
    assert [problem["check"] for problem in document["problems"]] == ["module", "cuda"]
    assert not box.notified and not (box.root / program.STATE).exists()


def test_older_gpus_have_less(tmp_path: Path) -> None:
    """Turing retires pages, and has neither MIG nor a fabric; a GPU of a workstation has no ECC."""
    box = Box(tmp_path, 1)
    box.declare(gpus=1)
    box.gpus[0].__dict__.update(ecc=None, rows=None, mig_mode=None, limit=None)
    assert box("ready") == 0
    gpu = box.document["gpus"][0]
    assert (gpu["ecc_errors"], gpu["rows_failed"], gpu["mig_on"], gpu["power_limit"]) == (None, None, None, None)


# --- What is declared is brought about ----------------------------------------------------------------------------------


def prepared(box: Box, **declared: Any) -> list[str]:
    sysfs(box.root, box.pci, **box.sysfs)
    host = Host(box.root, box.programs, box.load, ["gpu"])
    return list(prepare.prepare(host, Declared(**declared)))


def test_mig_power_and_clocks(tmp_path: Path) -> None:
    box = Box(tmp_path, 2)
    for gpu in box.gpus:
        gpu.mig_mode = 0
    box.gpus[1].needs_reset = True
    said = prepared(box, mig=("3g.40gb", "4g.40gb"), power_limit=500, clocks=(210, 1410))
    assert "GPU 0 is divided into 3g.40gb, 4g.40gb" in said and "GPU 1 is reset" in said
    assert box.programs.ran == [
        "systemctl stop nvidia-persistenced.service",
        "nvidia-smi --gpu-reset -i 1",
        "systemctl start nvidia-persistenced.service",
        "nvidia-smi mig -i 0 -cgi 3g.40gb,4g.40gb -C",
        "nvidia-smi mig -i 1 -cgi 3g.40gb,4g.40gb -C",
    ]
    assert [(gpu.limit, gpu.clocks) for gpu in box.gpus] == [(500_000, (210, 1410))] * 2


def test_what_is_as_declared_is_not_touched(tmp_path: Path) -> None:
    box = Box(tmp_path, 1)
    box.gpus[0].__dict__.update(mig_mode=1, mig=["4g.40gb", "3g.40gb"])
    assert prepared(box, mig=("3g.40gb", "4g.40gb"), power_limit=700) == []
    assert (box.programs.ran, box.library.calls) == ([], [])


def test_another_division_is_taken_back_first(tmp_path: Path) -> None:
    box = Box(tmp_path, 1)
    box.gpus[0].__dict__.update(mig_mode=1, mig=["7g.80gb"])
    box.programs.answers["nvidia-smi mig -i 0 -dci"] = (1, "No compute instances\nIn use by another client")
    said = prepared(box, mig=("3g.40gb",))
    assert said[0] == "nvidia-smi mig -i 0 -dci failed: In use by another client"
    assert [line.split()[4] for line in box.programs.ran] == ["-dci", "-dgi", "-cgi"]


def test_uvm_is_loaded_for_services_that_cannot(tmp_path: Path) -> None:
    box = Box(tmp_path, 1)
    box.sysfs["uvm"] = False
    assert prepared(box) == ["nvidia-uvm is loaded", "nvidia-uvm has its device node"]
    assert box.programs.ran == ["modprobe nvidia-uvm", "nvidia-modprobe -u -c 0"]


# --- A kernel through libcuda -------------------------------------------------------------------------------------------


class Cuda:
    """CUDA's calls over this machine's own memory; `off` is what the GPU adds too much to the last sum."""

    def __init__(self, off: float = 0.0, devices: int = 1, refuses: str = "") -> None:
        self.off, self.devices, self.refuses = off, devices, refuses
        self.calls: list[str] = []
        self.memory: list[Any] = []

    def __call__(self, name: str, *given: Any) -> None:
        self.calls.append(name)
        if name == self.refuses:
            raise cuda.CudaError(f"{name}: CUDA_ERROR_UNKNOWN")
        if name == "cuDeviceGetCount":
            given[0]._obj.value = self.devices
        if name == "cuMemAlloc_v2":
            self.memory.append((ctypes.c_float * (given[1].value // 4))())
            given[0]._obj.value = len(self.memory) - 1
        if name == "cuMemcpyHtoD_v2":
            self.memory[given[0].value][:] = given[1][:]
        if name == "cuLaunchKernel":
            left, right, total = self.memory
            assert given[1] * given[4] >= len(total)
            for place in range(len(total)):
                total[place] = left[place] + right[place]
            total[len(total) - 1] += self.off
        if name == "cuMemcpyDtoH_v2":
            given[0][:] = self.memory[given[1].value][:]


def test_every_sum_counts_and_the_context_is_given_back() -> None:
    assert cuda.compute(Cuda(), 1000) == ""
    wrong = Cuda(off=1.0)
    assert cuda.compute(wrong, 1000) == "1 of 1000 sums are wrong"
    assert wrong.calls[-1] == "cuCtxDestroy_v2"
    assert cuda.compute(Cuda(devices=0), 1000) == "CUDA shows 0 devices where it should show one"
    stuck = Cuda(refuses="cuCtxSynchronize")
    assert cuda.main(lambda: stuck) == "cuCtxSynchronize: CUDA_ERROR_UNKNOWN"
    assert stuck.calls[-1] == "cuCtxDestroy_v2"


def test_the_program_itself(tmp_path: Path) -> None:
    """As a unit starts it, on a host without a GPU, whatever this machine has: no traceback and no stray file."""
    for part in brought("Ready | What it is made of"):
        (tmp_path / "lib" / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FILES / part, tmp_path / "lib" / part)
    for part in brought("Ready | What it asks AWS by"):
        place = tmp_path / "lib/ansible_collections/boring/fleet/plugins/module_utils" / part
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODULES / part, place)
    shutil.copy(FILES / "gpu", tmp_path / "lib")
    gpu = tmp_path / "lib" / "gpu"
    (tmp_path / "libcuda.so.1").write_text("no library")

    def ask(*argv: str) -> tuple[int, str]:
        around = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9", "LD_LIBRARY_PATH": str(tmp_path)}
        return run([sys.executable, "-I", "-S", "-B", str(gpu), "--root", str(tmp_path / "host"), *argv], 60, around)

    assert ask("ready", "--seconds", "0") == (0, "this host has no GPU, and its class needs none")
    assert ask("show")[1].startswith("this host has no GPU")
    assert ask("compute")[0] == 1 and "libcuda.so.1: file too short" in ask("compute")[1]
    (tmp_path / "host" / program.HOST).parent.mkdir(parents=True)
    (tmp_path / "host" / program.HOST).write_text('{"gpus": 1}')
    failed, said = ask("ready", "--seconds", "0")
    assert failed == 1 and "Traceback" not in said
    assert "Auto Scaling was not notified: the instance metadata service does not answer" in said
    assert run(["sleep", "5"], 0.1)[0] == 124
    assert run(["/no/such/program"])[1] == "/no/such/program cannot be run: No such file or directory"


def brought(name: str) -> list[str]:
    tasks = yaml.safe_load((ROOT / "roles/nvidia_driver/tasks/ready.yml").read_text())
    return list(next(task["loop"] for task in tasks if task["name"] == name))


def test_the_role_brings_every_part_of_the_program() -> None:
    parts = sorted((FILES / "gpu_host").glob("*.py"))
    assert brought("Ready | What it is made of") == [f"gpu_host/{path.name}" for path in parts]
    assert brought("Ready | What it asks AWS by") == sorted(needed(parts))


def test_addresses_of_three_kinds() -> None:
    for written in ("00000000:17:00.0", "0000:17:00", "0000:17:00.0"):
        assert nvml.sysfs_address(written) == "0000:17:00.0"


def test_units_are_well_formed(tmp_path: Path) -> None:
    """systemd itself reads what the role renders."""
    if not shutil.which("systemd-analyze"):
        pytest.fail("systemd-analyze is needed: apt-get install systemd")
    values = {
        "nvidia_driver_gpu_units": ["nvidia-persistenced.service"],
        "nvidia_driver_switch_units": ["nvidia-fabricmanager.service"],
        "nvidia_driver_ready_seconds": 180,
        "nvidia_driver_watch_seconds": 60,
        "nvidia_driver_exporter_address": "127.0.0.1",
        "nvidia_driver_exporter_port": 9835,
        "__nvidia_driver_lib": str(tmp_path),
        "__nvidia_driver_condition": str(tmp_path / "has-nvidia"),
    }
    for name in ("gpu", "has-nvidia"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    units = []
    for template in sorted((ROOT / "roles/nvidia_driver/templates").glob("gpu-*.j2")):
        unit = tmp_path / template.name.removesuffix(".j2")
        unit.write_text(jinja2.Template(template.read_text(), undefined=jinja2.StrictUndefined).render(values))
        units.append(str(unit))
    assert len(units) == 4
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert not said, said


def test_what_the_engine_makes_of_it(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    assert engine_gpu.problem(file) is None, "nobody checks here"
    for text in ("", "[]", "{}", '{"ready": false}'):
        file.write_text(text)
        assert "cannot be read" in str(engine_gpu.problem(file))
    file.write_text('{"ready": true, "reason": ""}')
    assert engine_gpu.problem(file) is None
