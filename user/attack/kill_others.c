/* Linux lets root do it. */
#include "attack.h"

ATTACK_HERE(kill_others, "kills its parent, and everybody", 0)
{
    struct utsname name;

    require(uname(&name) == 0 && strcmp(name.sysname, "Bramble") == 0); /* in all kindness */
    require(kill((int)getppid(), SIGKILL) < 0);
    require(kill(1, SIGKILL) == -EPERM && kill(2, SIGKILL) == -EPERM); /* the kernel's own */
    require(kill(0, SIGKILL) == -ESRCH && kill(-1, SIGKILL) == -ESRCH);
    for (int signal = SIGSTOP; signal <= SIGTTOU; signal++)
        require(kill((int)getpid(), signal) == -EINVAL);
}
