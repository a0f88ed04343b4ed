/* exit [STATUS]: ends with that status, of which the low 8 bits count; or "exit -SIGNAL": with a signal. */
#include "libc.h"

int
main(int argc, char *argv[])
{
    if (argc > 1 && argv[1][0] == '-') {
        int signal = (int)number(argv[1] + 1);
        long result = kill((int)getpid(), signal);
        printf("signal %d: %ld, and on it goes\n", signal, result);
        return 0;
    }
    syscall(SYS_exit, argc > 1 ? number(argv[1]) : 0);
    fail("exit came back\n");
}
