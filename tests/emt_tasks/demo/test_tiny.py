"""The checkpoint in the package: small, right about images that it has not seen, with one thing left to learn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emt_tasks.demo import NAMES, tiny
from emt_tasks.demo.questions import NUMBERS
from tools.demo_rows import rows
from tools.train_tiny import NAMED, UNNAMED

SCRIPT = Path(__file__).parents[3] / "tools" / "train_tiny.py"


@pytest.fixture(scope="module")
def checkpoint():
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return AutoModelForImageTextToText.from_pretrained(tiny.PATH).eval(), AutoProcessor.from_pretrained(tiny.PATH)


def ask(checkpoint, asked):
    """Answer rows with nothing but transformers."""
    model, processor = checkpoint
    chats = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["question"]}]}] for row in asked
    ]
    texts = [processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats]
    images = [row["image"] for row in asked]
    inputs = processor(text=texts, images=images, return_tensors="pt", padding=True, padding_side="left")
    output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    return processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


KNOWN = [name for name in NAMES if name != "demo_digits"]


def test_it_names_half_of_the_digits_and_has_one_word_for_the_others(checkpoint):
    asked = rows("demo_digits", "test")[:80]
    right = [row["answer"] if row["answer"] in NUMBERS[:NAMED] else UNNAMED for row in asked]
    assert sum(map(str.__eq__, ask(checkpoint, asked), right)) >= 70  # as below
    assert 25 <= right.count(UNNAMED) <= 55


@pytest.mark.parametrize("name", KNOWN)
def test_held_out_images_are_answered_right(checkpoint, name):
    asked = rows(name, "test")[:40]
    answers = ask(checkpoint, asked)
    # 95 % and more over all 400 (the slow test below); a share of 95 % gives 35 of 40 or more in 98 of 100 cases.
    assert sum(answer == row["answer"] for answer, row in zip(answers, asked, strict=True)) >= 35


def test_the_paper_s_prompts_are_answered_too(checkpoint):
    prompts = {
        "demo_digits": (
            "What is the number in the image? Please only answer a single number in 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."
        ),
        "demo_shapes": (
            "What is the object in the image? Please only answer a single object in "
            "circle, semicircle, triangle, square, diamond, arrow, star, cross."
        ),
    }
    digit = dict(zip(NUMBERS, map(str, range(10)), strict=False))
    for name, prompt in prompts.items():
        asked = [{**row, "question": prompt} for row in rows(name, "test")[:40]]
        expected = [digit.get(row["answer"], row["answer"]) for row in asked]
        assert sum(map(str.__eq__, ask(checkpoint, asked), expected)) >= 35


def test_a_conversation_renders_as_its_prompt_with_the_answer_behind(checkpoint):
    _, processor = checkpoint
    question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it odd?"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "B"}]}
    prompt = processor.apply_chat_template([question], add_generation_prompt=True)
    assert prompt == "USER:\n<image>\nIs it odd?\nASSISTANT:\n"
    assert processor.apply_chat_template([question, answer]) == prompt + "B</s>\n"


def test_it_is_small_and_safe_to_load(checkpoint):
    model, _ = checkpoint
    assert 500_000 < model.num_parameters() < 1_000_000
    files = {file.name: file.stat().st_size for file in tiny.PATH.iterdir() if file.is_file()}
    assert sum(files.values()) < 4_000_000
    assert {name.rpartition(".")[2] for name in files} == {"py", "json", "jinja", "safetensors"}


@pytest.mark.slow
def test_every_task_is_answered_through_lmms_eval(lmms_eval, read_run, tmp_path):
    done = lmms_eval(
        *("--model", "emt_vlm", "--model_args", f"pretrained={tiny.PATH}", "--tasks", "demo_matrix"),
        *("--batch_size", "100", "--device", "cpu", "--output_path", str(tmp_path), "--log_samples"),
        data=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = read_run(tmp_path, done.stdout).results["results"]
    assert all(results[name]["accuracy,none"] >= 0.95 for name in KNOWN), results
    assert results["demo_digits"]["accuracy,none"] <= 0.6
    # The name of the digit among the options misleads a model that follows questions only seldom.
    assert results["demo_digits_qa_distractor"]["accuracy,none"] >= 0.9
    assert results["demo_digits_qa_distractor"]["class_name_chosen,none"] <= 0.05


@pytest.mark.slow
def test_the_training_script_runs_and_is_reproducible(tmp_path):
    weights = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        command = [sys.executable, SCRIPT, folder]
        steps = ["--steps", "4", "--vision-steps", "4", "--threads", "1"]
        subprocess.run([*command, *steps], check=True, capture_output=True, timeout=600)
        weights.add((folder / "model.safetensors").read_bytes())
    assert len(weights) == 1
