"""What each process of `accelerate launch` runs in test_processes.py: its share of the requests, as lmms-eval deals it.

Arguments: checkpoint, folder of images, start of the names of the files to write (one for each process).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def answer(checkpoint: str, folder: str) -> dict:
    """Return the answers and scores of this process's share of the images."""
    import torch
    from lmms_eval.api.instance import Instance
    from PIL import Image

    from emt_tasks.models.vlm import EmtVLM

    lm = EmtVLM(pretrained=checkpoint, device="cpu", batch_size=4)
    documents = sorted(map(str, Path(folder).glob("*.png")))
    lm.task_dict = {"pets": {"test": documents}}

    def share(kind, payloads):
        requests = []
        for doc_id in range(lm.rank, len(documents), lm.world_size):
            for payload in payloads:
                about = {"task": "pets", "doc_id": doc_id, "repeats": 1}
                arguments = ("What is it? " * (1 + doc_id % 4), payload, Image.open, doc_id, "pets", "test")
                requests.append(Instance(request_type=kind, arguments=arguments, idx=0, metadata=about))
        return requests

    asked = share("generate_until", [{"max_new_tokens": 8}])
    scored = share("loglikelihood", [" cat", " a dog"])
    # The evaluator counts the requests of all processes like this.
    requests = lm.accelerator.gather(torch.tensor(len(asked), device=lm.device)).sum().item()
    answers = [(asked[place].doc_id, result.text) for place, result in enumerate(lm.generate_until(asked))]
    scores = [(scored[place].doc_id, *score) for place, score in enumerate(lm.loglikelihood(scored))]
    lm.clean()
    lm.accelerator.wait_for_everyone()
    return {
        "rank": lm.rank,
        "processes": lm.world_size,
        "requests": requests,
        "answers": answers,
        "scores": scores,
    }


if __name__ == "__main__":
    found = answer(*sys.argv[1:3])
    Path(f"{sys.argv[3]}.{found['rank']}").write_text(json.dumps(found))
