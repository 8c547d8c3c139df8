"""The applications in ``examples`` do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_work_spreader_counts_every_word_once(tmp_path: Path) -> None:
    texts = {f"{number}.txt": f"alpha beta beta gamma{number % 3} " * 50 for number in range(40)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    expected = Counter(word for text in texts.values() for word in text.split())
    environment = {**os.environ, "ORBITMESH_HOME": str(tmp_path / "home")}
    folder = EXAMPLES / "work_spreader"
    with ExitStack() as stack:
        agents = [
            stack.enter_context(subprocess.Popen([sys.executable, str(folder / "agent.py")], env=environment))
            for _ in range(2)
        ]
        try:
            done = subprocess.run(
                [sys.executable, str(folder / "client.py"), str(tmp_path)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            for agent in agents:
                agent.terminate()
    assert done.returncode == 0, done.stderr
    told = {word: int(number) for number, word in (line.split() for line in done.stdout.splitlines())}
    assert told == dict(expected.most_common(10))
    assert [agent.returncode for agent in agents] == [0, 0]
