/* Stops a program at one of its operations on files, or lets that operation fail.
 *
 * Loaded before libc (LD_PRELOAD). Operations on files below FAULT_DIR are counted, from 1. At
 * number FAULT_AT happens FAULT_KIND:
 *   before, after  the process ends, before or after the operation
 *   torn           a write writes half, then the process ends
 *   lost           as before, and what was not synced is gone: the bytes that were written to files,
 *                  and the names that were given, taken and removed
 *   ENOSPC, EIO    the operation fails
 * The number of all operations is written to FAULT_COUNT at the end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static const char *folder, *kind, *shadow;
static long at = -1, count = 0;
static int lossy = 0;

/* Files that were written since they were synced: how they were then. */
struct dirty { dev_t dev; ino_t ino; int fd; char *bytes; off_t length; struct dirty *next; };
static struct dirty *dirty_files = 0;

/* What was done to names since their folder was synced, newest first. */
struct change { char from[PATH_MAX], to[PATH_MAX], kept[PATH_MAX]; int undone; struct change *next; };
static struct change *changes = 0;

__attribute__((constructor)) static void begin(void) {
    folder = getenv("FAULT_DIR");
    kind = getenv("FAULT_KIND");
    shadow = getenv("FAULT_SHADOW");
    if (getenv("FAULT_AT")) at = atol(getenv("FAULT_AT"));
    lossy = kind && !strcmp(kind, "lost");
}

__attribute__((destructor)) static void end(void) {
    const char *file = getenv("FAULT_COUNT");
    if (!folder || !file || !count) return;
    char text[32];
    int length = snprintf(text, sizeof text, "%ld", count);
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    syscall(SYS_write, fd, text, length);
    syscall(SYS_close, fd);
}

static void whole(int dir, const char *path, char *out) {
    char base[PATH_MAX] = "";
    if (path[0] != '/') {
        if (dir == AT_FDCWD) { if (!getcwd(base, sizeof base)) base[0] = 0; }
        else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
            ssize_t n = readlink(link, base, sizeof base - 1);
            base[n < 0 ? 0 : n] = 0;
        }
    }
    while (path[0] == '.' && path[1] == '/') path += 2;
    snprintf(out, PATH_MAX, "%s%s%s", base, base[0] ? "/" : "", path);
}

static int is_ours_path(const char *path) {
    return folder && !strncmp(path, folder, strlen(folder));
}

static int is_ours(int fd) {
    if (!folder) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_ours_path(path);
}

static void lose(void) {
    for (struct change *c = changes; c; c = c->next) {
        if (c->undone) continue;
        if (c->from[0]) syscall(SYS_renameat2, AT_FDCWD, c->to, AT_FDCWD, c->from, 0);
        else if (!c->kept[0]) syscall(SYS_unlinkat, AT_FDCWD, c->to, 0);
        if (c->kept[0]) syscall(SYS_linkat, AT_FDCWD, c->kept, AT_FDCWD, c->to, 0);
    }
    for (struct dirty *d = dirty_files; d; d = d->next) {
        syscall(SYS_ftruncate, d->fd, 0);
        off_t done = 0;
        while (done < d->length) {
            ssize_t n = syscall(SYS_pwrite64, d->fd, d->bytes + done, d->length - done, done);
            if (n <= 0) break;
            done += n;
        }
    }
}

static void die(void) {
    if (lossy) lose();
    syscall(SYS_exit_group, 77);
}

/* Counts an operation. Nothing: do it. 1: it is to be torn; 2: die after it; -1: it fails. */
static int operation(void) {
    if (++count != at) return 0;
    if (!strcmp(kind, "ENOSPC")) { errno = ENOSPC; return -1; }
    if (!strcmp(kind, "EIO")) { errno = EIO; return -1; }
    if (!strcmp(kind, "torn")) return 1;
    if (!strcmp(kind, "after")) return 2;
    die();
    return 0;
}

static void touched(int fd) {
    if (!lossy) return;
    struct stat s;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode)) return;
    for (struct dirty *d = dirty_files; d; d = d->next)
        if (d->dev == s.st_dev && d->ino == s.st_ino) return;
    struct dirty *d = calloc(1, sizeof *d);
    d->dev = s.st_dev; d->ino = s.st_ino; d->length = s.st_size;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    d->fd = syscall(SYS_openat, AT_FDCWD, link, O_RDWR, 0);
    d->bytes = malloc(s.st_size + 1);
    off_t done = 0;
    while (done < s.st_size) {
        ssize_t n = syscall(SYS_pread64, d->fd, d->bytes + done, s.st_size - done, done);
        if (n <= 0) break;
        done += n;
    }
    d->next = dirty_files;
    dirty_files = d;
}

static void synced(int fd) {
    if (!lossy) return;
    struct stat s;
    if (fstat(fd, &s)) return;
    if (S_ISDIR(s.st_mode)) {
        char link[64], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n < 0) return;
        path[n] = 0;
        for (struct change *c = changes; c; c = c->next)
            if (!strncmp(c->to, path, n) && c->to[n] == '/' && !strchr(c->to + n + 1, '/')) c->undone = 1;
        return;
    }
    for (struct dirty **p = &dirty_files; *p; p = &(*p)->next)
        if ((*p)->dev == s.st_dev && (*p)->ino == s.st_ino) {
            struct dirty *gone = *p;
            *p = gone->next;
            syscall(SYS_close, gone->fd);
            free(gone->bytes);
            free(gone);
            return;
        }
}

