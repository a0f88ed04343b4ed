/*
 * Who has the floating-point registers: access to them traps (CPACR_EL1.FPEN, ARM ARM D13.2.30) until the
 * running process has used one in this turn of its.
 */
#include "fpu.h"
#include "proc.h"
#include "sysreg.h"

void
fpu_use(void)
{
    write_sysreg(cpacr_el1, CPACR_FPEN);
    __asm__ volatile("isb"); /* access is open before the first register is loaded */
    fpu_load(&current()->fpu);
}

void
fpu_leave(void)
{
    if (!(read_sysreg(cpacr_el1) & CPACR_FPEN))
        return;
    fpu_save(&current()->fpu);
    write_sysreg(cpacr_el1, 0); /* the eret to the next program is a barrier: no isb */
}

void
fpu_drop(void)
{
    write_sysreg(cpacr_el1, 0);
}
