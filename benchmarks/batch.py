"""Many scans: throughput beside its slowest stage alone, memory, and what is left after being killed.

Makes 500 scans of the size of ``sample_data/brain1`` (256 x 256 x 25, int16, .nii.gz) from it: each with intensities
scaled by 0.9 to 1.1, noise of one per cent of the brightest voxel, spacing scaled by 0.98 to 1.02 and turned by up to
5 degrees, so that no two scans, grids or results are alike. Seed 0.

    python -m benchmarks.batch make --folder DIR                 (once)
    python -m benchmarks.batch memory --folder DIR               (500 scans: peak memory on the way)
    python -m benchmarks.batch throughput --folder DIR           (scans, then each stage alone, in turn)
    python -m benchmarks.batch kill --folder DIR --output DIR2   (ten times kill -9, then the tables compared)
    python -m benchmarks.batch scaling --folder DIR              (one worker against two; --engine ray too)
    python -m benchmarks.batch driver --folder DIR               (what the table costs a row)
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

BUNDLE = "brain_tumor_t1ce"
ROOT = Path(__file__).resolve().parents[1]


def make(folder: Path, count: int, seed: int = 0) -> None:
    """Write the scans."""
    from medattn_core import volumes
    from tests.strategies import rotation

    folder.mkdir(parents=True, exist_ok=True)
    scan = volumes.read(ROOT / "sample_data" / "brain1_image.nrrd")
    voxels = scan.data.astype(np.float32)
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        noise = rng.normal(0, 0.01 * voxels.max(), voxels.shape).astype(np.float32) * (voxels > 0)
        data = np.clip(voxels * rng.uniform(0.9, 1.1) + noise, 0, 32767).astype(np.int16)
        affine = scan.affine.copy()
        affine[:3, :3] = rotation(np.radians(rng.uniform(-5, 5, 3))) @ affine[:3, :3] * rng.uniform(0.98, 1.02)
        volumes.write(volumes.Volume(data=data, affine=affine), folder / f"scan{number:03}.nii.gz")


def table(output: Path) -> bytes:
    """predictions.csv, sorted, without the one column of times."""
    rows = list(csv.reader(io.StringIO((output / "predictions.csv").read_text(encoding="utf-8"))))
    times = rows[0].index("time_s")
    return "\n".join(sorted(",".join(row[:times] + row[times + 1 :]) for row in rows)).encode()


def records(output: Path) -> list[dict[str, Any]]:
    """predictions.json without times."""
    found = json.loads((output / "predictions.json").read_text(encoding="utf-8"))
    return [{key: value for key, value in record.items() if key != "timings_s"} for record in found]


def status(key: str) -> int:
    """A line of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) >> 10


def run(scans: list[Path], output: Path, engine: str = "local", **options: Any) -> dict[str, Any]:
    """One batch in this process: seconds, rate from the tenth scan on, peak memory by number of scans."""
    from medattn_core.batch import Settings, predict_many

    predictor = Settings(bundle=BUNDLE, device="cpu").open()
    base, times, peaks = status("VmRSS"), [], {}

    def done(result: Any) -> None:
        times.append(time.perf_counter())
        if len(times) in (10, 50, 100, 200, 300, 400, 500):
            peaks[len(times)] = (status("VmHWM"), status("VmRSS"))

    start = time.perf_counter()
    summary = predict_many(
        [(path, ()) for path in scans],
        output,
        Settings(bundle=BUNDLE, device="cpu", **options),
        engine=engine,
        predictor=predictor,
        done=done,
    )
    rate = (len(times) - 10) / (times[-1] - times[9])
    return {
        "scans": len(scans),
        "failed": summary.failed,
        "seconds": round(time.perf_counter() - start, 1),
        "scans_per_s": round(rate, 3),
        "model_loaded_mib": base,
        "peak_and_resident_mib_after": peaks,
    }


def together(work: Callable[[int], object], threads: int, each: int) -> float:
    """Items a second of a stage alone, done by so many threads at a time; the first of each thread is not counted."""
    barrier = threading.Barrier(threads + 1)

    def loop() -> None:
        work(0)
        barrier.wait()
        for number in range(each):
            work(number)
        barrier.wait()

    team = [threading.Thread(target=loop) for _ in range(threads)]
    for thread in team:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    return threads * each / (time.perf_counter() - start)


