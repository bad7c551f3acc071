"""Maps: where tensors go, what other methods explain, like compared with like, single lesions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medattn_core.errors import PredictionError
from medattn_core.evaluation import fidelity, localisation, map_summary, page_maps
from medattn_core.evaluation.ensemble import Mean
from medattn_core.evaluation.lesions import Lesions, _detections
from medattn_core.evaluation.maps import MapScores, add_repeats
from medattn_core.evaluation.saliency import Peers, last_stage
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.networks.encoders import ENCODERS
from tests.evaluation.test_fidelity import SMALL, VALUE, Brightness


def test_images_go_where_the_network_is() -> None:
    """A device that is there without a graphics card; what lies on another one is an error of torch."""
    image = np.zeros((1, 16, 16), np.float32)
    fidelity.curves(Brightness("meta"), image, image[0], np.ones((16, 16), bool), 0, VALUE)  # type: ignore[arg-type]
    network = AttentionCNN(spatial_dims=2, in_channels=1, out_channels=1, **SMALL)
    peers = Peers(network.to("meta"), ())
    seen: list[str] = []

    def method(x: torch.Tensor, label: int) -> np.ndarray:
        seen.append(x.device.type)
        return np.zeros((16, 16))

    peers.methods = {"method": [method]}
    peers.maps(image, 0)
    assert seen == ["meta"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_other_methods_on_cuda() -> None:
    network = AttentionCNN(spatial_dims=2, in_channels=1, out_channels=2, **SMALL).cuda().eval()
    image = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    maps = Peers(network, ("gradcam", "gradcampp", "occlusion", "integrated_gradients")).maps(image, 1)
    assert {m.shape for m in maps.values()} == {(32, 32)}
    fidelity.curves(Mean([network]), image, image[0], np.ones((32, 32), bool), 1, VALUE)
    allowed = np.ones((8, 8), bool)
    assert fidelity.random_contributions(fidelity.randomised(network), image, 1, allowed).ndim


def test_other_methods_explain_all_members() -> None:
    torch.manual_seed(0)
    pair = [AttentionCNN(spatial_dims=2, in_channels=1, out_channels=1, **SMALL).eval() for _ in range(2)]
    image = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    x = torch.from_numpy(image[None])
    assert torch.allclose(Mean(pair)(x), (pair[0](x) + pair[1](x)) / 2)
    names = ("occlusion", "gradcam")
    both = Peers(pair, names).maps(image, 0)
    for name in names:
        alone = [Peers(member, names).maps(image, 0)[name] for member in pair]
        assert not np.allclose(alone[0], alone[1])
        assert np.allclose(both[name], (alone[0] + alone[1]) / 2, atol=1e-6)


def test_other_methods_explain_the_mean_of_the_mirror_images() -> None:
    """Integrated gradients sum to what the averaging network says; a map of a mirrored image is the mirrored map.

    (That of occlusion nearly: its blocks begin at the first pixel.)
    """
    torch.manual_seed(0)
    settings = {"spatial_dims": 2, "in_channels": 1, "out_channels": 8, **SMALL, "width": 8}
    network, plain = AttentionCNN(**settings, mirror=[0, 1]).eval(), AttentionCNN(**settings).eval()
    plain.load_state_dict(network.state_dict())
    image = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    names = ("integrated_gradients", "gradcam", "occlusion")
    peers, cam = Peers(network, names), Peers(plain, ("gradcam",))
    label = next(k for k in range(8) if cam.maps(image, k)["gradcam"].max() > 0)  # random weights: some are empty
    found, turned = peers.maps(image, label), peers.maps(np.ascontiguousarray(image[:, ::-1]), label)
    alone = Peers(plain, names).maps(image, label)
    for name in names:
        top = np.abs(found[name]).max()
        np.testing.assert_allclose(turned[name][::-1], found[name], atol=(0.3 if name == "occlusion" else 1e-3) * top)
        assert np.abs(found[name] - alone[name]).max() > 0.05 * top > 0
    with torch.no_grad():
        x = torch.from_numpy(image[None])
        said = float((network(x) - network(0 * x))[0, label])
    assert found["integrated_gradients"].sum() == pytest.approx(said, rel=0.05)


@pytest.mark.parametrize("channels", [1, 2])
def test_occlusion_is_by_how_much_the_output_falls(channels: int) -> None:
    """In logits, or the unit of a value, whatever the number of image channels; where nothing is hidden, by nothing."""
    torch.manual_seed(0)
    network = AttentionCNN(spatial_dims=2, in_channels=channels, out_channels=1, bias=[9.0], **SMALL).eval()
    image = np.zeros((channels, 64, 64), np.float32)
    image[:, 4:12, 4:12] = 1
    found = Peers(network, ("occlusion",)).maps(image, 0)["occlusion"]
    with torch.no_grad():
        x = torch.from_numpy(image[None])
        whole = float(network(x) - network(0 * x))
    strongest = float(found.flat[np.abs(found).argmax()])
    assert 0.3 < strongest / whole < 3  # blocks fade towards their edges
    assert np.abs(found[40:, 40:]).max() < 0.05 * abs(whole)


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_grad_cam_of_the_last_stage_of_every_encoder(encoder: str) -> None:
    """Coarser than that of the pooled features: one value a cell of the last stage, interpolated."""
    torch.manual_seed(0)
    network = AttentionCNN(spatial_dims=2, in_channels=1, out_channels=8, encoder=encoder).eval()
    name = last_stage(network)
    shapes: list[torch.Size] = []
    hook = dict(network.named_modules())[name].register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    image = np.random.default_rng(0).random((1, 64, 96)).astype(np.float32)
    network(torch.from_numpy(image[None]))
    hook.remove()
    assert [tuple(shape[2:]) for shape in shapes] == [(2, 3)]
    peers = Peers(network, ("gradcam", "gradcam_encoder"))
    drawn = []
    for label in range(8):  # random weights speak against some labels, whose maps are empty
        maps = peers.maps(image, label)
        pooled, found = maps["gradcam"], maps["gradcam_encoder"]
        assert found.shape == pooled.shape == (64, 96)
        assert np.isfinite(found).all()
        if found.std() > 0 and pooled.std() > 0:
            drawn.append(np.corrcoef(found.ravel(), pooled.ravel())[0, 1])
        if len(drawn) == 2:
            break
    assert len(drawn) == 2
    assert max(drawn) < 0.95, "another layer gives another map"


class Plain(nn.Module):
    """Somebody's encoder, which keeps no list of stages."""

    channels = (4,)
    strides = (8,)

    def __init__(self, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 4, 8, stride=8)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.layer(x)]


