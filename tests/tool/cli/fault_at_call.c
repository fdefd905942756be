// Preloaded into the program: counts its calls that touch files below FAULT_BELOW, and at call
// number FAULT_AT kills the process, or lets the call fail as a full or broken disk would
// (FAULT_KIND "kill" or "error"). Without FAULT_AT it writes the number of calls to FAULT_COUNT at
// the end. Reading the file FAULT_HANGS never comes to an end. From thread number
// FAULT_THREADS_FROM on, counted from 1, none can be started.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { kMaxDescriptors = 65536 };

static atomic_long calls;
// Descriptors of files below FAULT_BELOW: 1, or 2 once something was written.
static atomic_char watched[kMaxDescriptors];

// Descriptors of the file FAULT_HANGS.
static atomic_char hanging[kMaxDescriptors];

static int is_below(const char* path) {
  const char* root = getenv("FAULT_BELOW");
  return root && strncmp(path, root, strlen(root)) == 0;
}

static int is_hanging(int descriptor) {
  return descriptor >= 0 && descriptor < kMaxDescriptors && hanging[descriptor];
}

static int is_watched(int descriptor) {
  return descriptor >= 0 && descriptor < kMaxDescriptors && watched[descriptor];
}

// Whether this call is to fail, with errno set; or does not return.
static int strikes(int error) {
  const char* at = getenv("FAULT_AT");
  const long number = atomic_fetch_add(&calls, 1) + 1;
  if (!at || number != atol(at)) return 0;
  if (strcmp(getenv("FAULT_KIND"), "kill") == 0) kill(getpid(), SIGKILL);
  errno = error;
  return 1;
}

__attribute__((destructor)) static void report(void) {
  const char* path = getenv("FAULT_COUNT");
  FILE* file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%ld\n", (long)calls);
  fclose(file);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) {
  static atomic_long threads;
  const char* from = getenv("FAULT_THREADS_FROM");
  if (from && atomic_fetch_add(&threads, 1) + 1 >= atol(from)) return EAGAIN;
  return REAL(pthread_create)(thread, attributes, run, argument);
}

static int open_with(int (*real)(const char*, int, ...), const char* path, int flags, mode_t mode) {
  const int below = is_below(path);
  if (below && strikes(flags & O_CREAT ? ENOSPC : EIO)) return -1;
  const int descriptor = real(path, flags, mode);
  if (descriptor >= 0 && descriptor < kMaxDescriptors) {
    const char* hangs = getenv("FAULT_HANGS");
    watched[descriptor] = (char)below;
    hanging[descriptor] = hangs && strcmp(path, hangs) == 0;
  }
  return descriptor;
}

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  return open_with(REAL(open), path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  return open_with(REAL(open64), path, flags, mode);
}

// The first write to a file is a short one.
ssize_t write(int descriptor, const void* bytes, size_t count) {
  if (is_watched(descriptor)) {
    if (strikes(ENOSPC)) return -1;
    if (watched[descriptor] == 1 && count > 1) count /= 2;
    watched[descriptor] = 2;
  }
  return REAL(write)(descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
  if (is_watched(descriptor) && strikes(ENOSPC)) return -1;
  return REAL(pwrite)(descriptor, bytes, count > 1 ? count / 2 : count, offset);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t count, off64_t offset) {
  if (is_watched(descriptor) && strikes(ENOSPC)) return -1;
  return REAL(pwrite64)(descriptor, bytes, count > 1 ? count / 2 : count, offset);
}

// A disk that does not answer.
ssize_t pread(int descriptor, void* bytes, size_t count, off_t offset) {
  while (is_hanging(descriptor)) pause();
  return REAL(pread)(descriptor, bytes, count, offset);
}

ssize_t pread64(int descriptor, void* bytes, size_t count, off64_t offset) {
  while (is_hanging(descriptor)) pause();
  return REAL(pread64)(descriptor, bytes, count, offset);
}

int fsync(int descriptor) {
  if (is_watched(descriptor) && strikes(EIO)) return -1;
  return REAL(fsync)(descriptor);
}

int close(int descriptor) {
  if (is_watched(descriptor)) {
    watched[descriptor] = 0;
    if (strikes(EDQUOT)) {
      REAL(close)(descriptor);
      errno = EDQUOT;
      return -1;
    }
  }
  return REAL(close)(descriptor);
}

int ftruncate(int descriptor, off_t length) {
  if (is_watched(descriptor) && strikes(EIO)) return -1;
  return REAL(ftruncate)(descriptor, length);
}

int ftruncate64(int descriptor, off64_t length) {
  if (is_watched(descriptor) && strikes(EIO)) return -1;
  return REAL(ftruncate64)(descriptor, length);
}

int link(const char* from, const char* to) {
  if (is_below(to) && strikes(EROFS)) return -1;
  return REAL(link)(from, to);
}

int rename(const char* from, const char* to) {
  if (is_below(to) && strikes(EROFS)) return -1;
  return REAL(rename)(from, to);
}

int unlink(const char* path) {
  if (is_below(path) && strikes(EROFS)) return -1;
  return REAL(unlink)(path);
}

int mkdir(const char* path, mode_t mode) {
  if (is_below(path) && strikes(EROFS)) return -1;
  return REAL(mkdir)(path, mode);
}
