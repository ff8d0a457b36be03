# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel on a GPU through CUDA's driver API alone (libcuda): no toolkit is needed.

The kernel is PTX that adds two vectors; the driver compiles it for the GPU that is there, and every sum is compared.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

LIBRARY = "libcuda.so.1"
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

Call = Callable[..., None]


class CudaError(Exception):
    """A call of CUDA's that failed, with CUDA's own name for why."""


class Cuda:
    """libcuda, with every answer looked at."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as exc:
            raise CudaError(f"{LIBRARY} cannot be loaded: {exc}") from None

    def __call__(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            said = bytes(text.value or b"").decode()
            raise CudaError(f"{name}: {said or code}")


def compute(cuda: Call, count: int = COUNT) -> str:
    """Why the only GPU that is visible does not add two vectors; empty when it does. Raises CudaError."""
    cuda("cuInit", 0)
    there = ctypes.c_int()
    cuda("cuDeviceGetCount", ctypes.byref(there))
    if there.value != 1:
        return f"CUDA shows {there.value} devices where it should show one"
    device, context = ctypes.c_int(), ctypes.c_void_p()
    cuda("cuDeviceGet", ctypes.byref(device), 0)
    cuda("cuCtxCreate_v2", ctypes.byref(context), 0, device)
    try:
        wrong = _wrong_sums(cuda, count)
    finally:
        cuda("cuCtxDestroy_v2", context)
    return f"{wrong} of {count} sums are wrong" if wrong else ""


def _wrong_sums(cuda: Call, count: int) -> int:
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    cuda("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(PTX))
    cuda("cuModuleGetFunction", ctypes.byref(function), module, b"add")
    vector = ctypes.c_float * count
    left, right, total = vector(*range(count)), vector(*[0.5] * count), vector()
    size = ctypes.c_size_t(ctypes.sizeof(vector))
    places = [ctypes.c_uint64() for dummy in range(3)]
    for place in places:
        cuda("cuMemAlloc_v2", ctypes.byref(place), size)
    for place, values in zip(places, (left, right), strict=False):
        cuda("cuMemcpyHtoD_v2", place, values, size)
    wanted = ctypes.c_uint32(count)
    given = (ctypes.c_void_p * 4)(*[ctypes.cast(ctypes.byref(one), ctypes.c_void_p) for one in (*places, wanted)])
    blocks = (count + THREADS - 1) // THREADS
    cuda("cuLaunchKernel", function, blocks, 1, 1, THREADS, 1, 1, 0, None, given, None)
    cuda("cuCtxSynchronize")
    cuda("cuMemcpyDtoH_v2", total, places[2], size)
    return sum(value != ctypes.c_float(place + 0.5).value for place, value in enumerate(total))


def main(cuda: Callable[[], Any] = Cuda) -> str:
    """As `compute`, with what CUDA refuses as the reason."""
    try:
        return compute(cuda())
    except CudaError as exc:
        return str(exc)
