"""Write prediction and result files with VLMEvalKit's own code: MCQ, yes/no and VQA over our own questions.

Its data sets' `evaluate` reads a prediction file and writes what it makes of each row. What a model answered is made
up here, since its models need a GPU. Run with VLMEvalKit's sources on PYTHONPATH, and pandas, xlsxwriter, openpyxl and
what else its imports ask for: python vlmevalkit_runs.py FOLDER MODEL RIGHT_OF_120 [xlsx|tsv|json]
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

QUESTIONS = 120


def import_datasets():
    """Import three kinds of data set without the packages' `__init__`, which import all models and all data sets."""
    sources = next(Path(place) / "vlmeval" for place in sys.path if (Path(place) / "vlmeval").is_dir())
    for name, folder in (("vlmeval", sources), ("vlmeval.dataset", sources / "dataset")):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    from vlmeval.dataset.image_mcq import ImageMCQDataset
    from vlmeval.dataset.image_vqa import ImageVQADataset
    from vlmeval.dataset.image_yorn import ImageYORNDataset

    return ImageMCQDataset, ImageYORNDataset, ImageVQADataset


def main() -> None:
    """Write the files where VLMEvalKit's run.py puts them: MODEL/EVAL_ID/MODEL_DATASET.xlsx."""
    root, model, right = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    ending = sys.argv[4] if len(sys.argv) > 4 else "xlsx"
    os.environ["PRED_FORMAT"] = ending
    os.environ.setdefault("LMUData", str(root))
    choice, yes_no, free = import_datasets()
    import pandas as pd
    from vlmeval.smp import dump, upsert_run_status

    folder = root / model / "T20261101-120000"
    folder.mkdir(parents=True, exist_ok=True)
    upsert_run_status(str(folder), model_name=model)
    numbers = range(QUESTIONS)
    tables = {
        "MMStar": {
            "question": [f"Which is {i} + {i}?" for i in numbers],
            "A": [str(2 * i) for i in numbers],
            "B": [str(2 * i + 1) for i in numbers],
            "answer": ["A"] * QUESTIONS,
            "category": ["math" if i % 2 else "logical reasoning" for i in numbers],
            "prediction": ["A" if i < right else "B" for i in numbers],
        },
        "POPE": {
            "question": [f"Is there a dog, question {i}?" for i in numbers],
            "answer": ["Yes" if i % 2 else "No" for i in numbers],
            "category": [("random", "popular", "adversarial")[i % 3] for i in numbers],
            "image_path": [f"{i // 4}.jpg" for i in numbers],
            "prediction": [("Yes" if i % 2 else "No") if i < right else "I do not know" for i in numbers],
        },
        "DocVQA_VAL": {
            "question": [f"What is the total of page {i}?" for i in numbers],
            "answer": [repr([f"{i} dollars"]) for i in numbers],
            "prediction": [f"{i} dollars" if i < right else f"{i} dollar" for i in numbers],
        },
    }
    for name, kind in (("MMStar", choice), ("POPE", yes_no), ("DocVQA_VAL", free)):
        data = pd.DataFrame({"index": list(numbers), **tables[name]})
        file = str(folder / f"{model}_{name}.{ending}")
        dump(data, file)
        task = kind.__new__(kind)
        task.dataset_name, task.data = name, data.drop(columns="prediction")
        task.evaluate(file, model="exact_matching", nproc=1)


if __name__ == "__main__":
    main()
