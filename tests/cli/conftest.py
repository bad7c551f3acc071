"""The command line in this process, and a bundle that is quick."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from medattn_core import cli


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def codes(self) -> list[str]:
        """Codes of the error lines."""
        return re.findall(r"^error \[(\w+)\] ", self.err, re.MULTILINE)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``medattn`` in this process."""

    def _run(*arguments: object) -> Ran:
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as ended:
                cli.app([str(argument) for argument in arguments], prog_name="medattn")
        finally:
            logging.disable(logging.NOTSET)
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return _run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle with a small, untrained network: the command line is asked, not the model."""
    import torch

    from medattn_core.bundles import save_bundle
    from medattn_core.networks.attention_cnn import AttentionCNN
    from medattn_core.tasks import TaskSpec

    task = TaskSpec(
        name="tiny",
        labels=("glioma", "meningioma", "pituitary"),
        modality=("MR",),
        spatial_dims=2,
        slicewise=True,
        spacing=(2.0, 2.0),
        field_of_view=240.0,
    )
    settings = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 3,
        "encoder_options": {"widths": [4, 4, 8, 8]},
        "width": 8,
        "slicewise": True,
    }
    torch.manual_seed(0)
    network = AttentionCNN(**settings)
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    save_bundle(
        folder,
        task=task,
        network_settings=settings,
        state_dict=network.state_dict(),
        description="untrained",
        version="0.0.1",
        data_license="none",
    )
    return folder
