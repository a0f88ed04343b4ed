/*
 * attack NAME: one attack on the kernel, or on whatever lies around. The attacks are the other files in this
 * folder; attack.h says how one is written.
 *
 *   attack              their names, and what each does
 *   attack --expected   their names, the status that each must end with, and whether Linux agrees
 */
#include "attack.h"

int
main(int argc, char *argv[])
{
    bool expected = argc > 1 && strcmp(argv[1], "--expected") == 0;

    for (const struct attack *a = attacks_start; a < attacks_end; a++) {
        if (argc < 2) {
            printf("%-20s %s\n", a->name, a->what);
        } else if (expected) {
            printf("%s %d %s\n", a->name, a->status, a->here ? "here" : "everywhere");
        } else if (strcmp(argv[1], a->name) == 0) {
            a->run();
            if (a->status != 0)
                fail("%s: still alive\n", a->name);
            return 0;
        }
    }
    if (argc < 2 || expected)
        return 0;
    fail("there is no attack %s\n", argv[1]);
}