static void named(const char *from, const char *to, int keep) {
    static long next = 0;
    if (!lossy) return;
    struct change *c = calloc(1, sizeof *c);
    if (from) snprintf(c->from, PATH_MAX, "%s", from);
    snprintf(c->to, PATH_MAX, "%s", to);
    if (keep) {
        snprintf(c->kept, PATH_MAX, "%s/%ld", shadow, next++);
        if (syscall(SYS_linkat, AT_FDCWD, to, AT_FDCWD, c->kept, 0)) c->kept[0] = 0;
    }
    if (!from && keep && !c->kept[0]) { free(c); return; }
    c->next = changes;
    changes = c;
}

static int opens(int dir, const char *path, int flags, mode_t mode) {
    char to[PATH_MAX];
    whole(dir, path, to);
    int changes_it = (flags & (O_CREAT | O_TRUNC)) && is_ours_path(to);
    if (!changes_it) return syscall(SYS_openat, dir, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat s;
    int is_new = stat(to, &s) != 0;
    if (!is_new && !(flags & O_TRUNC)) {
        pthread_mutex_unlock(&lock);
        return syscall(SYS_openat, dir, path, flags, mode);
    }
    int what = operation();
    int fd = -1;
    if (what >= 0) {
        if (!is_new && (flags & O_TRUNC)) {
            int old = syscall(SYS_openat, AT_FDCWD, to, O_RDWR, 0);
            if (old >= 0) { touched(old); syscall(SYS_close, old); }
        }
        fd = syscall(SYS_openat, dir, path, flags, mode);
        int error = errno;
        if (fd >= 0 && is_new) named(0, to, 0);
        if (what > 0) die();
        errno = error;
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list l; va_start(l, flags); mode = va_arg(l, mode_t); va_end(l); }
int open(const char *path, int flags, ...) { MODE(flags) return opens(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opens(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return opens(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) return opens(dir, path, flags | O_LARGEFILE, mode); }

static ssize_t writes(int fd, const void *bytes, size_t length, off_t offset) {
    int placed = offset >= 0;
    if (!is_ours(fd))
        return placed ? syscall(SYS_pwrite64, fd, bytes, length, offset) : syscall(SYS_write, fd, bytes, length);
    pthread_mutex_lock(&lock);
    int what = operation();
    ssize_t done = -1;
    if (what >= 0) {
        touched(fd);
        size_t some = what == 1 ? length / 2 : length;
        done = placed ? syscall(SYS_pwrite64, fd, bytes, some, offset) : syscall(SYS_write, fd, bytes, some);
        int error = errno;
        if (what > 0) die();
        errno = error;
    }
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t write(int fd, const void *bytes, size_t length) { return writes(fd, bytes, length, -1); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return writes(fd, bytes, length, offset); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return writes(fd, bytes, length, offset); }

static int on_file(int fd, long call, long argument, int is_sync) {
    if (!is_ours(fd)) return syscall(call, fd, argument);
    pthread_mutex_lock(&lock);
    int what = operation(), result = -1;
    if (what >= 0) {
        if (!is_sync) touched(fd);
        result = syscall(call, fd, argument);
        int error = errno;
        if (is_sync && !result) synced(fd);
        if (what > 0) die();
        errno = error;
    }
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int fd) { return on_file(fd, SYS_fsync, 0, 1); }
int fdatasync(int fd) { return on_file(fd, SYS_fdatasync, 0, 1); }
int ftruncate64(int fd, off64_t length) { return on_file(fd, SYS_ftruncate, length, 0); }
int ftruncate(int fd, off_t length) { return on_file(fd, SYS_ftruncate, length, 0); }

static int renames(int a, const char *from, int b, const char *to, unsigned flags) {
    char whole_from[PATH_MAX], whole_to[PATH_MAX];
    whole(a, from, whole_from);
    whole(b, to, whole_to);
    if (!is_ours_path(whole_to)) return syscall(SYS_renameat2, a, from, b, to, flags);
    pthread_mutex_lock(&lock);
    int what = operation(), result = -1;
    if (what >= 0) {
        struct stat s;
        int replaces = stat(whole_to, &s) == 0 && !(flags & 1);
        struct change *before = changes;
        named(whole_from, whole_to, replaces);
        result = syscall(SYS_renameat2, a, from, b, to, flags);
        int error = errno;
        if (result && changes != before) changes->undone = 1;
        if (what > 0) die();
        errno = error;
    }
    pthread_mutex_unlock(&lock);
    return result;
}
int rename(const char *from, const char *to) { return renames(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renames(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renames(a, from, b, to, flags); }

static int unlinks(int dir, const char *path, int flags) {
    char to[PATH_MAX];
    whole(dir, path, to);
    if (!is_ours_path(to) || (flags & AT_REMOVEDIR)) return syscall(SYS_unlinkat, dir, path, flags);
    pthread_mutex_lock(&lock);
    int what = operation(), result = -1;
    if (what >= 0) {
        named(0, to, 1);
        result = syscall(SYS_unlinkat, dir, path, flags);
        int error = errno;
        if (what > 0) die();
        errno = error;
    }
    pthread_mutex_unlock(&lock);
    return result;
}
int unlink(const char *path) { return unlinks(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return unlinks(dir, path, flags); }
