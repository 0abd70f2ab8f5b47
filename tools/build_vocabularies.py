"""Builds emt_tasks/datasets/vocabularies from WordNet 3.0 and the curated lists beside this file.

    apt-get install wordnet-base          # WordNet 3.0's database in /usr/share/wordnet
    python -m tools.build_vocabularies    # writes the JSON files; --check only compares

Class order: torchvision (Flowers102), timm (ImageNet synset lists), open_clip (ImageNet display names) and the
data sets' own order (the curated YAML) for the others. WordNet gives synonyms (lemmas of the class's meaning), subtypes
(hyponyms) and `others`: names that contain a label's name but mean something else ("prairie dog").
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from tools.wordnet import DEFAULT_FOLDER, Synset, WordNet

CURATED = Path(__file__).parent / "vocabularies"
OUTPUT = Path(__file__).parents[1] / "emt_tasks" / "datasets" / "vocabularies"
NAMES = ("mnist", "cifar10", "cifar100", "miniimagenet", "imagenet1k", "flowers102")
WORDNET_SOURCE = {
    "name": "WordNet 3.0",
    "licence": "WordNet 3.0 licence: free use, copying, modification and distribution with its notice kept",
    "notice": "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.",
    "url": "https://wordnet.princeton.edu/license-and-commercial-use",
}
NAME, CANONICAL, SYNONYM, SUBTYPE, HYPONYM = range(5)
SHORTEST_SUBTYPE = 3
# A label after one of these is still the label: WordNet's "white horse" or "young mammal" must not hide it.
_PLAIN = """
    old young little big small great large black white red blue green yellow brown grey gray pink purple golden wild
    baby adult male female common domestic pet toy real wooden electric
"""
_YOUNG = "cub cubs pup pups puppy puppies kitten kittens chick chicks calf calves foal foals"
PLAIN_MODIFIERS, YOUNG = frozenset(_PLAIN.split()), frozenset(_YOUNG.split())


@dataclass
class Entry:
    """One class under construction: every name with its rank, the best rank first."""

    name: str
    wnid: str | None = None
    ranks: dict[str, int] = field(default_factory=dict)

    def add(self, names: Iterable[str], rank: int) -> None:
        """Add names that are not there yet under any spelling."""
        known = {key(name) for name in self.ranks}
        for name in names:
            if key(name) not in known:
                known.add(key(name))
                self.ranks[name] = rank

    def of_rank(self, *ranks: int) -> list[str]:
        """Return the names of these ranks in a fixed order: canonical ones first, then by letters."""
        return sorted((name for name, rank in self.ranks.items() if rank in ranks), key=lambda n: (self.ranks[n], n))


def key(name: str) -> str:
    """Return what makes two spellings the same name: no case, no hyphens, no underscores, no punctuation."""
    return " ".join(re.sub(r"[^\w\s]|_", " ", name.replace("'", "").casefold()).split())


def class_list(name: str, curated: dict[Any, Any]) -> tuple[list[tuple[str, str | None]], str]:
    """Return the (name, wnid) of every class in the data set's order, and its source."""
    if name == "flowers102":
        names = [text.rstrip("?") for text in _literal("torchvision", "datasets/flowers102.py", "classes")]
        return [(text, None) for text in names], "torchvision.datasets.Flowers102.classes (BSD-3-Clause)"
    if name == "miniimagenet":
        wnids = _timm_synsets("mini_imagenet_synsets.txt")
        return [("", wnid) for wnid in wnids], "timm mini_imagenet_synsets.txt (Apache-2.0)"
    if name == "imagenet1k":
        display_names = _literal("open_clip", "zero_shot_metadata.py", "IMAGENET_CLASSNAMES")
        wnids = _timm_synsets("imagenet_synsets.txt")
        source = "open_clip IMAGENET_CLASSNAMES (MIT); timm imagenet_synsets.txt (Apache-2.0)"
        return list(zip(display_names, wnids, strict=True)), source
    return [(str(label), None) for label in curated], "the data set's own list, in tools/vocabularies"


def _timm_synsets(name: str) -> list[str]:
    return _package_text("timm", f"data/_info/{name}").split()


