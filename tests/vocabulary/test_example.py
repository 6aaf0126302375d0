"""examples/extend_vocabulary.py, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

from tests.vocabulary.test_extend import pieces_model

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_trains_adds_writes_and_measures(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    pieces_model(tmp_path / "base", tied=False)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(
        "\n".join(["灯塔看守人每天傍晚爬上楼梯", "灯塔的灯开始转动", "傍晚的灯塔"] * 20), encoding="utf-8"
    )
    words = [
        sys.executable,
        ROOT / "examples/extend_vocabulary.py",
        tmp_path / "base",
        corpus,
        tmp_path / "out",
        "--size",
        "60",
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "verified: True" in done.stdout and "your text" in done.stdout and "mean norm of new rows" in done.stdout
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer("傍晚的灯塔", add_special_tokens=False)["input_ids"]) <= 5
