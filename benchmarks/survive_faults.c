/* Makes the k-th write, sync, rename, creation or truncation of this process fail. For tests only.

   fault_arm(k, error, kind): kind 0 fails call k alone, 1 that one and all after it, 2 writes half
   at call k and fails the next one. Calls on pipes, sockets and terminals are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int armed = 0, at = 0, error_number = 0, how = 0, calls = 0;

void fault_arm(int k, int error, int kind) { armed = 1, at = k, error_number = error, how = kind, calls = 0; }
int fault_disarm(void) { armed = 0; return calls; }

static int on_disk(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode));
}

/* 0: go on, 1: fail, 2: write half */
static int due(int fd) {
    if (!armed || (fd >= 0 && !on_disk(fd))) return 0;
    int now = calls++;
    if (now == at) { errno = error_number; return how == 2 ? 2 : 1; }
    if ((how == 1 && now > at) || (how == 2 && now == at + 1)) { errno = error_number; return 1; }
    return 0;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define WRITER(name, offset_type)                                                              \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) {                  \
        REAL(name);                                                                            \
        int d = due(fd);                                                                       \
        if (d == 1) return -1;                                                                 \
        return real(fd, data, d == 2 && size > 1 ? size / 2 : size, offset);                   \
    }
WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    int d = due(fd);
    if (d == 1) return -1;
    return real(fd, data, d == 2 && size > 1 ? size / 2 : size);
}

#define PLAIN(name, declared, used, fd)                                                        \
    int name declared { REAL(name); return due(fd) ? -1 : real used; }
PLAIN(fsync, (int fd), (fd), fd)
PLAIN(fdatasync, (int fd), (fd), fd)
PLAIN(ftruncate, (int fd, off_t n), (fd, n), fd)
PLAIN(ftruncate64, (int fd, off64_t n), (fd, n), fd)
PLAIN(rename, (const char *a, const char *b), (a, b), -1)
PLAIN(mkdir, (const char *path, mode_t mode), (path, mode), -1)

#define OPENER(name)                                                                           \
    int name(const char *path, int flags, ...) {                                               \
        REAL(name);                                                                            \
        va_list more;                                                                          \
        va_start(more, flags);                                                                 \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                              \
        va_end(more);                                                                          \
        if ((flags & O_CREAT) && access(path, F_OK) != 0 && due(-1)) return -1;                \
        return real(path, flags, mode);                                                        \
    }
OPENER(open)
OPENER(open64)
