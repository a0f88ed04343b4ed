/* echo: says every line that it reads, until one is empty or there are no more. */
#include "libc.h"

int
main(void)
{
    char line[64];
    size_t length = 0;
    long n;

    while ((n = read(0, line + length, 1)) == 1) {
        if (line[length] == '\n') {
            if (length == 0)
                break;
            printf("[%.*s]\n", (int)length, line);
            length = 0;
        } else if (length < sizeof(line) - 1) {
            length++;
        }
    }
    require(n >= 0);
    return 0;
}
