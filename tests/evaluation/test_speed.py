"""The measurement itself: the sides do what they are said to do, and the ratios are those of the times."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medattn_core.bundles import load
from medattn_core.evaluation import speed
from medattn_core.evaluation.speed import Timed
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.volumes import Volume, write

BRAIN = Path(__file__).resolve().parents[2] / "sample_data" / "brain1_image.nrrd"


def test_ratio_is_pass_by_pass():
    ours = Timed([{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 0.0}])
    theirs = Timed([{"a": 4.0}, {"a": 12.0}, {"a": 10.0}])
    low, middle, high = ours.ratio(theirs)
    assert middle == pytest.approx(3.0)
    assert low <= middle <= high <= 5.0
    assert ours.median == 2.0
    assert ours.stage("b") == 1.0
    assert ours.stage("none") is None
    assert Timed([{"a": 1.0}]).ratio(Timed([{"a": 3.0}])) == (3.0, 3.0, 3.0)


def test_sides_take_turns_and_the_first_pass_is_not_counted():
    called: list[str] = []

    def side(name):
        def run():
            called.append(name)
            return {"all": float(len(called))}

        return run

    timed = speed.interleaved({"a": side("a"), "b": side("b")}, runs=3)
    assert called == ["a", "b"] * 4
    assert timed["a"].totals == [3.0, 5.0, 7.0]
    rows = speed.rows(timed, "b")
    assert [len(row) for row in rows] == [len(speed.HEADER)] * 2


@pytest.mark.parametrize("bundle", ["vessel_aneurysm", "brain_tumor_t1ce"])
def test_all_sides_write_a_map_on_the_grid_of_the_scan(tmp_path, bundle):
    predictor = Predictor.from_bundle(bundle, device="cpu")
    path = BRAIN
    if bundle == "vessel_aneurysm":
        path = tmp_path / "scan.nii.gz"
        affine = np.diag([-1.0, -1.0, 1.5, 1.0])
        write(Volume(data=speed.made_up_scan(0, 40)[:, :36], affine=affine), path)
    ours = speed.medattn(predictor, path, tmp_path)()
    assert set(ours) == {"read", "conform", "network", "map", "regions", "write"}
    name = path.name.split(".")[0]
    our_map = nib.load(tmp_path / f"{name}_evidence.nii.gz")
    spread = []
    for seed in range(4):  # the linear layer of stock MONAI is drawn: some draws leave Grad-CAM nothing above zero
        torch.manual_seed(seed)
        theirs = speed.stock_monai(predictor, path, tmp_path)()
        assert set(theirs) == {"read", "conform", "network", "Grad-CAM", "map", "write"}
        assert min(*ours.values(), *theirs.values()) > 0
        (their_file,) = tmp_path.glob("*_monai*")
        assert our_map.shape == nib.load(their_file).shape[:3]
        spread.append(np.ptp(np.asarray(nib.load(their_file).dataobj)))
        if spread[-1] > 0:
            break
    assert spread[-1] > 0


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "efficientnet-b0", "densenet121"])
def test_stock_monai_finds_the_last_stage_of_other_encoders(tmp_path, encoder):
    shipped = load("brain_tumor_t1ce")
    settings = {**shipped.network, "encoder": encoder, "encoder_options": {}}
    torch.manual_seed(0)
    predictor = Predictor(shipped, AttentionCNN(**settings), device="cpu")
    path = tmp_path / "scan.nii.gz"
    write(Volume(data=speed.made_up_scan(0, 40)[:, :, :6], affine=np.diag([-1.0, -1.0, 5.0, 1.0])), path)
    assert speed.stock_monai(predictor, path, tmp_path)()["Grad-CAM"] > 0
