"""A JSON list of several lists, one of them held out and watched: the configurations train and score the right ones."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from medattn_core.bundles import Bundle, load_network
from medattn_core.bundles.bundle import EVALUATE, TRAIN
from medattn_core.errors import BundleError
from medattn_core.interop import export, verify
from medattn_core.training import train
from tests.blobs import settings
from tests.interop.test_hostile import CODE, edit
from tests.interop.test_monai_tools import workflow

EPOCHS = 20
KINDS = ("trained", "exported", "alone")


@pytest.fixture(scope="module")
def data(lists: dict[str, Path]) -> Path:
    """JSON of 8 cases to fit, 12 held out as `validation`, and 4 that nothing may touch under the usual name."""
    path = lists["blobs"].with_name("several.json")
    with lists["blobs"].open() as file:
        rows = [{"image": row["image"], "label": row["label"]} for row in csv.DictReader(file)]
    path.write_text(json.dumps({"fit": rows[:8], "validation": rows[8:20], "training": rows[20:]}))
    return path


@pytest.fixture(scope="module")
def bundles(data: Path, workshop: Path) -> dict[str, Bundle]:
    """One training as it is written, and its exports."""
    config = settings(regression=False)
    config["training"] = {**config["training"], "epochs": EPOCHS, "patience": 1}
    made = train(data, workshop / "several", config=config, device="cpu", section="fit")
    exported = export(made.path, workshop / "several_exported")
    return {"trained": made, "exported": exported,
            "alone": export(made.path, workshop / "several_alone", self_contained=True)}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_training_stops_where_it_stopped(bundles: dict[str, Bundle], data: Path, tmp_path: Path, kind: str) -> None:
    output = tmp_path / "retrained.pt"
    extra = {} if kind == "trained" else {"checkpoint": str(tmp_path / "c.pt")}
    flow = workflow(bundles[kind].path, "train", "train", dataset_dir=str(data.parent), output=str(output), **extra)
    flow.run()
    flow.finalize()
    assert flow.trainer.state.epoch < EPOCHS
    again = torch.load(output, weights_only=True)
    for name, value in load_network(bundles["trained"]).state_dict().items():
        if not name.startswith("pooling."):  # the temperature is folded into it
            torch.testing.assert_close(again[name], value, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_held_out_list_is_scored(bundles: dict[str, Bundle], data: Path, tmp_path: Path, kind: str) -> None:
    bundle = bundles[kind]
    quick: dict[str, Any] = {"_target_": "medattn_core.evaluation.Settings", "compare": (), "compared_cases": 0,
                             "bootstrap": 10}  # fmt: skip
    extra = {"metrics#settings": quick} if kind == "trained" else {}
    flow = workflow(bundle.path, "evaluate", "infer", dataset_dir=str(data.parent), output_dir=str(tmp_path), **extra)
    flow.run()
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["cases"] == 12
    scores = {name: found["classification"][name]["value"] for name in ("accuracy", "auc")} if extra else found
    for name in ("accuracy", "auc"):
        assert scores[name] == pytest.approx(bundles["trained"].metadata["eval_metrics"][name], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_known_as_ones_own_and_exported_the_same(bundles: dict[str, Bundle], tmp_path: Path, kind: str) -> None:
    bundle = bundles[kind]
    details = {check.name: check.detail for check in verify(bundle.path).checks}
    assert details["configurations"] == "text that this MedAttn writes itself"
    again = export(bundle.path, tmp_path / "again")
    for name in (TRAIN, EVALUATE):
        assert (again.path / name).read_bytes() == (bundles["exported"].path / name).read_bytes()


@pytest.mark.parametrize(("file", "keys"), [(TRAIN, ("train", "dataset")), (EVALUATE, ("metrics",))])
def test_a_section_that_would_be_code_is_refused(
    bundles: dict[str, Bundle], tmp_path: Path, file: str, keys: tuple[str, ...]
) -> None:
    def change(config: dict[str, Any]) -> None:
        for key in keys:
            config = config[key]
        config["section"] = CODE

    root = tmp_path / "copy"
    shutil.copytree(bundles["trained"].path, root)
    edit(root, file, change)
    with pytest.raises(BundleError, match="under section would be evaluated by MONAI"):
        export(root, tmp_path / "out")
    assert "would be evaluated" in "".join(verify(root).lines())
