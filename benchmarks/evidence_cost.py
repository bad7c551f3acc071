"""What evidence costs: attend (logits and evidence in one pass) against the logits of the same network, and Grad-CAM.

    python -m benchmarks.evidence_cost [--runs 15] [--seed 0]

MONAI's ResNet-18 on 96^3, one thread pool for all, run in turn. "Logits alone" is the same encoder and top-down pathway
with average pooling and a linear layer, without any map.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn

from benchmarks.common import RESNET18, machine, markdown_table
from medattn_core.networks.attention_cnn import AttentionCNN


def sides(seed: int) -> dict[str, Callable[[], object]]:
    """Functions to time, by name; the first is the reference."""
    from monai.visualize import GradCAM

    torch.manual_seed(seed)
    network, average = AttentionCNN(**RESNET18).eval(), AttentionCNN(**RESNET18, pooling="average").eval()
    for one in (network, average):
        one.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average.encoder, average.top_down = network.encoder, network.top_down
    image = torch.rand(1, 1, 96, 96, 96).contiguous(memory_format=torch.channels_last_3d)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.linear = network, nn.Linear(128, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.network.features(x).flatten(2).mean(dim=2))

    plain = Plain().eval()
    cam = GradCAM(nn_module=plain, target_layers="network.encoder.stages.3")

    def quiet(run: Callable[[], object]) -> Callable[[], object]:
        def inner() -> object:
            with torch.inference_mode():
                return run()

        return inner

    return {
        "logits alone": quiet(lambda: plain(image)),
        "logits and evidence": quiet(lambda: network.attend(image)),
        "logits, then MONAI's GradCAM": lambda: (plain(image), cam(image, class_idx=0)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{machine()}; {torch.get_num_threads()} threads; seed {options.seed}; medians of {options.runs}\n")
    functions = sides(options.seed)
    times: dict[str, list[float]] = {name: [] for name in functions}
    for index in range(options.runs + 2):
        for name, run in functions.items():
            start = time.perf_counter()
            run()
            if index > 1:
                times[name].append(time.perf_counter() - start)
    bar = times["logits alone"]
    rows = []
    for name, taken in times.items():
        extra = [100 * (a / b - 1) for a, b in zip(taken, bar, strict=True)]
        low, middle, high = statistics.quantiles(extra, n=4)
        rows.append([name, f"{1e3 * statistics.median(taken):.1f}", f"{middle:+.1f} % ({low:+.1f} to {high:+.1f})"])
    print(markdown_table(["96^3, ResNet-18", "median ms", "over logits alone (quartiles)"], rows))


if __name__ == "__main__":
    main()
