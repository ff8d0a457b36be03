# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a kernel on every GPU of this host and prints what it found as one line of JSON; nothing but libcuda is needed.

    python3 gpu_smoke.py        # {"driver": "12.4", "gpus": [{"name": "...", "right": true}]}

A kernel in PTX adds two vectors; the driver compiles it for the GPU that is there. `right` says whether every sum is what it
should be. When CUDA cannot be used there is "error", the call and its name for what went wrong.
"""

import ctypes
import json
import sys

COUNT, THREADS = 1 << 20, 256
PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry add(.param .u64 left, .param .u64 right, .param .u64 sum, .param .u32 count)
{
  .reg .pred %p<2>;
  .reg .u32 %r<6>;
  .reg .u64 %d<8>;
  .reg .f32 %f<4>;
  ld.param.u64 %d1, [left];
  ld.param.u64 %d2, [right];
  ld.param.u64 %d3, [sum];
  ld.param.u32 %r1, [count];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.u32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p1, %r5, %r1;
  @%p1 bra DONE;
  mul.wide.u32 %d4, %r5, 4;
  add.u64 %d5, %d1, %d4;
  add.u64 %d6, %d2, %d4;
  add.u64 %d7, %d3, %d4;
  ld.global.f32 %f1, [%d5];
  ld.global.f32 %f2, [%d6];
  add.f32 %f3, %f1, %f2;
  st.global.f32 [%d7], %f3;
DONE:
  ret;
}
"""


class CudaError(Exception):
    """A call of CUDA's that failed, with CUDA's own name for why."""


class Cuda:
    """libcuda, with every answer looked at."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as exc:
            raise CudaError(f"libcuda.so.1 cannot be loaded: {exc}") from exc

    def __call__(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            said = bytes(text.value or b"").decode()
            raise CudaError(f"{name}: {said or code}")


def smoke(cuda: Cuda, number: int) -> dict:
    """Name of one GPU, and whether it adds."""
    device, context, module, function = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    cuda("cuDeviceGet", ctypes.byref(device), number)
    name = ctypes.create_string_buffer(128)
    cuda("cuDeviceGetName", name, 128, device)
    cuda("cuCtxCreate_v2", ctypes.byref(context), 0, device)
    try:
        cuda("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(PTX))
        cuda("cuModuleGetFunction", ctypes.byref(function), module, b"add")
        vector = ctypes.c_float * COUNT
        left, right, total = vector(*range(COUNT)), vector(*[0.5] * COUNT), vector()
        size = ctypes.c_size_t(ctypes.sizeof(vector))
        places = [ctypes.c_uint64() for dummy in range(3)]
        for place in places:
            cuda("cuMemAlloc_v2", ctypes.byref(place), size)
        for place, values in zip(places, (left, right), strict=False):
            cuda("cuMemcpyHtoD_v2", place, values, size)
        count = ctypes.c_uint32(COUNT)
        given = (ctypes.c_void_p * 4)(*[ctypes.cast(ctypes.byref(one), ctypes.c_void_p) for one in (*places, count)])
        cuda("cuLaunchKernel", function, COUNT // THREADS, 1, 1, THREADS, 1, 1, 0, None, given, None)
        cuda("cuCtxSynchronize")
        cuda("cuMemcpyDtoH_v2", total, places[2], size)
        right_everywhere = all(value == place + 0.5 for place, value in enumerate(total))
        return {"name": name.value.decode(), "right": right_everywhere}
    finally:
        cuda("cuCtxDestroy_v2", context)


def main() -> int:
    try:
        cuda = Cuda()
        cuda("cuInit", 0)
        version, count = ctypes.c_int(), ctypes.c_int()
        cuda("cuDriverGetVersion", ctypes.byref(version))
        cuda("cuDeviceGetCount", ctypes.byref(count))
        gpus = [smoke(cuda, number) for number in range(count.value)]
        said = {"driver": f"{version.value // 1000}.{version.value % 1000 // 10}", "gpus": gpus}
    except CudaError as exc:
        said = {"gpus": [], "error": str(exc)}
    print(json.dumps(said))
    return 0 if said["gpus"] and all(gpu["right"] for gpu in said["gpus"]) else 1


if __name__ == "__main__":
    sys.exit(main())
