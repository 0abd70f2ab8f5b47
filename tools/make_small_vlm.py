"""Make a small, real multimodal LLM of 139 M weights: pretrained parts, joined and aligned by `emt finetune`.

    python -m tools.make_small_vlm OUT --data DIR [--large DIR] [--work DIR]

`--data` is a folder like $EMT_DATA_DIR with cifar10, mnist and imagenet1k; `--large` one with more training images of
cifar10. What is done is kept in the work folder: a stopped run resumes there. Needs `gguf`, and WordNet's files
(Debian's wordnet-base). The model is a folder that `emt eval`, `emt finetune` and `transformers serve` take.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tools.small_vlm import questions
from tools.small_vlm.parts import assemble
from tools.wordnet import WordNet

RECIPES = Path(__file__).parent / "small_vlm"
SHAPES = 1000
"""How many drawn shapes the model sees."""

REPLAYED = 100
"""How many names the language model is asked about before its alignment."""


def main(argv: list[str] | None = None) -> int:
    """Make the model, step by step; steps that are done are not repeated."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--large", type=Path)
    parser.add_argument("--work", type=Path, help="by default OUT.work")
    options = parser.parse_args(argv)
    work = options.work or options.out.with_suffix(".work")
    os.environ["EMT_DATA_DIR"] = str(_data_folder(work / "data", options.data, options.large or options.data))
    assemble(work / "parts", work)
    _questions(work)
    for recipe in ("align_projector", "align_llm"):
        aligned = _train(RECIPES / f"{recipe}.yaml", work)
    if not options.out.exists():
        shutil.copytree(aligned, options.out, ignore=shutil.ignore_patterns("emt_train.jsonl", "README.md"))
    print(options.out)
    return 0


def _data_folder(folder: Path, data: Path, large: Path) -> Path:
    """Link the data sets to one folder: training images from the large one."""
    for name in ("cifar10", "mnist", "imagenet1k", "imagewikiqa"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for source in (large, data):
            for file in (source / name).glob("*.parquet"):
                link = folder / name / file.name
                if not link.exists():
                    link.symlink_to(file.resolve())
    return folder.resolve()


def _train(recipe: Path, work: Path) -> Path:
    """Run a recipe, or resume it; return its checkpoint."""
    from finetune.recipes.files import read
    from finetune.training.run import finetune

    resolved = read(str(recipe), [f"work={work}"])
    return finetune(resolved, resume=Path(resolved.output).is_dir())


def _questions(work: Path) -> None:
    """Write images, the questions about them, and rows of text."""
    wordnet = WordNet()
    cifar10, imagenet = _things(work, "cifar10", "train"), _things(work, "imagenet1k", "validation")
    things, shapes = [*cifar10, *imagenet], _things(work, "demo_shapes", "train", SHAPES)
    objects = [*questions.sorted_things(imagenet[::2], wordnet), *shapes]  # the other half is there to ask about
    names = {thing.name: thing.wnid for thing in things}
    _write(work / "questions.jsonl", lambda: questions.image_rows(things, work / "images", wordnet, seed=0))
    _write(work / "choices.jsonl", lambda: questions.choice_rows(things, wordnet, seed=2))
    _write(work / "objects.jsonl", lambda: questions.object_rows(objects, seed=4))
    _write(
        work / "texts.jsonl",
        lambda: [
            *questions.word_rows(names, wordnet, seed=0),
            *questions.replayed(list(names)[:REPLAYED], _language_model(work / "smollm2")),
        ],
    )


def _things(work: Path, data: str, split: str, most: int | None = None) -> list[questions.Thing]:
    """Save a data set's images, at most so many of them, and return them."""
    from emt_tasks.datasets import vocabularies
    from finetune.data.sources import open_source
    from finetune.recipes.schema import SourceEntry

    ids = {label.name: label.wnid or "" for label in vocabularies.load(data).labels}
    source = open_source(SourceEntry(data=data, split=split, answer="{label}", limit=most))
    found = []
    for number in range(len(source)):
        example = source[number]
        name = example.turns[0].answer
        file = Path(data) / f"{number}.png"
        if not (work / "images" / file).is_file():
            (work / "images" / data).mkdir(parents=True, exist_ok=True)
            example.load_images()[0].save(work / "images" / file)
        found.append(questions.Thing(str(file), name, ids[name], tuple(other for other in ids if other != name)))
    return found


def _language_model(folder: Path) -> Callable[[list[str]], list[str]]:
    """Return how SmolLM2 answers prompts, greedily, in its first sentences."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    words = AutoTokenizer.from_pretrained(folder, padding_side="left")

    def answer(prompts: list[str]) -> list[str]:
        turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
        chat = {"add_generation_prompt": True, "padding": True, "return_tensors": "pt", "return_dict": True}
        asked = words.apply_chat_template(turns, **chat)
        tokens = model.generate(**asked, max_new_tokens=48, do_sample=False)[:, asked["input_ids"].shape[1] :]
        whole = (said.strip().rpartition(".") for said in words.batch_decode(tokens, skip_special_tokens=True))
        return [sentences + stop for sentences, stop, _ in whole]

    return answer


def _write(file: Path, rows: Callable[[], Iterable[questions.Row]]) -> None:
    """Write rows to a file, unless it is there."""
    if not file.is_file():
        partial = file.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
        partial.replace(file)


if __name__ == "__main__":
    sys.exit(main())
