/*
 * Imaginary machines: what frames and zones should hold, and the comparison with what they do hold.
 */
#include "check.h"
#include "machine.h"
#include "printf.h"

static const char *
state_text(uint8_t state)
{
    static char text[2][32];
    static unsigned turn;
    char *out = text[turn++ % 2];
    const char *kind = FRAME_KIND(state) == FRAME_USED   ? "FRAME_USED"
                     : FRAME_KIND(state) == FRAME_SHARED ? "FRAME_SHARED"
                     : FRAME_KIND(state) == FRAME_FREE   ? "FRAME_FREE"
                                                         : NULL;

    if (state == FRAME_NONE)
        return "FRAME_NONE";
    if (state == FRAME_CACHED)
        return "FRAME_CACHED";
    if (kind && FRAME_ORDER(state) < PMM_ORDERS)
        snprintf(out, sizeof(text[0]), "%s + %u", kind, FRAME_ORDER(state));
    else
        snprintf(out, sizeof(text[0]), "0x%x", state);
    return out;
}

/* What may be behind a wrong state. */
static const char *
explain(size_t i, uint8_t wanted, uint8_t found)
{
    if (model.is[i] == IS_HOLE)
        return ": there is no RAM";
    if (model.is[i] == IS_RESERVED)
        return ": it is reserved";
    if (wanted == FRAME_NONE)
        return model.is[i] == IS_FREE ? ": it lies inside a larger block that is free"
                                      : ": it lies inside a block that is in use";
    if (FRAME_KIND(wanted) != FRAME_FREE)
        return found == FRAME_NONE
                 ? ": a block that is in use, or what is left of one, begins there"
                 : "";
    if (found == FRAME_NONE)
        return ": a block that is free begins there";
    if (FRAME_KIND(found) != FRAME_FREE)
        return ": it should be free now";
    return found < wanted ? ": its buddy is as free as it is, so both are one block"
                          : ": what follows is not free, or no part of this block";
}

static __attribute__((cold, noinline)) void
wrong_state(size_t i, uint8_t wanted, uint8_t found)
{
    EXPECT(false, "the state of page 0x%lx: expected %s, found %s%s", machine_pa(i),
           state_text(wanted), state_text(found), explain(i, wanted, found));
}

/* Compare all states, eight at a time. */
UNCHECKED static void
check_states(void)
{
    const uint64_t *wanted = (const uint64_t *)(const void *)model.state;
    const uint64_t *found = (const uint64_t *)(const void *)(machine_table + GUARD);

    for (const uint64_t *stop = wanted + model.n / 8; wanted < stop; wanted++, found++)
        if (*wanted != *found) {
            size_t i = (size_t)((const uint8_t *)wanted - model.state);
            while (model.state[i] == machine_table[GUARD + i])
                i++;
            wrong_state(i, model.state[i], machine_table[GUARD + i]);
        }
}

/* The list for an order is a sound ring, and as long as it should be. */
UNCHECKED static void
check_list(const struct zone *z, unsigned order, size_t wanted)
{
    const struct link *link = z->link;
    uint32_t head = (uint32_t)(z->n + order), previous = head;
    size_t zone = (size_t)(z - zones), n = 0;

    for (uint32_t i = link[head].next; i != head; previous = i, i = link[i].next) {
        EXPECT(i < z->n,
               "zones[%lu], the list for order %u: expected the number of a frame (below %lu), or "
               "that of the list's head (%u), found %u",
               zone, order, z->n, head, i);
        EXPECT(link[i].prev == previous,
               "zones[%lu], the list for order %u: link[%u].prev: expected %u, found %u", zone,
               order, i, previous, link[i].prev);
        EXPECT(z->state[i] == FRAME_FREE + order,
               "zones[%lu], the list for order %u: page 0x%lx is on it, and has the state %s", zone,
               order, z->base + i * PGSIZE, state_text(z->state[i]));
        EXPECT(++n <= wanted, "zones[%lu], the list for order %u: expected %lu blocks, found more",
               zone, order, wanted);
    }
    EXPECT(link[head].prev == previous,
           "zones[%lu], the list for order %u: the head's prev: expected %u, found %u", zone, order,
           previous, link[head].prev);
    EXPECT(n == wanted, "zones[%lu], the list for order %u: expected %lu blocks, found %lu", zone,
           order, wanted, n);
}

/* Everything about a zone but the states of its frames. */
static void
check_zone(const struct zone *z, const struct bank *bank)
{
    size_t zone = (size_t)(z - zones);

    EXPECT(z->orders == PMM_ORDERS && z->base == machine_pa(bank->base)
               && z->n == bank->first + bank->n - bank->base && z->link == bank->link
               && z->state == frames.state + bank->base && z->pages == bank->pages,
           "zones[%lu]: expected orders, base, n, link, state and pages to stay as they are", zone);
    for (unsigned order = 0; order < PMM_ORDERS; order++)
        check_list(z, order, bank->blocks[order]);
    EXPECT(z->free == bank->free, "zones[%lu].free: expected %lu, found %lu", zone, bank->free,
           z->free);
}

static void
check_users(void)
{
    for (size_t n = 0; n < model.nshared; n++) {
        size_t i = model.shared[n];
        if (FRAME_KIND(model.is[i]) != FRAME_SHARED)
            continue;
        uint32_t users = machine_link(i)->users;
        EXPECT(users == model.users[i], "the users of the block at 0x%lx: expected %u, found %u",
               machine_pa(i), model.users[i], users);
    }
}

UNCHECKED static void
check_guards(void)
{
    for (size_t i = 0; i < GUARD; i++)
        EXPECT(machine_table[i] == BEYOND && machine_table[GUARD + model.n + i] == BEYOND,
               "a byte outside of frames.state has been written");
    for (const struct bank *bank = model.bank; bank < model.bank + model.nbanks; bank++)
        EXPECT(bank->link[-1].prev == POISON * 0x1010101u
                   && bank->link[bank->first + bank->n - bank->base + PMM_ORDERS].next
                          == POISON * 0x1010101u,
               "a link outside of those of a zone has been written");
}

void
machine_check(void)
{
    EXPECT(frames.n == model.n && frames.state == machine_table + GUARD
               && V2P(frames.first) == model.base && nzones == model.nbanks,
           "expected frames and nzones to stay as they are");
    model_update();
    check_states();
    for (size_t i = 0; i < model.nbanks; i++)
        check_zone(&zones[i], &model.bank[i]);
    check_users();
    check_guards();
}
