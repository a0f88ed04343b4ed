/*
 * Yours: staff never change this file. scratch() is called at the end of every boot that you start
 * yourself, after the checks and before the monitor. Try things out here.
 */
#include "console.h"
#include "scratch.h"

void
scratch(void)
{
}
