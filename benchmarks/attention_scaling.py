"""Attention over 12^3, 24^3 and 32^3 regions: evidence pooling, linear in regions, against N x N self-attention.

    python -m benchmarks.attention_scaling [--runs 7] [--seed 0] [--output docs/images/attention_scaling.png]

128 features, 2 classes, one image. Each form and size runs in a process of its own, whose peak memory above that
before the first pass is noted. ``written out`` is softmax(QK^T)V with the N x N matrix in memory, a row of which
is what a map of "attention to" would need; ``fused`` is torch's kernel, which keeps memory linear and time quadratic.
A size whose matrix does not fit into the free memory is not run, and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SIDES = (12, 24, 32)
FORMS = ("evidence pooling", "self-attention, fused", "self-attention, written out")
WIDTH = 128
REFUSED = 4 << 30
"""Bytes above which a matrix is not made: other work goes on beside."""


def form(name: str, regions: int) -> Callable[[], object]:
    """One pass, ready to run, on ``(1, 128, n, n, n)`` features."""
    import torch

    from medattn_core.networks.attention import EvidencePooling

    features = torch.rand(1, WIDTH, regions, regions, regions)
    if name == "evidence pooling":
        pooling = EvidencePooling(WIDTH, 2).eval()
        return lambda: pooling(features, None)
    flat = features.flatten(2).transpose(1, 2).contiguous()
    weights = [torch.randn(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(3)]

    def fused() -> object:
        q, k, v = (flat @ w for w in weights)
        return torch.nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])

    def written_out() -> object:
        q, k, v = (flat @ w for w in weights)
        return torch.softmax(q @ k.transpose(1, 2) / WIDTH**0.5, dim=-1) @ v

    return fused if "fused" in name else written_out


def one(name: str, side: int, runs: int, seed: int) -> None:
    """In a process of its own: print seconds of each pass and peak MiB of one."""
    import torch

    torch.manual_seed(seed)
    with torch.inference_mode():
        form(name, 6)()  # kernels and threads are there
        run = form(name, side)
        before = peak_mib(reset=True)
        run()
        mib = peak_mib() - before
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "mib": mib}))


def peak_mib(*, reset: bool = False) -> float:
    """Peak resident memory of this process since the last reset, MiB (Linux: proc(5), clear_refs and VmHWM)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def measure(runs: int, seed: int) -> dict[str, dict[int, dict[str, float] | None]]:
    """Median milliseconds and peak MiB by form and side; None where it was not run."""
    found: dict[str, dict[int, dict[str, float] | None]] = {name: {} for name in FORMS}
    for side in SIDES:
        for name in FORMS:
            # The matrix and its softmax, float32.
            if "written" in name and 2 * 4 * side**6 > REFUSED:
                found[name][side] = None
                continue
            command = [sys.executable, "-m", "benchmarks.attention_scaling", "--one", name, str(side)]
            command += ["--runs", str(runs), "--seed", str(seed)]
            told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            low, middle, high = statistics.quantiles(told["seconds"], n=4)
            found[name][side] = {"ms": 1e3 * middle, "low": 1e3 * low, "high": 1e3 * high, "mib": told["mib"]}
    return found


def plot(found: dict[str, dict[int, dict[str, float] | None]], path: Path) -> None:
    """Time and memory over regions, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    colours = ("#1b6ca8", "#d98e04", "#b3323a")
    for key, axis, title in (("ms", axes[0], "Time of a pass, ms"), ("mib", axes[1], "Peak memory of a pass, MiB")):
        for (name, sizes), colour in zip(found.items(), colours, strict=True):
            points = [(side**3, told[key]) for side, told in sizes.items() if told is not None and told[key] > 0]
            axis.plot(*zip(*points, strict=True), marker="o", color=colour, label=name)
        axis.set(xscale="log", yscale="log", xlabel="regions", title=title)
        axis.set_xticks([s**3 for s in SIDES], [f"{s}$^3$" for s in SIDES])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("docs/images/attention_scaling.png"))
    parser.add_argument("--one", nargs=2, metavar=("FORM", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], int(options.one[1]), options.runs, options.seed)
        return
    from benchmarks.common import machine, markdown_table

    print(f"{machine()}; seed {options.seed}; medians of {options.runs} (quartiles)\n")
    found = measure(options.runs, options.seed)
    rows = []
    for name, sizes in found.items():
        row = [name]
        for told in sizes.values():
            row.append(
                "not run: over 4 GiB"
                if told is None
                else f"{told['ms']:.2f} ms ({told['low']:.2f} to {told['high']:.2f}), {told['mib']:.1f} MiB"
            )
        rows.append(row)
    print(markdown_table(["", *(f"{s}^3 = {s**3:,} regions" for s in SIDES)], rows))
    plot(found, options.output)


if __name__ == "__main__":
    main()
