/* Stands between a program and the system's writes: fails, shortens or skips them. For `cargo xtask torture`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>

static long writes, syncs;

static long wanted(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    long number = __sync_add_and_fetch(&writes, 1);
    long fail = wanted("FAIL_WRITE"), shorten = wanted("SHORT_WRITE");
    if (fail && number >= fail) {
        errno = wanted("FAIL_FULL") ? ENOSPC : EIO;
        return -1;
    }
    if (shorten && number % shorten == 0 && length > 1)
        length /= 2;
    return real(file, bytes, length, offset);
}

static int sync_with(const char *name, int file) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    long fail = wanted("FAIL_SYNC");
    if (wanted("SKIP_SYNC"))
        return 0;
    if (fail && __sync_add_and_fetch(&syncs, 1) >= fail) {
        errno = EIO;
        return -1;
    }
    return real(file);
}

int fsync(int file) { return sync_with("fsync", file); }
int fdatasync(int file) { return sync_with("fdatasync", file); }
