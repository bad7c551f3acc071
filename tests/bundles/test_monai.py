"""A MedAttn bundle is a MONAI bundle: MONAI's own parser, schema and checks say so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medattn_core.bundles import Bundle, load_network, load_networks, save_bundle
from medattn_core.bundles.bundle import METADATA, SCHEMA
from medattn_core.tasks import TaskSpec

Make = Callable[..., Bundle]


@pytest.fixture
def schemas(shared_data: Path) -> Path:
    """MONAI's schemas, which lie beside the repository."""
    folder = shared_data.parent / "schemas"
    if not folder.is_dir():
        pytest.skip("MONAI's schemas lie not beside this checkout")
    return folder


@pytest.mark.parametrize("date", ["20240725", "20220324"])
def test_metadata_fits_monais_schema(make: Make, schemas: Path, date: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    metadata = make(about={"references": ["doi:10.1/x"]}).metadata
    schema = json.loads((schemas / f"meta_schema_{date}.json").read_text(encoding="utf-8"))
    jsonschema.validate(metadata, schema)
    metadata.pop("authors")
    with pytest.raises(jsonschema.ValidationError, match="authors"):
        jsonschema.validate(metadata, schema)


def test_schema_is_the_one_that_lies_there(schemas: Path) -> None:
    assert (schemas / SCHEMA.rsplit("/", 1)[1]).is_file()


def test_monais_own_verification(make: Make, schemas: Path, tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    from monai.bundle import verify_metadata, verify_net_in_out

    bundle = make()
    schema = tmp_path / "schema.json"
    shutil.copy(schemas / "meta_schema_20240725.json", schema)  # lies there: nothing is downloaded
    verify_metadata(meta_file=str(bundle.path / METADATA), filepath=str(schema))
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle.path / METADATA),
        config_file=str(bundle.path / "configs" / "inference.json"),
        device="cpu",
        n=2,
        any=3,
    )


@pytest.mark.slow
def test_monais_command_line(make: Make, schemas: Path, tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    pytest.importorskip("fire")
    schema = tmp_path / "schema.json"
    shutil.copy(schemas / "meta_schema_20240725.json", schema)
    command = [sys.executable, "-m", "monai.bundle", "verify_metadata"]
    command += ["--meta_file", str(make().path / METADATA), "--filepath", str(schema)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "metadata is verified with no error" in answer.stdout + answer.stderr


def test_the_inference_configuration_is_the_bundle(make: Make, tmp_path: Path) -> None:
    """Parsed by MONAI it holds the same task and network, and its network takes the bundle's weights."""
    from monai.bundle import ConfigParser

    from medattn_core.transforms.dictionary import ConformD

    bundle = make()
    parser = ConfigParser()
    parser.read_config(str(bundle.path / "configs" / "inference.json"))
    parser.read_meta(str(bundle.path / METADATA))
    parser["bundle_root"] = str(bundle.path)
    for key in ("network_def", "preprocessing", "postprocessing", "inferer", "device", "dataset_dir", "evaluator"):
        assert key in parser, key
    assert TaskSpec.from_dict(parser["preprocessing"]["transforms"][0]["task"]) == bundle.task
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle.weights_path, weights_only=True))  # half into float32
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.eval()(x), load_network(bundle)(x))
    (conform,) = parser.get_parsed_content("preprocessing").transforms
    assert isinstance(conform, ConformD)
    assert conform.task == bundle.task
    logits = torch.tensor([1.0, -2.0, 0.5])
    after = parser.get_parsed_content("postprocessing")({"pred": logits})["pred"]
    torch.testing.assert_close(torch.as_tensor(after), logits.sigmoid())


def test_the_inference_configuration_of_an_ensemble_is_all_its_members(make: Make) -> None:
    from ignite.engine import Engine
    from monai.bundle import ConfigParser

    bundle = make()
    state = torch.load(bundle.weights_path, weights_only=True)
    other = {name: value * 1.5 if value.is_floating_point() else value for name, value in state.items()}
    several = save_bundle(
        bundle.path.with_name("several"), task=bundle.task, network_settings=bundle.network, state_dict=state,
        members=[other], description="two", version="1.0.0",
    )  # fmt: skip
    parser = ConfigParser()
    parser.read_config(str(several.path / "configs" / "inference.json"))
    parser["bundle_root"] = str(several.path)
    network = parser.get_parsed_content("network")
    assert len(network.members) == 2
    for handler in parser.get_parsed_content("handlers"):
        handler(Engine(lambda engine, batch: None))
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        wanted = torch.stack([one(x) for one in load_networks(several)]).mean(dim=0)
        torch.testing.assert_close(network.eval()(x), wanted)


@pytest.mark.parametrize(("activation", "kind"), [("softmax", "multiclass"), ("identity", "regression")])
def test_postprocessing_is_the_activation_of_the_task(activation: str, kind: str) -> None:
    from medattn_core.bundles.configs import inference_config

    task = TaskSpec(name="x", kind=kind, activation=activation, labels=("a", "b") if kind == "multiclass" else ("a",))
    transforms = inference_config(task, {})["postprocessing"]["transforms"]
    softmax = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
    assert transforms == ([softmax] if kind == "multiclass" else [])
