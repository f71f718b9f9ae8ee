"""Freed memory that a process keeps."""

from __future__ import annotations

import os
import subprocess
import sys

FAULTS = """
import resource, sys, threading
from dip_stages.cells.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def allocate():
    for _ in range(4):
        b"x" * (48 * 2**20)  # more than glibc keeps of itself

def faults_of(work):
    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def in_thread():
    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()

print(faults_of(allocate), faults_of(in_thread))
"""


def faults(how: str, **variables: str) -> list[int]:
    """Return the page faults of allocating again what was freed, in the main thread and in another."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    answer = subprocess.run(
        [sys.executable, "-c", FAULTS, how], env=environment | variables, capture_output=True, text=True, check=True
    )
    return [int(word) for word in answer.stdout.split()]


def test_what_was_freed_is_allocated_again_without_faults_in_any_thread() -> None:
    left, kept, tuned = faults("left"), faults("kept"), faults("kept", GLIBC_TUNABLES="")
    assert all(few < 0.1 * many for few, many in zip(kept, left, strict=True)), (kept, left)
    assert all(many > 0.9 * as_many for many, as_many in zip(tuned, left, strict=True)), (tuned, left)
