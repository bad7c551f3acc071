"""Runtimes: the same answer with evidence from each, errors that say what to install, a cache that cannot mislead."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from medattn_core.errors import CODES, BundleError, MedAttnError
from medattn_core.inference import Predictor
from medattn_core.inference.runtimes import RUNTIMES, TOLERANCE, auto, cache, check_runtime, choose, open_runtime
from medattn_core.inference.runtimes.auto import EVIDENCE_TOLERANCE, Trial, best

BRAIN = Path(__file__).resolve().parents[2] / "sample_data" / "brain1_image.nrrd"


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    """A cache folder for this module: what one test exports the next may use."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDATTN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def shipped():
    return Predictor.from_bundle("brain_tumor_t1ce", device="cpu")


@pytest.fixture(scope="module")
def expected(shipped):
    return shipped(BRAIN)


@pytest.mark.parametrize("name", [name for name in RUNTIMES if name != "torch"])
def test_every_runtime_says_the_same_of_a_real_scan(own_cache, shipped, expected, name):
    for package in RUNTIMES[name]:
        pytest.importorskip(package)
    found = Predictor.from_bundle("brain_tumor_t1ce", device="cpu", runtime=name)(BRAIN)
    # bfloat16 keeps 8 bits: on this scan it may be off by more than what auto takes, which is why auto measures.
    most = 0.03 if name.endswith("bf16") else TOLERANCE[name]
    for label, probability in expected.probabilities.items():
        assert found.probabilities[label] == pytest.approx(probability, abs=most)
    peak = np.abs(expected.contributions()).max()
    share = np.abs(found.contributions(expected.label) - expected.contributions()).max() / peak
    assert share <= (0.2 if name.endswith("bf16") else EVIDENCE_TOLERANCE[name])
    assert found.to_dict()["runtime"] == name
    assert share > 0  # another arithmetic has run, not torch again
    evidence = found.evidence()
    index = found.task.index(evidence.label)
    total = found.bias[index] + evidence.data.sum(dtype=np.float64) + evidence.residual
    assert total == pytest.approx(found.logits[index], rel=1e-6)


def test_auto_takes_only_what_is_accurate_and_remembers(own_cache, predictor, monkeypatch):
    heard: list[str] = []
    key = predictor.bundle.weights_sha256[:24] + "-0"
    name, trials = choose(predictor.network, predictor.task, key=key, say=heard.append)
    assert trials[0].runtime == "torch"
    assert next(trial for trial in trials if trial.runtime == name).accurate
    assert len(heard) == (len(trials) > 1)

    (kept,) = (own_cache / "auto").iterdir()
    assert [one["runtime"] for one in json.loads(cache.get(f"auto/{kept.name}"))] == [t.runtime for t in trials]

    def never(*arguments, **options):
        raise AssertionError("measured again")

    monkeypatch.setattr(auto, "measure", never)
    assert choose(predictor.network, predictor.task, key=key, say=heard.append) == (name, trials)
    assert len(heard) == (len(trials) > 1)
    with pytest.raises(AssertionError, match="measured again"):  # other weights are another situation
        choose(predictor.network, predictor.task, key="other")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'[{"runtime": "torch"}]', b'[{"wrong": 1}]', b"3", b"null"])
def test_a_choice_that_makes_no_sense_is_measured_again(damage):
    assert auto._read(damage, ["torch", "torch-bf16"]) is None


def test_the_fastest_accurate_runtime_wins():
    torch = Trial("torch", 100.0, 0.0, 0.0)
    wrong = Trial("openvino-bf16", 10.0, 2e-3, 0.0)
    smeared = Trial("torch-bf16", 10.0, 0.0, 0.05)
    broken = Trial("onnx", float("nan"), float("nan"), float("nan"), "export_failed")
    good = Trial("openvino", 60.0, 1e-6, 1e-6)
    assert best([torch, wrong, smeared, broken]) == "torch"
    assert best([torch, wrong, smeared, broken, good]) == "openvino"
    assert best([torch, Trial("openvino", 99.0, 0.0, 0.0)]) == "torch"  # no gain worth a change
    assert not Trial("onnx", 1.0, float("nan"), 0.0).accurate


def test_missing_packages_are_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(
        "medattn_core.inference.runtimes.open.find_spec", lambda name: None if name == "openvino" else 1
    )
    with pytest.raises(MedAttnError, match=r'needs openvino: pip install "medattn\[openvino\]"') as caught:
        check_runtime("openvino-bf16")
    assert caught.value.code == "missing_dependency"


def test_wrong_runtimes():
    with pytest.raises(MedAttnError, match="accepted: torch, torch-bf16, onnx") as caught:
        check_runtime("tensorflow")
    assert caught.value.code == "bad_argument"
    with pytest.raises(MedAttnError, match="not on cuda") as caught:
        check_runtime("onnx", "cuda:0")
    assert caught.value.code == "bad_argument"
    with pytest.raises(MedAttnError, match="accepted"):
        Predictor.from_bundle("brain_tumor_t1ce", device="cpu", runtime="fast")


