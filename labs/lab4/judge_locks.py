from __future__ import annotations
def judge_heap_locks(g, rng): pass
