/*
 * Talks to VideoCore, which booted the machine and knows what it is made of. A request is a buffer in
 * memory whose address goes through the mailbox; the answer comes back in the same buffer.
 * (Raspberry Pi firmware wiki, "Mailbox property interface".)
 */
#include "mailbox.h"
#include "bcm2837.h"
#include "string.h"

#define RESPONSE     0x80000000u /* in a code word: this is an answer; in the low bits, its length */
#define BUS_UNCACHED 0xc0000000u /* RAM as VideoCore addresses it, past its L2 cache */
#define PATIENCE     10000000    /* polls before the firmware counts as dead */

/* One request with one tag. It fills whole cache lines, which maintenance below may then drop. */
static struct {
    uint32_t size, code;
    uint32_t tag, value_size, tag_code, value[8];
    uint32_t end_tag, padding[18];
} __attribute__((aligned(64))) request;

_Static_assert(sizeof(request) == 128, "the mailbox request fills whole cache lines");

/* VideoCore reads and writes memory, not our caches: write our lines back, and forget them. */
static void
clean_and_invalidate(void)
{
    for (char *line = (char *)&request; line < (char *)(&request + 1); line += 64)
        __asm__ volatile("dc civac, %0" : : "r"(line) : "memory");
    /* Done before the next device access, or before the answer is read. */
    __asm__ volatile("dsb sy" : : : "memory");
}

static bool
wait_while(uint32_t status_bit)
{
    for (int i = 0; i < PATIENCE; i++)
        if (!(mmio_read(MBOX_PA + MBOX_STATUS) & status_bit))
            return true;
    return false;
}

int
mailbox_property(uint32_t tag, uint32_t value[], size_t n)
{
    memset(&request, 0, sizeof(request));
    request.size = sizeof(request);
    request.tag = tag;
    request.value_size = (uint32_t)(n * sizeof(value[0]));
    memcpy(request.value, value, n * sizeof(value[0]));
    clean_and_invalidate();

    uint32_t message = (uint32_t)V2P(&request) | BUS_UNCACHED | MBOX_PROPERTY;
    if (!wait_while(MBOX_FULL))
        return -1;
    mmio_write(MBOX_PA + MBOX_WRITE, message);
    do {
        if (!wait_while(MBOX_EMPTY))
            return -1;
    } while (mmio_read(MBOX_PA + MBOX_READ) != message);

    clean_and_invalidate();
    /* An unknown tag is skipped with overall success: only its own code word tells. */
    if (request.code != RESPONSE || !(request.tag_code & RESPONSE))
        return -1;
    memcpy(value, request.value, n * sizeof(value[0]));
    return 0;
}
