"""Write run logs with the real inspect_ai and its mock model: addition and capitals, right on so many questions.

Run with inspect_ai 0.3 installed: python inspect_runs.py FOLDER RIGHT [eval|json] [QUESTIONS]
"""

from __future__ import annotations

import sys
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, accuracy, choice, match, mean, scorer
from inspect_ai.solver import generate, multiple_choice


@scorer(metrics=[mean()])
def grade():
    """Grade from 0 to 10 by the answer's length, as an LLM judge might."""

    async def score(state, target):
        return Score(value=min(10, len(state.output.completion)), answer=state.output.completion)

    return score


@scorer(metrics={"form": [accuracy()], "content": [accuracy()]})
def rubric():
    """Two scores in one."""

    async def score(state, target):
        text = state.output.completion
        return Score(value={"form": float(text[:1].isupper()), "content": float(target.text in text)})

    return score


def reply(text: str) -> ModelOutput:
    """Return the mock model's output; with its usage, which inspect_ai would count with a tokenizer from the net."""
    output = ModelOutput.from_content("mockllm/model", text)
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return output


def main() -> None:
    """Write the logs."""
    folder, right = Path(sys.argv[1]), int(sys.argv[2])
    kind = sys.argv[3] if len(sys.argv) > 3 else "eval"
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 120
    sums = [Sample(input=f"What is {i} + {i}?", target=str(2 * i), id=f"sum-{i}") for i in range(count)]
    options = [
        Sample(input=f"Which is {i}?", choices=[str(i), str(i + 1)], target="A", id=i) for i in range(1, count + 1)
    ]
    answers = [f"The sum is {2 * i}" if i < right else "I do not know" for i in range(count)]
    letters = ["ANSWER: A" if i < right else "ANSWER: B" for i in range(count)]
    tasks = [
        (Task(dataset=MemoryDataset(sums, name="sums"), solver=generate(), scorer=match(), name="sums"), answers),
        (
            Task(dataset=MemoryDataset(options), solver=multiple_choice(), scorer=choice(), name="options"),
            letters,
        ),
        (Task(dataset=MemoryDataset(sums), solver=generate(), scorer=[grade(), rubric()], name="graded"), answers),
    ]
    for task, outputs in tasks:
        replies = [reply(text) for text in outputs]
        model = get_model("mockllm/model", custom_outputs=replies, memoize=False)
        log = eval(
            task, model=model, log_dir=str(folder), log_format=kind, display="none", max_samples=1, max_connections=1
        )
        assert log[0].status == "success", str(log[0].error)[:300]


if __name__ == "__main__":
    main()