def test_an_encoder_without_stages_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "plain", Plain)
    network = AttentionCNN(spatial_dims=2, in_channels=1, out_channels=1, encoder="plain", width=4).eval()
    image = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    assert Peers(network, ("gradcam",)).maps(image, 0)["gradcam"].shape == (32, 32)
    with pytest.raises(PredictionError, match="encoder Plain has no list of stages") as caught:
        Peers(network, ("gradcam", "gradcam_encoder"))
    assert caught.value.code == "bad_argument"
    assert "leave gradcam_encoder out of --compare" in caught.value.message


def collected() -> MapScores:
    """Twelve cases; the evidence of the first ten is good and of the last two bad; occlusion knows the last four."""
    scores = MapScores(patients={i: f"p{i}" for i in range(12)})
    for i in range(12):
        good = float(i < 10)
        row = {"pointing": good, "energy": 0.2 + 0.5 * good, "iou": 0.1 + 0.01 * i, "auprc": good}
        scores.located.setdefault("evidence", {})[i, "a"] = row
        if i >= 8:
            scores.located.setdefault("occlusion", {})[i, "a"] = {**row, "energy": row["energy"] - 0.1}
    return scores


def test_like_is_compared_with_like() -> None:
    place = map_summary.summary(collected(), {}, samples=100)[0]
    assert place["evidence"]["cases"] == 12
    assert place["evidence"]["pointing"] == pytest.approx(10 / 12)
    assert place["evidence"]["intervals"]["energy"][0] < place["evidence"]["energy"]
    assert place["evidence_on_sample"]["cases"] == place["occlusion"]["cases"] == 4
    assert place["evidence_on_sample"]["pointing"] == place["occlusion"]["pointing"] == 0.5
    assert place["evidence_minus"]["occlusion"]["energy"]["value"] == pytest.approx(0.1)
    page = "".join(page_maps.place(place, {"chosen_on": None}, 2))
    assert "2 masks or boxes could not be used" in page
    assert "evidence minus occlusion" in page


def test_intervals_of_maps_are_over_patients() -> None:
    scores = collected()
    scores.patients = {i: f"p{i // 2}" for i in range(12)}
    assert map_summary.summary(scores, {}, samples=100)[0]["evidence"]["intervals"] == {}  # six are too few


def test_repeats_agree_where_the_model_may_look() -> None:
    """In the padding no model finds anything: there all would agree."""
    allowed = np.zeros((4, 4, 1), bool)
    allowed[:2] = True
    rng = np.random.default_rng(0)
    own, other = (np.where(allowed, 1 + rng.random(allowed.shape), 0) for _ in range(2))
    prediction = SimpleNamespace(
        volume=None, head=SimpleNamespace(allowed=allowed), contributions={"a": own}.__getitem__
    )
    scores = MapScores()
    add_repeats(scores, (0, "a"), prediction, (), [lambda _: SimpleNamespace(contributions={"a": other}.__getitem__)])
    assert scores.repeated[0, "a"] == [fidelity.rank_correlation(own[allowed], other[allowed])]
    assert fidelity.rank_correlation(own, other) > scores.repeated[0, "a"][0] + 0.2


