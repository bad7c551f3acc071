"""``python -m medattn_core.interop.convert FOLDER FORMAT...``: what :func:`medattn_core.interop.formats.make` runs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from medattn_core.bundles import load
from medattn_core.interop import formats


def main(folder: Path, wanted: list[str]) -> None:
    """Write the network of the bundle at ``folder`` in each of the wanted formats."""
    bundle = load(folder)
    network = formats.as_module(bundle)
    if "torchscript" in wanted:
        (folder / formats.TORCHSCRIPT).write_bytes(formats.torchscript(network, formats.carried(folder)))
    if "onnx" not in wanted and "openvino" not in wanted:
        return
    model = formats.onnx_model(network, bundle.task)
    content = model.SerializeToString(deterministic=True)
    if "onnx" in wanted:
        (folder / formats.ONNX).write_bytes(content)
    if "openvino" in wanted:
        import openvino

        converted = openvino.Core().read_model(content)
        openvino.save_model(converted, str(folder / formats.OPENVINO), compress_to_fp16=False)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), sys.argv[2:])
