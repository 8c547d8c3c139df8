"""``orbitmesh demo``: a complete application, small enough to be read as a model for one's own.

``plan`` says what is to be done, ``reading`` what is done to one file, ``worker`` is the agent, ``crew`` its processes;
``run`` is the client, with ``spreading`` and ``listening`` as its halves; ``checks`` compares, ``report`` tells.
"""
