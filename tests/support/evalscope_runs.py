"""Write a run with the real EvalScope and its mock model: our own questions in two subsets, right on so many.

Run with evalscope 1.14 installed: python evalscope_runs.py FOLDER MODEL RIGHT_OF_120
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from evalscope import TaskConfig, run_task
from evalscope.api.model import GenerateConfig, Model, ModelOutput
from evalscope.constants import EvalType
from evalscope.models.mockllm import MockLLM

QUESTIONS = 60
SUBSETS = ("sums", "doubles")


class Replies(MockLLM):
    """Answers so many of each subset's questions right, whatever the order that they are asked in."""

    def __init__(self, name: str, right: int) -> None:
        super().__init__(name)
        self.right = right

    def generate(self, input, tools, tool_choice, config):
        """Find the question's number in its text."""
        question = next(line for line in input[-1].text.splitlines() if "What is" in line)
        number = int(question.split("What is ")[1].split()[0])
        letter = "A" if number < self.right // 2 else "B"
        return ModelOutput.from_content(model=self.model_name, content=f"答案：{letter}")


def write_questions(folder: Path) -> None:
    """Write the questions as EvalScope's local data sets have them."""
    folder.mkdir(parents=True, exist_ok=True)
    for subset in SUBSETS:
        asked = [(i, f"What is {i} {f'+ {i}' if subset == 'sums' else 'times 2'}?") for i in range(QUESTIONS)]
        rows = [{"question": text, "A": str(2 * i), "B": str(3 * i + 1), "answer": "A"} for i, text in asked]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{subset}_val.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    """Evaluate."""
    folder, name, right = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    data = folder.parent / "data"
    write_questions(data)
    run_task(
        TaskConfig(
            model=Model(Replies(name, right), GenerateConfig()),
            model_id=name,
            eval_type=EvalType.MOCK_LLM,
            datasets=["general_mcq"],
            dataset_args={"general_mcq": {"local_path": str(data), "subset_list": list(SUBSETS)}},
            work_dir=str(folder),
            eval_batch_size=1,
        )
    )


if __name__ == "__main__":
    main()