def test_which_map_drops_more() -> None:
    """In nine of twelve cases deleting the top of the evidence costs more, in one the same."""
    scores = MapScores(patients={i: f"p{i}" for i in range(12)})
    at = fidelity.SHARES.index(map_summary.TOP)
    for i in range(12):
        for method, drop in (("evidence", 0.5), ("occlusion", 0.7 if i > 9 else 0.5 if i == 9 else 0.1)):
            curve = np.full(len(fidelity.SHARES), 0.9)
            curve[at:] -= drop
            scores.curves.setdefault(method, {})[i, "a"] = {"deletion": curve, "insertion": curve[::-1]}
    faith = map_summary.summary(scores, {}, samples=100)[1]
    assert faith["occlusion"]["evidence_drops_more"] == pytest.approx(9.5 / 12)
    low, high = faith["occlusion"]["evidence_drops_more_interval"]
    assert 0.4 < low < 9.5 / 12 < high <= 1
    assert faith["evidence"]["drop_at_0.1"] == pytest.approx(0.5)


def test_the_page_concludes_from_the_number() -> None:
    def said(absolute: float, mean: float) -> str:
        found = {"absolute": absolute, "rank_correlation": mean, "limit": 0.2, "networks": 5, "cases": 3}
        return "".join(page_maps.faith({"weight_randomisation": found}, False))

    assert "within the limit" in said(0.1, 0.05)
    assert "without a common direction" in said(0.5, 0.1)
    assert "owes much to the image" in said(0.7, 0.6)
    assert "0.50" in said(0.5, 0.1)


def test_a_scan_counts_once_in_froc_whatever_its_labels() -> None:
    """Two scans, two labels with masks: a lesion of each is found, and each label has a false alarm on the other."""
    scores = MapScores()
    inside = np.zeros((6, 6, 1), bool)
    inside[1, 1, 0] = True
    elsewhere = np.zeros((6, 6, 1), bool)
    elsewhere[4, 4, 0] = True
    alarm, hit = SimpleNamespace(contribution=1.0, mask=elsewhere), SimpleNamespace(contribution=3.0, mask=inside)
    regions = {"shown": [hit, alarm], "other": [alarm]}
    prediction = SimpleNamespace(
        task=SimpleNamespace(labels=("shown", "other")), regions=regions.__getitem__,
        evidence=lambda _: SimpleNamespace(data=3.0 * inside + elsewhere),
    )  # fmt: skip
    lesions = Lesions(frozenset(regions), drawn={"shown", "other"})
    for case in range(2):
        lesions.add(case, ["shown"], prediction, inside)
    lesions.count(scores)
    found = localisation.froc(list(scores.froc.values()))
    assert (found["lesions"], found["scans"], found["scans_without"]) == (2, 2, 0)
    assert max(found["false_positives_a_case"]) == 2.0
    assert found["score"] == 1.0


def test_normal_scans_count_in_froc() -> None:
    lesions = np.zeros((6, 6, 1), int)
    lesions[1, 1, 0] = 1
    hit, normal = (localisation.detections([3.0], [(1, 1, 0)], one) for one in (lesions, 0 * lesions))
    assert normal == {"false": [3.0], "true": [], "lesions": 0}
    found = localisation.froc([hit, normal])
    assert (found["lesions"], found["scans"], found["scans_without"]) == (1, 2, 1)
    assert max(found["false_positives_a_case"]) == 0.5


def test_parts_that_touch_at_a_corner_are_one_lesion(trained: tuple[Path, Path]) -> None:
    prediction = Predictor.from_bundle(trained[0], device="cpu")(trained[1].with_name("3.png"))
    inside = np.zeros(prediction.volume.shape, bool)
    inside[10:14, 10:14] = inside[14:18, 14:18] = True
    assert _detections(prediction, "bright", inside)["lesions"] == 1
    inside[15:18, 14:18] = False
    inside[30:34, 30:34] = True
    assert _detections(prediction, "bright", inside)["lesions"] == 2


def test_the_peak_is_in_the_middle_of_the_strongest_cell() -> None:
    """Where all voxels of a cell are equal the first of them is its corner; two cells have no middle between them."""
    evidence = np.zeros((16, 16, 1), np.float32)
    evidence[4:8, 8:12] = 0.3
    assert localisation.peak(evidence) == (6, 10, 0)
    evidence[12:16, 12:16] = 0.3
    assert localisation.peak(evidence) == (6, 10, 0)
    assert localisation.peak(evidence, np.arange(16)[:, None, None] + 0 * evidence > 9) == (14, 14, 0)
    inside = np.zeros(evidence.shape, bool)
    inside[6, 10] = True
    assert localisation.scores(evidence, inside)["pointing"] == 1
