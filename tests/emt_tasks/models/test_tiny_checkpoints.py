"""The tiny checkpoints are what they claim: reproducible, sensitive to seed, and made by the command too."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.tiny_checkpoints import build, main


def digest(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_same_seed_same_weights(tmp_path):
    first, again = build("llava", tmp_path / "a"), build("llava", tmp_path / "b")
    assert digest(first) == digest(again) != digest(build("llava", tmp_path / "c", seed=1))


def test_the_command(tmp_path, capsys):
    assert main(["llava", str(tmp_path / "out"), "--without-chat-template"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out")
    assert not (tmp_path / "out" / "chat_template.jinja").exists()


def test_unknown_architecture(tmp_path):
    with pytest.raises(ValueError, match="'wibble' is not known; choose one of llava"):
        build("wibble", tmp_path)


def test_tokenizers_cover_printable_ascii(checkpoint, architecture):
    import string

    from transformers import AutoProcessor

    tokenizer = AutoProcessor.from_pretrained(checkpoint(architecture)).tokenizer
    ids = tokenizer(string.printable, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == string.printable
