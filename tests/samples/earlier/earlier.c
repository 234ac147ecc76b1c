/* What programs are told of the machine while make.py runs them: the clock is behind by $EARLIER_SECONDS, and the names
   of host and kernel are nobody's. Waits and timers go on as ever; libfaketime would also move the monotonic clock,
   below zero on a machine that has just started. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static long behind(void) {
    const char *text = getenv("EARLIER_SECONDS");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec -= behind();
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    if (!failed && at) *at = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return failed;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int uname(struct utsname *names) {
    int failed = syscall(SYS_uname, names);
    strcpy(names->nodename, "controller-1");
    strcpy(names->release, "6.1.0");
    return failed;
}

int gethostname(char *name, size_t size) {
    strncpy(name, "controller-1", size);
    return 0;
}
