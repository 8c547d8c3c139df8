"""``orbitmesh demo``: a complete application, small enough to be read as a model for one's own.

``plan`` says what is to be done, ``reading`` what is done to one file. ``worker`` is the agent, ``crew`` its processes.
``run`` is the client, with ``calls`` and ``findings`` as its halves; ``board`` is what it notes down, ``screen`` shows
that meanwhile. ``checks`` compares what came of it with what one process computes, ``report`` tells.
"""
