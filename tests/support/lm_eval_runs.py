"""Write a run with the real lm-evaluation-harness: a tiny random GPT-2, and two local tasks of our own questions.

Run with lm_eval 0.4 and transformers installed: python lm_eval_runs.py FOLDER SEED
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

QUESTIONS = 120

CHOICE = """\
task: which_sum
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}} Answer:"
doc_to_choice: "{{{{options}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
metadata: {{version: 1.0}}
"""

GENERATE = """\
task: write_sum
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}} Answer:"
doc_to_target: "{{{{options[answer]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4}}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
filter_list:
  - name: strict
    filter: [{{function: take_first}}]
  - name: digits
    filter: [{{function: regex, regex_pattern: "([0-9]+)"}}, {{function: take_first}}]
metadata: {{version: 1.0}}
"""

GROUP = """\
group: sums
task: [which_sum, write_sum]
"""


def write_model(folder: Path, seed: int) -> None:
    """Write a GPT-2 with random weights that reads bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: number for number, letter in enumerate([*letters, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>").save_pretrained(folder)
    torch.manual_seed(seed)
    end = words["<end>"]
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}
    config = GPT2Config(vocab_size=len(words), bos_token_id=end, eos_token_id=end, initializer_range=0.3, **sizes)
    GPT2LMHeadModel(config).save_pretrained(folder)


def write_tasks(folder: Path) -> None:
    """Write the questions, and the tasks that ask them."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "sums.jsonl"
    rows = (
        {"question": f"What is {i} + {i}?", "options": [str(2 * i), str(2 * i + 1), str(3 * i + 1)], "answer": 0}
        for i in range(QUESTIONS)
    )
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name, text in (("which_sum", CHOICE), ("write_sum", GENERATE), ("sums", GROUP)):
        (folder / f"{name}.yaml").write_text(text.format(data=data.resolve()), encoding="utf-8")


def main() -> None:
    """Write the model and evaluate it."""
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    write_model(folder / "model", seed)
    write_tasks(folder.parent / "tasks")
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={folder / 'model'}"]
    command += ["--include_path", str(folder.parent / "tasks"), "--tasks", "sums", "--device", "cpu"]
    command += ["--batch_size", "16", "--log_samples", "--output_path", str(folder / "run")]
    subprocess.run(command, check=True, env=os.environ | {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"})


if __name__ == "__main__":
    main()
