/* hold.c: fills its memory, 1 MiB with the stack, and sleeps until it is stopped. */
#include <string.h>
#include <unistd.h>

static char filler[900 << 10];

int main(void)
{
    memset(filler, 1, sizeof filler);
    /* The compiler may not leave it out. */
    __asm__ volatile("" : : "r"(filler) : "memory");
    sleep(3600);
    return 0;
}
