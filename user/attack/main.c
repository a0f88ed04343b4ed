/*
 * attack NAME: one attack on the kernel, or on whatever lies around. attack: all their names, and what each
 * does. attack --expected: names and the status that each must end with. The attacks are the other files in this folder; attack.h says
 * how one is written.
 */
#include "attack.h"

extern const struct attack attacks_start[], attacks_end[];

int
main(int argc, char *argv[])
{
    bool expected = argc > 1 && strcmp(argv[1], "--expected") == 0;

    for (const struct attack *a = attacks_start; a < attacks_end; a++) {
        if (argc < 2)
            printf("%-20s %s\n", a->name, a->what);
        else if (expected)
            printf("%s %d %s\n", a->name, a->status, a->here_only ? "here" : "linux");
        else if (strcmp(argv[1], a->name) == 0)
            return a->run();
    }
    if (argc < 2 || expected)
        return 0;
    fail("there is no attack %s\n", argv[1]);
}
