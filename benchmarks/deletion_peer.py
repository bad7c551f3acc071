"""Deletion on the input: the evidence of a network against Grad-CAM of the plain alternative.

    python -m benchmarks.deletion_peer --bundle runs/t1_imagenet/seed0_fold2 \\
        --peer runs/little_full/average_1_fold2_seed0 \\
        --data ../shared/data/brain_tumor_t1ce/labels.csv --fold 2

The peer is the same encoder with average pooling, trained on labels alone: the network whose Grad-CAM is what others
publish. Its map and the evidence delete from the same image, and one network, that of --bundle, says how far its
probability falls; with --judge that of --peer does. Slices, blur and shares are those of `medattn evaluate`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.common import machine, markdown_table
from medattn_core import datalists
from medattn_core.evaluation.ensemble import Mean
from medattn_core.evaluation.map_summary import DROP, TOP, summary
from medattn_core.evaluation.maps import Comparison, MapScores, add_comparison, add_place
from medattn_core.evaluation.saliency import PEERS, Peers
from medattn_core.inference import Predictor


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--peer", type=Path, required=True, help="another bundle of the same task on the same grid")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, required=True, help="one that neither has seen")
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--methods", nargs="+", default=["gradcam", "gradcam_encoder"], choices=sorted(PEERS))
    parser.add_argument("--judge", action="store_true", help="the peer's network says how far its probability falls")
    arguments = parser.parse_args()
    predictor, peer = Predictor.from_bundle(arguments.bundle), Predictor.from_bundle(arguments.peer)
    for name in ("spacing", "size", "intensity", "field_of_view", "labels"):
        if getattr(predictor.task, name) != getattr(peer.task, name):
            parser.error(f"--peer sees another image: its {name} differs")
    judge = (peer if arguments.judge else predictor).networks
    comparison = Comparison(peers=Peers(peer.networks, tuple(arguments.methods)), whole=Mean(judge).eval(), random=())
    cases = [case for case in datalists.load(arguments.data) if case.fold == arguments.fold]
    chosen = sorted(np.random.default_rng(0).permutation(len(cases))[: arguments.cases].tolist())
    scores = MapScores()
    for number in chosen:
        case = cases[number]
        prediction = predictor(case.images)
        assert case.label is not None
        inside = datalists.location_of(case, prediction.evidence(case.label))
        assert inside is not None
        key = (number, case.label)
        add_place(scores, key, prediction, inside > 0.5, {})
        add_comparison(scores, key, prediction, (), comparison, inside > 0.5, {})
    place, faith = summary(scores, {})
    rows = []
    for method in ("evidence", *arguments.methods):
        more = faith[method].get("evidence_drops_more")
        low, high = faith[method].get("evidence_drops_more_interval", (float("nan"),) * 2)
        rows.append([
            method, f"{faith[method][DROP]:.3f}",
            "" if more is None else f"{more:.3f} ({low:.3f} to {high:.3f})",
            *[f"{place[method][name]:.3f}" for name in ("pointing", "energy", "auprc")],
        ])  # fmt: skip
    header = ["map", f"fall at {TOP:.0%}", "evidence makes it fall more", "pointing", "energy", "voxel AUPRC"]
    print(f"Fold {arguments.fold}, {len(chosen)} slices; {machine()}\n\n{markdown_table(header, rows)}")
    print(json.dumps({method: faith[method]["deletion"] for method in ("evidence", *arguments.methods)}))


if __name__ == "__main__":
    main()
