"""A judge small enough to train and run on a CPU, and the proof whether it is worth having.

    python -m tools.local_judge generate CASES.jsonl
    python -m tools.local_judge train MODEL
    python -m tools.local_judge score MODEL SET.jsonl ...

`cases` writes answers with known verdicts, `encoder` trains a sentence encoder to read them, `score` compares it with
the rules and, if there is one, with an LLM. docs/limits.md has the result: it is not part of `judges`.
"""
