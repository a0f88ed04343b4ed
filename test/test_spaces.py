"""grade/spaces.py and lab 6's judges of fork.c and pagefault.c read and write the kernel's structures where the headers have
them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import grading

from grade import lab as labs
from grade import aspace, spaces

ROOT = grading.ROOT
LAYOUT = r"""
#include <stddef.h>
#include "pager.h"
#include "proc.h"
#include "slab.h"
#include "vma.h"
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #field)
#define SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
AT(vma, start, 0); AT(vma, end, 8); AT(vma, prot, 16); AT(vma, kind, 20); AT(vma, next, 24); SIZE(vma, VMA);
_Static_assert(VMA_FILE == FILE && VMA_HEAP == HEAP && VMA_ANON == ANON && VMA_STACK == STACK, "kinds");
AT(span, next, 0); AT(span, free, 32); AT(span, reserved, SPAN);
AT(slab, empty, 64); AT(slab, objects, 80); AT(slab, chunks, 92); AT(slab, next, SLAB - 8); SIZE(slab, SLAB);
AT(image, file, 0); AT(image, size, 8); AT(image, elf.entry, 16); AT(image, elf.nsegments, SEGMENTS - 8);
AT(image, elf.segment, SEGMENTS); AT(image, users, END_AT); AT(image, npages, END_AT + 16); AT(image, page, PAGES_AT);
AT(elf_segment, va, 0); AT(elf_segment, filesz, 8); AT(elf_segment, memsz, 16); AT(elf_segment, offset, 24);
AT(elf_segment, prot, 32); SIZE(elf_segment, SEGMENT);
AT(proc, context, 0); AT(proc, kstack, KSTACK_AT); AT(proc, fpu, FPU_AT); SIZE(proc, PROC_SIZE);
AT(context, lr, 8 * LR); AT(context, sp, 8 * CONTEXT_SP); AT(context, tpidr, 8 * TPIDR); SIZE(context, CONTEXT);
AT(trap_frame, x, 0); AT(trap_frame, sp, 248); AT(trap_frame, elr, 256); AT(trap_frame, spsr, 264); SIZE(trap_frame, FRAME);
AT(fpu, v, 0); AT(fpu, fpcr, 512); AT(fpu, fpsr, 520); SIZE(fpu, FPU);
"""


def judge(name: str) -> Any:
    return labs.module(ROOT / "labs" / "lab6" / f"{name}.py", f"{name}_of_lab_6")


def test_layout(tmp_path: Path) -> None:
    fork, pagefault = judge("judge_fork"), judge("judge_pagefault")
    known = {name: getattr(spaces, name) for name in ("FILE", "HEAP", "ANON", "STACK")}
    known |= {"VMA": spaces.VMA.size, "SPAN": spaces.SPAN.size, "SLAB": spaces.SLAB.size}
    known |= {name: getattr(pagefault, name) for name in ("SEGMENTS", "END_AT", "PAGES_AT")}
    known |= {name: getattr(fork, name) for name in ("KSTACK_AT", "FPU_AT", "PROC_SIZE", "LR", "CONTEXT_SP", "TPIDR")}
    known |= {"CONTEXT": fork.CONTEXT.size, "FRAME": fork.FRAME.size, "FPU": fork.FPU.size, "SEGMENT": pagefault.SEGMENT.size}
    fields = "".join(f"AT(aspace, {name}, {8 * i});\n" for i, name in enumerate(spaces.FIELDS))
    source = tmp_path / "layout.c"
    source.write_text("".join(f"#define {name} {value}\n" for name, value in known.items()) + LAYOUT + fields
                      + f"SIZE(aspace, {spaces.ASPACE.size});\n")
    done = subprocess.run([grading.CROSS + "gcc", "-std=gnu17", "-ffreestanding", "-fsyntax-only", "-DLAB=6", "-DSOL=6",
                           "-I", str(ROOT / "inc"), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert spaces.IMAGE_USERS == pagefault.END_AT
    assert pagefault.IMAGE.size == pagefault.SEGMENTS
    assert pagefault.END_AT + pagefault.IMAGE_END.size == pagefault.PAGES_AT


def test_attributes_are_those_of_the_contract() -> None:
    """inc/aspace.h, user_pte."""
    for prot in (0, 1, 2, 3, 4, 5):
        entry = aspace.attributes(prot)
        assert bool(entry & 1 << 6) == (prot != 0)
        assert bool(entry & 1 << 7) == (not prot & aspace.WRITE)
        assert bool(entry & 1 << 54) == (not prot & aspace.EXEC)
        assert entry & 1 << 11 and entry & 1 << 53
        assert spaces.writable(spaces.leaf(0x1000, prot)) == bool(prot & aspace.WRITE)
