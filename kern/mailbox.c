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

#define WORDS_MAX 29
#define TAG_WORDS 3 /* before its value buffer: the tag, the buffer's bytes, a code */

/* One request. It fills whole cache lines, which maintenance below may then drop. */
static struct {
    uint32_t size, code;
    uint32_t words[WORDS_MAX + 1]; /* the tags, and 0 */
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
mailbox_properties(uint32_t words[], size_t n)
{
    memset(&request, 0, sizeof(request));
    request.size = sizeof(request);
    memcpy(request.words, words, n * sizeof(words[0]));
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
    if (request.code != RESPONSE)
        return -1;
    /* An unknown tag is skipped with overall success: only its own code word tells. */
    for (size_t i = 0; i < n; i += TAG_WORDS + words[i + 1] / sizeof(words[0]))
        if (!(request.words[i + 2] & RESPONSE))
            return -1;
    memcpy(words, request.words, n * sizeof(words[0]));
    return 0;
}

int
mailbox_property(uint32_t tag, uint32_t value[], size_t n)
{
    uint32_t words[TAG_WORDS + 8] = {tag, (uint32_t)(n * sizeof(value[0])), MBOX_REQUEST};

    memcpy(words + TAG_WORDS, value, n * sizeof(value[0]));
    if (mailbox_properties(words, TAG_WORDS + n) < 0)
        return -1;
    memcpy(value, words + TAG_WORDS, n * sizeof(value[0]));
    return 0;
}
