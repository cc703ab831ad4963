/* A disk that is full for as long as the file DISK_FULL_WHILE is there: files whose path holds
   DISK_FULL_UNDER do not grow. What they have already is written as ever, as on a full file
   system. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int has_room(int file, off_t end) {
    const char *mark = getenv("DISK_FULL_WHILE");
    const char *under = getenv("DISK_FULL_UNDER");
    char link[64], path[4096];
    struct stat now;
    if (mark == NULL || under == NULL || access(mark, F_OK) != 0) {
        return 1;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || fstat(file, &now) != 0) {
        return 1;
    }
    path[length] = '\0';
    return strstr(path, under) == NULL || end <= now.st_size;
}

ssize_t pwrite(int file, const void *octets, size_t count, off_t at) {
    if (!has_room(file, at + (off_t)count)) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, file, octets, count, at);
}

ssize_t pwrite64(int file, const void *octets, size_t count, off_t at) {
    return pwrite(file, octets, count, at);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
    off_t end = at;
    for (int part = 0; part < count; part++) {
        end += (off_t)parts[part].iov_len;
    }
    if (!has_room(file, end)) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwritev, file, parts, count, (long)at, 0L);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t at) {
    return pwritev(file, parts, count, at);
}

/* Answers what is wrong, and leaves errno alone. */
int posix_fallocate(int file, off_t at, off_t length) {
    if (!has_room(file, at + length)) {
        return ENOSPC;
    }
    return syscall(SYS_fallocate, file, 0, at, length) == 0 ? 0 : errno;
}

int posix_fallocate64(int file, off_t at, off_t length) {
    return posix_fallocate(file, at, length);
}
