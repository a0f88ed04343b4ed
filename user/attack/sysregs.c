#include "attack.h"

/* System registers: none of these is EL0's to read or write (ARM ARM D13, "Accessibility"). */

#define READ_BODY(reg)                                   \
    {                                                    \
        uint64_t value;                                  \
        __asm__ volatile("mrs %0, " #reg : "=r"(value)); \
    }
#define WRITE_BODY(reg)                                    \
    {                                                      \
        __asm__ volatile("msr " #reg ", %0" : : "r"(0UL)); \
    }
#define READ(reg)      ATTACK(mrs_##reg, "reads " #reg, ILL) READ_BODY(reg)
#define READ_HERE(reg) ATTACK_HERE(mrs_##reg, "reads " #reg, ILL) READ_BODY(reg)
#define WRITE(reg)     ATTACK(msr_##reg, "writes " #reg, ILL) WRITE_BODY(reg)

READ(sctlr_el1)
READ(ttbr0_el1)
READ(ttbr1_el1)
READ(tcr_el1)
READ(vbar_el1)
READ(esr_el1)
READ(far_el1)
READ(elr_el1)
READ(spsr_el1)
READ(sp_el0)
READ(tpidr_el1)
READ(currentel)
READ(daif)
READ(spsel)
READ(cpacr_el1)
READ(cntkctl_el1)
READ(mdscr_el1)
READ(actlr_el1)
READ(hcr_el2)
READ(vbar_el2)
READ(scr_el3)
READ(pmcr_el0)
READ(pmccntr_el0)

WRITE(sctlr_el1)
WRITE(ttbr0_el1)
WRITE(ttbr1_el1)
WRITE(tcr_el1)
WRITE(vbar_el1)
WRITE(elr_el1)
WRITE(spsr_el1)
WRITE(sp_el0)
WRITE(tpidr_el1)
WRITE(tpidrro_el0)
WRITE(daif)
WRITE(spsel)
WRITE(cpacr_el1)
WRITE(cntkctl_el1)
WRITE(mdscr_el1)
WRITE(hcr_el2)
WRITE(pmcr_el0)
WRITE(pmuserenr_el0)
WRITE(cntv_ctl_el0)
WRITE(cntp_ctl_el0)

/* Linux lets programs read the time, and answers for the registers that identify the core. */
READ_HERE(cntvct_el0)
READ_HERE(cntpct_el0)
READ_HERE(cntfrq_el0)
READ_HERE(ctr_el0)
READ_HERE(midr_el1)
READ_HERE(mpidr_el1)
READ_HERE(id_aa64pfr0_el1)