def stages(scans: list[Path], lanes: int, each: int) -> dict[str, float]:
    """Each stage alone, on as many threads as the batch has lanes, each with one thread of torch."""
    import torch

    from medattn_core import volumes
    from medattn_core.batch import Settings
    from medattn_core.inference import Predictor
    from medattn_core.outputs import ResultWriter
    from medattn_core.transforms.conform import conform

    predictor = Settings(bundle=BUNDLE, device="cpu").open()
    assert isinstance(predictor, Predictor)
    network, task = predictor.network, predictor.task
    volume = volumes.read(scans[0])
    image = torch.from_numpy(conform(volume, task).image)
    prediction = predictor(volume)

    @torch.inference_mode()
    def through(threads: int) -> None:
        torch.set_num_threads(threads)
        chunks = []
        for first in range(0, image.shape[-1], predictor.slices_at_once):
            slices = image[0, :, :, first : first + predictor.slices_at_once].permute(2, 0, 1)[:, None]
            chunks.append(network.features(slices.contiguous(memory_format=torch.channels_last)))
        network.pool(torch.cat(chunks).permute(1, 2, 3, 0).unsqueeze(0))

    with tempfile.TemporaryDirectory() as folder:
        writer = ResultWriter(folder)
        return {
            "read": together(lambda n: volumes.read(scans[n % len(scans)]), lanes, each),
            "resample": together(lambda n: conform(volume, task), lanes, each),
            "network": together(lambda n: through(1), lanes, each),
            "network, one scan on all cores": together(lambda n: through(lanes), 1, each),
            # A copy has not kept its map: making it is part of the stage.
            "map, regions and file": together(
                lambda n: writer.write(replace(prediction), f"{threading.get_ident()}_{n % 4}"), lanes, each
            ),
        }


def throughput(scans: list[Path], repeats: int, each: int) -> dict[str, Any]:
    """The batch and each stage alone, in turn, and what share of the slowest stage's rate the batch has."""
    from medattn_core.batch.local import cores

    found: list[dict[str, float]] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            rate = run(scans, Path(folder))["scans_per_s"]
        alone = stages(scans, cores(), each)
        slowest = min(alone[name] for name in ("read", "resample", "network", "map, regions and file"))
        busy = cores() / sum(cores() / alone[name] for name in ("read", "resample", "network", "map, regions and file"))
        found.append(
            {
                "batch": rate,
                **alone,
                "batch / slowest stage on as many lanes": rate / slowest,
                "batch / network, one scan on all cores": rate / alone["network, one scan on all cores"],
                "batch / all stages' work on all cores": rate / busy,
            }
        )
    spread = {key: [round(run[key], 3) for run in found] for key in found[0]}
    return {"medians": {key: round(statistics.median(values), 3) for key, values in spread.items()}, "runs": spread}


