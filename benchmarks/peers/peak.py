"""What the processor can do: products of square matrices in each precision, operations per second.

python -m benchmarks.peers.peak

One line of JSON. A multiplication and its addition are two operations. bf16 and int8 are measured where the processor
has instructions for them; elsewhere torch only imitates them.
"""

import json
import time
from collections.abc import Callable

import torch

_SIDE = 2048
_TURNS = 6


def natively_bf16() -> bool:
    """Whether the processor computes in bf16."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def natively_int8() -> bool:
    """Whether the processor multiplies and adds 8-bit integers in one instruction."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_vnni") or able.get("avx_vnni") or able.get("amx_int8"))


def operations_per_second(product: Callable[[], object]) -> float:
    """The fastest of some turns: the machine may be shared, and a peak is what it reaches undisturbed."""
    product()
    fastest = float("inf")
    for _ in range(_TURNS):
        began = time.perf_counter()
        product()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * _SIDE**3 / fastest


def peaks() -> dict[str, float]:
    """Operations per second by precision."""
    one, other = torch.rand(2, _SIDE, _SIDE)
    found = {"fp32": operations_per_second(lambda: one @ other)}
    if natively_bf16():
        halves = one.bfloat16(), other.bfloat16()
        found["bf16"] = operations_per_second(lambda: halves[0] @ halves[1])
    if natively_int8():
        bytes_ = torch.randint(-99, 99, (2, _SIDE, _SIDE), dtype=torch.int8)
        found["int8"] = operations_per_second(lambda: torch._int_mm(bytes_[0], bytes_[1]))
    return found


if __name__ == "__main__":
    print(json.dumps(peaks()))
