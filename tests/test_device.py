"""Names of devices: what is accepted, and whether it is there."""

from __future__ import annotations

import pytest
import torch

from medattn_core.device import check_card, check_device_name, resolve_device
from medattn_core.errors import MedAttnError


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:12"])
def test_accepted_names(device: str) -> None:
    assert check_device_name(device) == device


@pytest.mark.parametrize(
    "device", ["", "gpu", "CUDA", "mps", "cuda:", "cuda:a", "cuda:-1", "cuda:01", "cuda:1 ", "cpu:0"]
)
def test_other_names_are_refused_with_the_accepted_ones(device: str) -> None:
    for check in (check_device_name, resolve_device):
        with pytest.raises(
            MedAttnError, match=f"device '{device}' is not known; accepted: auto, cpu, cuda, cuda:N"
        ) as at:
            check(device)
        assert at.value.code == "bad_argument"


@pytest.mark.parametrize(("device", "cards", "said"), [
    ("cuda", 0, "device 'cuda': this torch sees no CUDA card; accepted here: auto, cpu"),
    ("cuda:0", 0, "device 'cuda:0': this torch sees no CUDA card"),
    ("cuda:1", 1, "device 'cuda:1': there is no such card, cuda:0 alone is there"),
    ("cuda:10", 4, "device 'cuda:10': there is no such card, cuda:0 to cuda:3 are there; name one of them"),
    ("cuda", 1, None),
    ("cuda:3", 4, None),
])  # fmt: skip
def test_a_card_that_is_not_there(device: str, cards: int, said: str | None) -> None:
    if said is None:
        check_card(device, cards)
        return
    with pytest.raises(MedAttnError, match=said) as caught:
        check_card(device, cards)
    assert caught.value.code == "bad_argument"


def test_what_is_there_on_this_machine() -> None:
    cards = torch.cuda.device_count()
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if cards else "cpu")
    for number in range(cards):
        assert resolve_device(f"cuda:{number}") == f"cuda:{number}"
    with pytest.raises(MedAttnError, match=f"'cuda:{cards}'"):
        resolve_device(f"cuda:{cards}")


def test_a_torch_device_is_its_name() -> None:
    assert resolve_device(torch.device("cpu")) == "cpu"  # type: ignore[arg-type]
