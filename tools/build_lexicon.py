"""Builds judges/fuzzy/data/lexicon.json: English words with their parts of speech, from WordNet 3.0.

    apt-get install wordnet-base
    python -m tools.build_lexicon         # --check only compares

The judges use it to tell a misspelt label from another word, and a noun from a verb.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

from tools.build_vocabularies import WORDNET_SOURCE
from tools.wordnet import DEFAULT_FOLDER, WordNet

OUTPUT = Path(__file__).parents[1] / "judges" / "fuzzy" / "data" / "lexicon.json"
_WORD = re.compile(r"[a-z]{2,}")
_EXCEPTIONS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}


def build(wordnet: WordNet) -> dict[str, object]:
    """Return the words by their parts of speech: "n" holds the words that are only nouns, "nv" nouns and verbs.

    "-" lists words that WordNet knows only inside longer names ("komodo").
    """
    letters: dict[str, set[str]] = defaultdict(set)
    for word, found in wordnet.parts_of_speech.items():
        if _WORD.fullmatch(word):
            letters[word].update(found)
    for letter, name in _EXCEPTIONS.items():
        for line in (wordnet.folder / f"{name}.exc").read_text(encoding="utf-8").splitlines():
            if line and _WORD.fullmatch(form := line.split()[0]):
                letters[form].add(letter)
    for lemma in wordnet.senses:
        for word in re.split(r"[ \-'/.]", lemma) if not lemma.isalpha() else ():
            if _WORD.fullmatch(word) and word not in letters:
                letters[word] = set()
    groups: dict[str, list[str]] = defaultdict(list)
    for word, seen in letters.items():
        groups["".join(letter for letter in "nvar" if letter in seen) or "-"].append(word)
    words = {group: _by_initial(groups[group]) for group in sorted(groups)}
    return {"provenance": {"builder": "tools/build_lexicon.py", "words": WORDNET_SOURCE}, "words": words}


def _by_initial(words: list[str]) -> list[str]:
    """Return one string of words for each first letter, so that the file has readable lines."""
    lines: dict[str, list[str]] = defaultdict(list)
    for word in sorted(words):
        lines[word[0]].append(word)
    return [" ".join(lines[initial]) for initial in sorted(lines)]


def main() -> int:
    """Write the file, or with --check return 1 if it differs from what would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordnet", type=Path, default=DEFAULT_FOLDER, help="folder with index.* and *.exc")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the file would change")
    arguments = parser.parse_args()
    if not (arguments.wordnet / "data.noun").is_file():
        parser.error(f"{arguments.wordnet} has no data.noun; run: apt-get install wordnet-base")
    text = json.dumps(build(WordNet(arguments.wordnet)), indent=0) + "\n"
    if OUTPUT.is_file() and OUTPUT.read_text(encoding="utf-8") == text:
        return 0
    print(f"{OUTPUT.name} {'differs' if arguments.check else 'written'}")
    if not arguments.check:
        OUTPUT.write_text(text, encoding="utf-8")
    return int(arguments.check)


if __name__ == "__main__":
    sys.exit(main())
