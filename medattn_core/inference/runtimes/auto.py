"""``auto``: the fastest runtime on this machine that says the same, measured once and remembered."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata

import numpy as np
import torch
from torch import Tensor

from medattn_core.errors import MedAttnError
from medattn_core.inference.runtimes import cache
from medattn_core.inference.runtimes.graph import SLICES
from medattn_core.inference.runtimes.open import RUNTIMES, TOLERANCE, Features, available, open_runtime
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.version import __version__

RUNS = 5
"""Timed passes of each runtime, in turn."""

EVIDENCE_TOLERANCE = {"torch": 0.0, "torch-bf16": 0.03, "onnx": 1e-3, "openvino": 1e-3, "openvino-bf16": 0.03}
"""Largest difference of a contribution, as a share of the largest one: what a legend of colours can show."""

MARGIN = 0.95
"""A runtime must take at most this share of the time of ``torch``: for less, nothing is changed."""


TRY_AGAIN = 24 * 60 * 60
"""Seconds after which runtimes are measured anew where one failed: a package is mended, memory is free again."""


@dataclass(frozen=True)
class Trial:
    """One runtime, measured.

    Attributes:
        runtime: its name.
        milliseconds: median time of one pass; NaN where it could not be run.
        probabilities: largest difference of a probability from that of ``torch`` (of a regression: of the value,
            relative where it exceeds one).
        evidence: largest difference of a contribution, as a share of the largest.
        problem: code of the error that kept it from being run.
    """

    runtime: str
    milliseconds: float
    probabilities: float
    evidence: float
    problem: str = ""

    @property
    def accurate(self) -> bool:
        """Whether ``auto`` may take it."""
        close = self.probabilities <= TOLERANCE[self.runtime] and self.evidence <= EVIDENCE_TOLERANCE[self.runtime]
        return not self.problem and close


def choose(
    network: AttentionCNN, task: TaskSpec, *, key: str, device: str = "cpu", say: Callable[[str], object] | None = None
) -> tuple[str, list[Trial]]:
    """The runtime to take, and what was measured; from the cache where this machine has measured it before.

    Args:
        network: in eval mode on ``device``.
        task: what it takes.
        key: names these weights in the cache.
        device: torch device.
        say: told when a measurement begins, which may take a minute.
    """
    names = available(device)
    file = f"auto/{_situation(key, device, names)}.json"
    known = _read(cache.get(file), names)
    if known is not None and any(trial.problem for trial in known) and cache.age(file) > TRY_AGAIN:
        known = None
    if known is None:
        if say is not None and len(names) > 1:
            say("measuring which runtime is fastest here; done once a machine and bundle")
        known = measure(network, task, names, key=key, device=device)
        if not known[0].problem:  # torch fails for want of memory: next time there may be more
            cache.put(file, json.dumps([asdict(trial) for trial in known]).encode())
    return best(known), known


def best(trials: Sequence[Trial]) -> str:
    """The fastest accurate one; ``torch`` where none is clearly faster."""
    limit = next(trial.milliseconds for trial in trials if trial.runtime == "torch") * MARGIN
    good = [trial for trial in trials if trial.accurate and trial.milliseconds <= limit]
    return min(good, key=lambda trial: trial.milliseconds).runtime if good else "torch"


def measure(
    network: AttentionCNN, task: TaskSpec, names: Sequence[str], *, key: str, device: str = "cpu"
) -> list[Trial]:
    """Time and compare runtimes on made-up images; ``torch`` has to be among them.

    A runtime that fails is a trial with a problem, not an error.
    """
    images = probes(task, device)
    opened: dict[str, Features] = {}
    problems: dict[str, str] = {}
    outputs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    with torch.inference_mode():
        for name in names:
            try:
                run = open_runtime(name, network, task, key=key, device=device)
                outputs[name] = [_answers(network, task, run(image)) for image in images]
                opened[name] = run
            except MedAttnError as error:
                problems[name] = error.code
            except Exception:  # of the runtime itself, of many kinds: an operation or memory it lacks
                problems[name] = "export_failed"
        times: dict[str, list[float]] = {name: [] for name in opened}
        for _ in range(RUNS):
            for name, run in opened.items():
                start = time.perf_counter()
                run(images[0])
                if device != "cpu":
                    torch.cuda.synchronize(device)
                times[name].append(1e3 * (time.perf_counter() - start))
    trials = []
    for name in names:
        if name in problems or "torch" in problems:  # without its answers there is nothing to compare with
            problem = problems.get(name, "export_failed")
            trials.append(Trial(name, float("nan"), float("nan"), float("nan"), problem))
            continue
        pairs = list(zip(outputs["torch"], outputs[name], strict=True))
        probability = max(_gap(ours[0], theirs[0]) for ours, theirs in pairs)
        evidence = max(_share(ours[1], theirs[1]) for ours, theirs in pairs)
        trials.append(Trial(name, statistics.median(times[name]), probability, evidence))
    return trials


def probes(task: TaskSpec, device: str = "cpu", count: int = 3) -> list[Tensor]:
    """Made-up network input ``(B, C, *spatial)``: smooth tissue in a ball, in the range of the intensity rules."""
    spatial = task.size or ((224, 224) if task.spatial_dims == 2 else (96, 96, 96))
    tops = torch.tensor([rule.top for rule in task.intensities]).reshape(-1, *[1] * len(spatial))
    images = []
    for seed in range(count):
        random = torch.Generator().manual_seed(seed)
        batch = SLICES if task.spatial_dims == 2 else 1
        coarse = torch.rand((batch, len(task.channels), *(max(2, n // 8) for n in spatial)), generator=random)
        mode = "bilinear" if len(spatial) == 2 else "trilinear"
        image = torch.nn.functional.interpolate(coarse, size=tuple(spatial), mode=mode)
        axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in spatial), indexing="ij")
        inside = sum(axis**2 for axis in axes) < 0.8
        layout = torch.channels_last if len(spatial) == 2 else torch.channels_last_3d
        images.append((image * inside * tops).to(device).contiguous(memory_format=layout))
    return images


def _answers(network: AttentionCNN, task: TaskSpec, features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    out = network.pool(features)
    return task.probabilities(out.logits.float().cpu().numpy()), out.contributions.float().cpu().numpy()


def _gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max()) / max(1.0, float(np.abs(ours).max()))


def _share(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max()) / max(float(np.abs(ours).max()), 1e-12)


def _situation(key: str, device: str, names: Sequence[str]) -> str:
    """A name for everything on which the outcome depends."""
    versions = []
    for package in ("torch", *sorted({package for name in names for package in RUNTIMES[name]})):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else ""
    facts = [__version__, key, gpu, processor(), os.cpu_count(), torch.get_num_threads(), *versions, *names]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def processor() -> str:
    """Its name, as the system gives it; its architecture where none is given."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _read(content: bytes | None, names: Sequence[str]) -> list[Trial] | None:
    """Trials from the cache; None where they are not what :func:`choose` writes."""
    try:
        trials = [Trial(**one) for one in json.loads(content or b"")]
        return trials if [trial.runtime for trial in trials] == list(names) else None
    except (ValueError, TypeError):
        return None
