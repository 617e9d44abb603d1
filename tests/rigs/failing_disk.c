/* Makes calls that write or sync chosen files fail; see disks.py. Preloaded into a process.

   The order is one line, "sync|write ERRNO SUFFIX", in a file that is read at every call, so that
   it can be given while the process runs; a suffix of "*" is any file. Each failure is written down before it is returned. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int read_order(char *calls, int *error, char *suffix)
{
    char text[PATH_MAX + 64];
    const char *path = getenv("FAILING_DISK_ORDER");
    int handle = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    if (handle < 0)
        return 0;
    ssize_t size = syscall(SYS_read, handle, text, sizeof text - 1);
    syscall(SYS_close, handle);
    text[size > 0 ? size : 0] = 0;
    return sscanf(text, "%15s %d %4095s", calls, error, suffix) == 3;
}

static void write_down(const char *call, const char *path)
{
    char line[PATH_MAX + 32];
    const char *record = getenv("FAILING_DISK_RECORD");
    int size = snprintf(line, sizeof line, "%s %s\n", call, path);
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    int handle = record ? (int)syscall(SYS_openat, AT_FDCWD, record, flags, 0600) : -1;
    if (handle >= 0) {
        syscall(SYS_write, handle, line, (size_t)size);
        syscall(SYS_close, handle);
    }
}

/* Answer the errno that a call on a file must give, 0 for none. */
static int failure(const char *call, int handle)
{
    char calls[16], suffix[PATH_MAX], path[PATH_MAX], link[64];
    int error, before = errno;
    if (!read_order(calls, &error, suffix) || strcmp(call, calls) != 0) {
        errno = before;
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = before;
    path[size > 0 ? size : 0] = 0;
    if (strcmp(suffix, "*") != 0
        && (size < (ssize_t)strlen(suffix) || strcmp(path + size - strlen(suffix), suffix) != 0))
        return 0;
    write_down(call, path);
    errno = before;
    return error;
}

#define TRY(call, handle)                                                                          \
    int error = failure(call, handle);                                                             \
    if (error) {                                                                                   \
        errno = error;                                                                             \
        return -1;                                                                                 \
    }

int fsync(int handle)
{
    TRY("sync", handle)
    return (int)syscall(SYS_fsync, handle);
}

int fdatasync(int handle)
{
    TRY("sync", handle)
    return (int)syscall(SYS_fdatasync, handle);
}

ssize_t write(int handle, const void *data, size_t size)
{
    TRY("write", handle)
    return syscall(SYS_write, handle, data, size);
}

ssize_t pwrite(int handle, const void *data, size_t size, off_t offset)
{
    TRY("write", handle)
    return syscall(SYS_pwrite64, handle, data, size, offset);
}

ssize_t pwrite64(int handle, const void *data, size_t size, off64_t offset)
{
    TRY("write", handle)
    return syscall(SYS_pwrite64, handle, data, size, offset);
}