def test_auto_passes_over_what_cannot_be_run_and_keeps_no_failure_of_torch(tmp_path, monkeypatch, predictor):
    """The errors of a runtime are of its own kinds; torch itself may want memory that is there the next time."""
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path))
    monkeypatch.setattr(auto, "available", lambda device: ["torch", "torch-bf16"])
    broken = "torch-bf16"

    class ForeignError(Exception):
        """Such as onnxruntime's, which are no RuntimeError."""

    def run(image):
        raise ForeignError

    def opened(name, network, task, **options):
        return run if name == broken else open_runtime(name, network, task, **options)

    monkeypatch.setattr(auto, "open_runtime", opened)
    name, trials = choose(predictor.network, predictor.task, key="x")
    assert (name, trials[1].problem, trials[0].problem) == ("torch", "export_failed", "")
    assert len(list((tmp_path / "auto").iterdir())) == 1
    broken = "torch"
    name, trials = choose(predictor.network, predictor.task, key="y")
    assert (name, trials[0].problem) == ("torch", "export_failed")
    assert len(list((tmp_path / "auto").iterdir())) == 1


def test_a_runtime_that_failed_is_tried_again_after_a_day(tmp_path, monkeypatch, predictor):
    """Its package is mended, or there is memory again; what all could do is not measured twice."""
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path))
    monkeypatch.setattr(auto, "available", lambda device: ["torch", "torch-bf16"])
    measured: list[int] = []

    def measure(*arguments, **options):
        measured.append(1)
        nan = float("nan")
        failed = (
            Trial("torch-bf16", nan, nan, nan, "export_failed") if len(measured) == 1 else Trial("torch-bf16", 1, 0, 0)
        )
        return [Trial("torch", 100.0, 0.0, 0.0), failed]

    monkeypatch.setattr(auto, "measure", measure)
    for _ in range(2):
        assert choose(predictor.network, predictor.task, key="x")[0] == "torch"
    (file,) = (tmp_path / "auto").iterdir()
    old = file.stat().st_mtime - auto.TRY_AGAIN - 60
    os.utime(file, (old, old))
    assert choose(predictor.network, predictor.task, key="x")[0] == "torch-bf16"
    os.utime(file, (old, old))
    assert choose(predictor.network, predictor.task, key="x")[0] == "torch-bf16"
    assert len(measured) == 2


def test_a_package_that_is_there_and_cannot_be_imported_is_named(tmp_path, monkeypatch, predictor):
    for name in RUNTIMES["onnx"]:
        pytest.importorskip(name)
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path))
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('a library is missing', name='onnxruntime')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(
        MedAttnError, match=r"onnxruntime cannot be imported; install them again: pip install"
    ) as caught:
        open_runtime("onnx", predictor.network, predictor.task, key="x")
    assert caught.value.code == "missing_dependency"


def test_networks_that_differ_in_more_than_the_first_weights_share_no_graph(monkeypatch, predictor):
    """An ensemble whose first member is another's, the same weights with a mirrored pass: their graphs differ."""
    from dataclasses import replace

    keys: list[str] = []
    monkeypatch.setattr(
        "medattn_core.inference.runtimes.open_runtime", lambda *arguments, key, **options: keys.append(key)
    )
    bundle = predictor.bundle
    others = (
        bundle,
        replace(bundle, members=((bundle.weights_path, "1" * 64),)),
        replace(bundle, members=((bundle.weights_path, "2" * 64),)),
        replace(bundle, network={**bundle.network, "mirror": 0}),
        bundle,
    )
    for one in others:
        Predictor(one, predictor.network, runtime="onnx")
    assert len(set(keys)) == 4
    assert keys[0] == keys[-1]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_of_the_cache_is_made_again(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path))
    assert cache.get("a/b") is None
    assert cache.kept("a/b", lambda: b"content") == b"content"
    assert cache.kept("a/b", lambda: b"never") == b"content"
    path = tmp_path / "a" / "b"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-2], "changed": whole[:-1] + b"T", "empty": b""}[damage])
    assert cache.get("a/b") is None
    assert cache.kept("a/b", lambda: b"anew") == b"anew"
    assert cache.get("a/b") == b"anew"
    assert [one.name for one in path.parent.iterdir()] == ["b"]  # nothing half-written stays


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path / "file"))
    assert cache.kept("a/b", lambda: b"content") == b"content"
    assert cache.get("a/b") is None


def test_a_graph_that_is_none_is_an_error_with_a_code(tmp_path, monkeypatch, predictor):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "kept", lambda name, make: b"no graph")
    with pytest.raises(BundleError, match="take the runtime torch") as caught:
        open_runtime("onnx", predictor.network, predictor.task, key="x")
    assert caught.value.code == "export_failed"
    assert caught.value.code in CODES