def kill(scans: list[Path], kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill runs at random moments until done; compare with a run that was left alone.

    Args:
        scans: inputs.
        kills: how often.
        seed: of the moments.
        folder: for the results; a run that was left alone there already is used again.
    """
    random.seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    listed, whole, killed = folder / "scans.txt", folder / "whole", folder / "killed"
    listed.write_text("".join(f"{path.resolve()}\n" for path in scans), encoding="utf-8")

    def command(output: Path) -> list[str]:
        options = ["--bundle", BUNDLE, "--output", str(output.resolve()), "--device", "cpu"]
        return [sys.executable, "-m", "medattn_core", "predict", str(listed.resolve()), *options]

    if not (whole / "predictions.json").exists():
        subprocess.run(command(whole), cwd=ROOT, capture_output=True, check=True)
    shutil.rmtree(killed, ignore_errors=True)
    journal, finished = killed / "predictions.jsonl", []
    for number in range(1, kills + 1):
        process = subprocess.Popen(command(killed), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # A random moment: after a random number of rows, and then up to the time of one scan more. The first kills
        # of a seed that draws low come while the model is loaded.
        most = rows_of(journal) + 2 * (len(scans) - rows_of(journal)) // (kills - number + 2)
        aim = random.randint(rows_of(journal), most)
        while rows_of(journal) < aim and process.poll() is None:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 1.0))
        assert process.poll() is None, "the run ended before it was killed: use more scans or fewer kills"
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished.append(rows_of(journal))
    last = subprocess.run(command(killed), cwd=ROOT, capture_output=True, text=True, check=True)
    maps = {path.name: path.read_bytes() for path in whole.glob("*_evidence*")}
    return {
        "scans": len(scans),
        "rows_after_each_kill": finished,
        "last_line": last.stderr.splitlines()[-1].rpartition("; results")[0],
        "table_equal": table(killed) == table(whole),
        "records_equal": records(killed) == records(whole),
        "evidence_equal": maps == {path.name: path.read_bytes() for path in killed.glob("*_evidence*")},
        "left_over_files": sorted(p.name for p in killed.iterdir() if p.name.endswith((".tmp", ".part"))),
        "rows": len(records(killed)),
        "maps": len(maps),
        "bytes_of_table": len(table(killed)),
    }


def rows_of(journal: Path) -> int:
    """Whole lines."""
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def scaling(scans: list[Path], repeats: int, engine: str) -> dict[str, Any]:
    """One worker against two, in turn, each run a process of its own; one worker also with both cores."""
    rates: dict[str, list[float]] = {}
    code = (
        "import json, sys, tempfile, os\nfrom pathlib import Path\nfrom benchmarks import batch\n"
        "cores, workers, engine = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]\n"
        "os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    scans = [Path(path) for path in sys.argv[4:]]\n"
        "    print(json.dumps(batch.run(scans, Path(folder), engine=engine, workers=workers)))\n"
    )
    # An actor has one core whatever the machine has; a local worker alone takes all that there are.
    shapes = ((1, 1), (2, 1), (2, 2)) if engine == "local" else ((2, 1), (2, 2))
    for _ in range(repeats):
        for cores, workers in shapes:
            arguments = [str(cores), str(workers), engine, *map(str, scans)]
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
            )
            found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
            rates.setdefault(f"{workers} worker(s), {cores} core(s)", []).append(found["scans_per_s"])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    one, *_, two = medians.values()
    return {"engine": engine, "scans_per_s": rates, "medians": medians, "efficiency": round(two / one / 2, 3)}


def driver(scan: Path, rows: int) -> dict[str, Any]:
    """What the one process that writes the table costs a row: what bounds a cluster of any size.

    Args:
        scan: predicted once; its row is written so many times, for inputs of other names.
        rows: how many.
    """
    from medattn_core.batch.finish import CsvStream, finish
    from medattn_core.batch.jobs import jobs_of
    from medattn_core.batch.journal import Journal
    from medattn_core.batch.local import predict_here
    from medattn_core.batch.settings import Settings

    settings = Settings(bundle=BUNDLE, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (one,) = jobs_of([(scan, ())])
        results = predict_here(settings.open(), [one], place, settings, count=1, begun=lambda job: None)
        (result,) = list(results)
        before = status("VmRSS")
        names = [place / "in" / f"{number:07}.nii.gz" for number in range(rows)]
        names[0].parent.mkdir()
        for name in names:
            os.symlink(scan.resolve(), name)
        jobs = jobs_of([(name, ()) for name in names])
        journal = Journal(place, jobs, "0" * 16)
        table = CsvStream(place, journal.rows)
        start = time.perf_counter()
        for job in jobs:
            record = {**result.record, "input": str(job.path)}
            row = replace(result, job=job, record=record, stamp=job.stamp())
            journal.append(row)
            table.append(record)
        appended = time.perf_counter()
        finish(journal, report=False)
        finished = time.perf_counter()
        size, held = journal.path.stat().st_size, status("VmRSS") - before
        journal.close()
        table.close()
        start_again = time.perf_counter()
        again = Journal(place, jobs, "0" * 16)
        took_over = time.perf_counter() - start_again
        again.close()
        return {
            "rows": rows,
            "append_ms_a_row": round((appended - start) / rows * 1e3, 3),
            "final_tables_ms_a_row": round((finished - appended) / rows * 1e3, 3),
            "take_over_ms_a_row": round(took_over / rows * 1e3, 3),
            "journal_bytes_a_row": size // rows,
            "memory_bytes_a_row": (held << 20) // rows,
        }


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "memory", "throughput", "kill", "scaling", "driver"))
    parser.add_argument("--folder", type=Path, required=True, help="of the scans")
    parser.add_argument("--output", type=Path, default=Path("batch_kill"), help="of kill: folder for the results")
    parser.add_argument("--scans", type=int, default=500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--each", type=int, default=12, help="scans a thread, for each stage alone")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="of scaling")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    if options.what == "make":
        make(options.folder, options.scans, options.seed)
        return
    scans = sorted(options.folder.glob("*.nii.gz"))[: options.scans]
    found: dict[str, Any]
    if options.what == "memory":
        with tempfile.TemporaryDirectory() as folder:
            found = run(scans, Path(folder))
    elif options.what == "throughput":
        found = throughput(scans[: min(len(scans), 40)], options.repeats, options.each)
    elif options.what == "kill":
        found = kill(scans, options.kills, options.seed, options.output)
    elif options.what == "driver":
        found = driver(scans[0], 20 * len(scans))
    else:
        found = scaling(scans[: min(len(scans), 60)], options.repeats, options.engine)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
