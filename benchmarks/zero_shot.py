"""Zero-shot classification by an encoder: `emt_clip` against CLIP_benchmark, on the same images, weights and prompts.

    python -m benchmarks.zero_shot IMAGES.parquet --peer PYTHON [--images 500] [--weights FILE] [--templates simple]

IMAGES has CIFAR-10's test images as on the hub. PYTHON is an interpreter with CLIP_benchmark, which has an environment
of its own (`pip install clip_benchmark pyarrow 'numpy<2.4'`). Without `--weights` of the architecture they are drawn at
random: then the accuracy is chance, and the answers still have to be the same. Both read the images from the file, in
batches, in float32; each in a process of its own, in turns. Timed: all from the file to the answers, without
loading the model.
Prints one JSON line per figure.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from PIL import Image

ARCHITECTURE = "ViT-B-32"

PEER = """
import io, json, sys, time
import open_clip, torch
import pyarrow.parquet as pq
from PIL import Image
from clip_benchmark.metrics.zeroshot_classification import run_classification, zero_shot_classifier

file, count, batch, architecture, weights, names, templates = json.loads(sys.argv[1])
model, _, transform = open_clip.create_model_and_transforms(architecture, pretrained=weights)
model.eval()
tokenizer = open_clip.get_tokenizer(architecture)


class Rows(torch.utils.data.Dataset):
    def __init__(self):
        self.rows = pq.read_table(file).slice(0, count).to_pylist()

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return transform(Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB")), row["label"]


loader = torch.utils.data.DataLoader(Rows(), batch_size=batch, num_workers=0)
started = time.perf_counter()
classifier = zero_shot_classifier(model, tokenizer, names, templates, "cpu", amp=False)
logits, _ = run_classification(model, classifier, loader, "cpu", amp=False)
print(json.dumps({"seconds": time.perf_counter() - started, "answers": logits.argmax(1).tolist()}))
"""


def main() -> None:
    """Compare answers and speed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--peer", type=Path, required=True)
    parser.add_argument("--images", dest="count", type=int, default=500)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--templates", default="simple")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or _random(Path(folder) / "random.pt")
        _compare(options, weights)


def _compare(options: argparse.Namespace, weights: Path) -> None:
    from emt_tasks.datasets import vocabularies
    from emt_tasks.models.clip import read_templates

    names = vocabularies.load("cifar10").names
    phrases = [template.format(label="{c}") for template in read_templates(options.templates)]
    given = [str(options.images), options.count, options.batch, ARCHITECTURE, str(weights), names, phrases]
    ours, theirs = [], []
    for _ in range(options.repeats):
        ours.append(_ours(options, weights))
        command = [str(options.peer), "-c", PEER, json.dumps(given)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        theirs.append(json.loads(done.stdout.splitlines()[-1]))
    numbers = [names.index(answer) for answer in ours[0]["answers"]]
    same = sum(mine == other for mine, other in zip(numbers, theirs[0]["answers"], strict=True))
    rates = [options.count / min(run["seconds"] for run in runs) for runs in (ours, theirs)]
    for name, value in (
        ("prompts", len(phrases)),
        ("different answers among them", len(set(numbers))),
        ("same answers, %", 100 * same / len(numbers)),
        ("images/s", rates[0]),
        ("images/s of CLIP_benchmark", rates[1]),
        ("times CLIP_benchmark's speed", rates[0] / rates[1]),
    ):
        print(json.dumps({"figure": name, "value": round(value, 3)}))


def _ours(options: argparse.Namespace, weights: Path) -> dict[str, object]:
    """Answer in a process of its own, as the peer does."""
    given = [str(options.images), options.count, options.batch, f"{ARCHITECTURE}/{weights}", options.templates]
    command = [sys.executable, "-c", "import sys; from benchmarks import zero_shot; zero_shot.answer(sys.argv[1])"]
    done = subprocess.run([*command, json.dumps(given)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(given: str) -> None:
    """Print our answers and the time that they took."""
    from lmms_eval.api.instance import Instance

    from emt_tasks.models.clip import EmtCLIP
    from emt_tasks.tasks import hooks

    file, count, batch, pretrained, templates = json.loads(given)
    lm = EmtCLIP(pretrained=pretrained, templates=templates, device="cpu", batch_size=batch)
    rows = pq.read_table(file).slice(0, count).to_pylist()
    lm.task_dict = {"emt_cifar10": {"test": rows}}

    def image(row: dict[str, dict[str, bytes]]) -> list[Image.Image]:
        return hooks.cifar10_image({"img": Image.open(io.BytesIO(row["img"]["bytes"]))})  # type: ignore[no-any-return]

    about = {"task": "emt_cifar10", "repeats": 1}
    requests = [
        Instance(
            request_type="generate_until",
            arguments=("", {}, image, number, "emt_cifar10", "test"),
            idx=0,
            metadata=about | {"doc_id": number},
        )
        for number in range(count)
    ]
    started = time.perf_counter()
    answers = [result.text for result in lm.generate_until(requests)]
    print(json.dumps({"seconds": time.perf_counter() - started, "answers": answers}))


def _random(file: Path) -> Path:
    import open_clip

    torch.manual_seed(0)
    torch.save(open_clip.create_model(ARCHITECTURE).state_dict(), file)
    return file


if __name__ == "__main__":
    main()
