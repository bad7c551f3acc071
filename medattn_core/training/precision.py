"""Where bfloat16 is fast, and where it is right."""

from __future__ import annotations

from collections.abc import Sequence


def fast_bf16(device: str) -> bool:
    """Whether a device multiplies bfloat16 in hardware."""
    import torch

    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            return False
        with torch.cuda.device(device):  # the question is answered for the current card
            return torch.cuda.is_bf16_supported(including_emulation=False)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not in every torch; unknown is no
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def sound_bf16(device: str, size: Sequence[int], coarsest_stride: int) -> bool:
    """Whether the gradients of a network are right in bfloat16 for images of a size.

    On the CPU the weight gradient of a 3D convolution is garbage, NaN among it, where the first spatial axis of the
    input of a 3-wide one has two cells, or the second axis of a 4-wide one that strides has two, of which it makes one:
    that one can end the process as well (torch 2.13.0 with oneDNN; other sizes tried are right to 0.4 %).

    Args:
        device: torch device.
        size: of the images, two or three values.
        coarsest_stride: of the encoder; images are padded to a multiple of it, so that maps halve down to that stride.
    """
    if device.startswith("cuda") or len(size) == 2:
        return True
    first, second = (-(-n // coarsest_stride) for n in size[:2])
    return first > 2 and second > 1