def _package_text(package: str, path: str) -> str:
    """Return a file of an installed package without importing it: all three would load torch."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; run: pip install {package}")
    return (Path(spec.submodule_search_locations[0]) / path).read_text(encoding="utf-8")


def _literal(package: str, path: str, name: str) -> list[str]:
    """Return the list that a module, or a class in it, assigns to a name."""
    for node in ast.walk(ast.parse(_package_text(package, path))):
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            return list(ast.literal_eval(node.value))
    raise SystemExit(f"{package}/{path} assigns nothing to {name}")


def build_entry(wordnet: WordNet, name: str, wnid: str | None, extra: dict[str, Any]) -> Entry:
    """Collect every name of one class from WordNet and from the curated list."""
    senses = [wordnet.by_wnid(wnid)] if wnid else _senses(wordnet, extra, name)
    entry = Entry(name or senses[0].lemmas[0], wnid or (senses[0].wnid if senses else None))
    entry.add([entry.name], NAME)
    if wnid:
        entry.add([senses[0].lemmas[0]], CANONICAL)
    entry.add(_display_variants(name), SYNONYM)
    below = [child for sense in senses for child in wordnet.below(sense)]
    roots = [child for root in extra.get("roots", ()) for child in wordnet.below(_sense(wordnet, root))]
    found = {key(lemma) for synset in senses + below + roots for lemma in synset.lemmas}
    dropped = {key(text) for text in extra.get("drop", ())}
    if dropped - found:
        raise SystemExit(f"{name or entry.name}: drop lists {sorted(dropped - found)}, which WordNet does not give")
    entry.add((lemma for sense in senses for lemma in sense.lemmas if key(lemma) not in dropped), SYNONYM)
    entry.add(extra.get("synonyms", ()), SYNONYM)
    entry.add(extra.get("subtypes", ()), SUBTYPE)
    if not extra.get("no_subtypes"):
        subtypes = (lemma for synset in below + roots for lemma in _subtype_names(wordnet, synset))
        entry.add((lemma for lemma in subtypes if key(lemma) not in dropped), HYPONYM)
    return entry


def _senses(wordnet: WordNet, extra: dict[str, Any], name: str) -> list[Synset]:
    if "senses" in extra:
        return [_sense(wordnet, text) for text in extra["senses"]]
    return [wordnet.sense(name)] if name.lower() in wordnet.senses else []


def _sense(wordnet: WordNet, text: str) -> Synset:
    lemma, _, number = text.rpartition(".")
    return wordnet.sense(lemma, int(number))


def _display_variants(name: str) -> list[str]:
    """Return the readings of "kite (bird of prey)" and "cardboard box / carton"."""
    if "(" in name:
        return [name.split("(")[0].strip()]
    return [part.strip() for part in name.split("/")] if "/" in name else []


def _subtype_names(wordnet: WordNet, synset: Synset) -> Iterable[str]:
    """Yield the lemmas that mean this even without context: "toy" is rarely a dog, though "toy dog" is."""
    for lemma in synset.lemmas:
        describes = {"a", "r"}.intersection(wordnet.parts_of_speech.get(lemma.lower(), ""))
        plain = len(lemma) >= SHORTEST_SUBTYPE and not lemma.isupper() and not describes
        if " " in lemma or "-" in lemma or (plain and wordnet.is_main_sense(lemma, synset)):
            yield lemma


def remove_shared(entries: list[Entry]) -> None:
    """Keep a name only in the class that it fits best; in none if it fits several equally well.

    A class's own name and the first lemma of its synset stay with every class that has them: such a name means
    all of them, never the first.
    """
    owners: defaultdict[str, list[tuple[int, Entry, str]]] = defaultdict(list)
    for entry in entries:
        for name, rank in entry.ranks.items():
            owners[key(name)].append((rank, entry, name))
    for claims in owners.values():
        best = min(rank for rank, _, _ in claims)
        tied = sum(rank == best for rank, _, _ in claims) > 1
        for rank, entry, name in claims:
            if rank >= SYNONYM and (rank > best or tied):
                del entry.ranks[name]


def remove_hypernyms(wordnet: WordNet, entries: list[Entry]) -> None:
    """Drop from the subtypes every name of something above a class: "turtle" is a jersey, but also a loggerhead."""
    classes = [wordnet.by_wnid(entry.wnid) for entry in entries if entry.wnid]
    above = {key(lemma) for synset in classes for parent in wordnet.above(synset) for lemma in parent.lemmas}
    for entry in entries:
        entry.ranks = {name: rank for name, rank in entry.ranks.items() if rank < SUBTYPE or key(name) not in above}


def other_names(wordnet: WordNet, entries: list[Entry]) -> list[str]:
    """Return WordNet's longer names that contain a label's name and mean something else."""
    known = {key(name) for entry in entries for name in entry.ranks}
    longest = max(len(name.split()) for name in known)
    found = set()
    for lemma in wordnet.senses:
        if lemma.isalpha():
            continue
        words = key(lemma).split()
        if len(words) < 2 or " ".join(words) in known:
            continue
        for length in range(1, min(longest, len(words) - 1) + 1):
            for start in range(len(words) - length + 1):
                if " ".join(words[start : start + length]) in known and _renames(words, start, start + length):
                    found.add(lemma)
    return sorted(found)


def _renames(words: list[str], start: int, end: int) -> bool:
    """Whether the words around words[start:end] make another name of it, not just describe it."""
    before, after = words[:start], words[end:]
    return bool(after and not YOUNG.issuperset(after)) or any(word not in PLAIN_MODIFIERS for word in before)


def build(wordnet: WordNet, name: str) -> dict[str, Any]:
    """Return the contents of one vocabulary file."""
    with (CURATED / f"{name}.yaml").open(encoding="utf-8") as stream:
        data = yaml.safe_load(stream)
    curated = data["labels"]
    classes, order_source = class_list(name, curated)
    by_index = name == "imagenet1k"
    entries = []
    for index, (text, wnid) in enumerate(classes):
        found = text or wordnet.by_wnid(str(wnid)).lemmas[0]
        entries.append(build_entry(wordnet, text, wnid, curated.pop(index if by_index else found, {})))
    if name not in {"mnist", "cifar10", "cifar100"} and curated:
        raise SystemExit(f"{name}.yaml: {sorted(curated)} are not classes")
    remove_shared(entries)
    remove_hypernyms(wordnet, entries)
    return {
        "name": name,
        "provenance": {
            "builder": "tools/build_vocabularies.py",
            "data_set": data["source"],
            "order": order_source,
            "synonyms": [WORDNET_SOURCE, {"name": f"tools/vocabularies/{name}.yaml", "licence": "Apache-2.0"}],
        },
        "labels": [_as_json(entry) for entry in entries],
        "others": sorted({*other_names(wordnet, entries), *data.get("others", ())} - {*data.get("not_others", ())}),
    }


def _as_json(entry: Entry) -> dict[str, Any]:
    data: dict[str, Any] = {"name": entry.name}
    if entry.wnid:
        data["wnid"] = entry.wnid
    data["synonyms"] = entry.of_rank(CANONICAL, SYNONYM)
    data["subtypes"] = sorted(entry.of_rank(SUBTYPE, HYPONYM))
    return data


def dump(data: dict[str, Any]) -> str:
    """Return the JSON text, one label per line so that diffs are readable."""
    labels = ",\n".join(json.dumps(label, ensure_ascii=False) for label in data["labels"])
    others = ",\n".join(json.dumps(text, ensure_ascii=False) for text in data["others"])
    provenance = json.dumps(data["provenance"], ensure_ascii=False, indent=1)
    return (
        f'{{\n"name": {json.dumps(data["name"])},\n"provenance": {provenance},\n'
        f'"labels": [\n{labels}\n],\n"others": [\n{others}\n]\n}}\n'
    )


def main() -> int:
    """Write the files, or with --check return 1 if a committed file differs from what would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path, default=DEFAULT_FOLDER, help="folder with data.noun and index.*")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file would change")
    arguments = parser.parse_args()
    if not (arguments.wordnet / "data.noun").is_file():
        parser.error(f"{arguments.wordnet} has no data.noun; run: apt-get install wordnet-base")
    wordnet = WordNet(arguments.wordnet)
    stale = 0
    for name in NAMES:
        path = OUTPUT / f"{name}.json"
        text = dump(build(wordnet, name))
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        print(f"{path.name} {'differs' if arguments.check else 'written'}")
        if not arguments.check:
            path.write_text(text, encoding="utf-8")
    return int(arguments.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
