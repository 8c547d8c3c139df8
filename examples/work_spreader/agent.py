"""An agent that counts words. Start as many as you like."""

from __future__ import annotations

import re
from collections import Counter

from orbitmesh import Agent, Context

agent = Agent(groups=["counters"])


@agent.command(idempotent=True)
def count_words(text: str, ctx: Context) -> dict[str, int]:
    """Count the words of a text. Being ``def``, it runs in a thread, so long texts hold up nobody else."""
    ctx.log.debug("%d characters from %s", len(text), ctx.caller.name)
    return dict(Counter(re.findall(r"\w+", text.lower())))


if __name__ == "__main__":
    agent.run()
