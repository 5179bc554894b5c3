"""Speed that stays: ``python -m vnasfast.bench --check FILE`` says whether a packet takes more than it did.

Nothing in vnasfast imports this package.

::

    cases.py       the hot loops, on what workload.py makes ── floor.pyx      what nothing can be faster than
       |
    child.py       the process that runs them               ── callgrind.pyx  when to count
       |
    counting.py    callgrind's counts, a packet
       |
    baseline.py    how much there may be of each, and why   ── cli.py         what a person sees
"""
