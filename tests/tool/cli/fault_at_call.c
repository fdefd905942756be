// Preloaded into the program: stands between it and the system, counts calls, and lets one of them
// fail or kills the process there.
//
// clang-format off
//   FAULT_BELOW   folders, separated by ':'; calls that take a path or a descriptor count when the
//                 file is in one
//   FAULT_ROOT    the number, from 0, of the one folder whose calls fail (without it: of all)
//   FAULT_CALL    names of the calls that count together, separated by ',', as in `kNames`; "link=1"
//                 fails with 1
//   FAULT_AT      the number of the one that fails
//   FAULT_TIMES   how many fail from there on (1 without it, 0: all)
//   FAULT_ERROR   errno, "short" (half of the bytes are read or written), "kill", or "usual": what a
//                 full or broken disk would give
//   FAULT_STRUCK  a file that then gets a line: the call and its file
//   FAULT_COUNT   a file that gets, at the end, a line for each call and folder: the folder's number
//                 (-1: no file belongs to it), the call, how often it was called
//   FAULT_HANGS   a file; reading it never comes to an end
// clang-format on
//
// Only calls between the begin and the end of main() count: before it, libraries set themselves up.
// The first write() to a file is a short one, and so is each pwrite().
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

// What stat() and its kin are for the program: one call in several spellings.
enum Call {
  kOpen,
  kCreate,  // open with O_CREAT
  kRead,
  kPread,
  kFstat,
  kStat,  // of a path
  kWrite,
  kPwrite,
  kFsync,
  kFdatasync,
  kClose,
  kFtruncate,
  kLink,
  kRename,
  kRenameat2,
  kUnlink,
  kMkdir,
  kRmdir,
  kOpendir,
  kReaddir,
  kFlock,
  kFcntl,  // locks
  kDup,
  kMmap,
  kPthreadCreate,
  kMalloc,       // and calloc, realloc, memalign: of any size
  kMallocLarge,  // of 32 KB and more
  kCalls
};
static const char* const kNames[kCalls] = {
    "open",      "create", "read",      "pread",          "fstat",     "stat",        "write",
    "pwrite",    "fsync",  "fdatasync", "close",          "ftruncate", "link",        "rename",
    "renameat2", "unlink", "mkdir",     "rmdir",          "opendir",   "readdir",     "flock",
    "fcntl",     "dup",    "mmap",      "pthread_create", "malloc",    "malloc_large"};
static const int kUsualErrors[kCalls] = {EIO,    ENOSPC, EIO,    EIO,    EIO,    EIO,   ENOSPC,
                                         ENOSPC, EIO,    EIO,    EDQUOT, EIO,    EROFS, EROFS,
                                         EROFS,  EROFS,  EROFS,  EROFS,  EIO,    EIO,   ENOLCK,
                                         ENOLCK, EMFILE, ENOMEM, EAGAIN, ENOMEM, ENOMEM};

enum {
  kMaxDescriptors = 65536,
  kMaxRoots = 8,
  kAnywhere = kMaxRoots,
  kLargeBytes = 32768,
  kShort = -1
};

struct Root {
  const char* path;
  size_t size;
};
static struct Root roots[kMaxRoots];
static int root_count;
static const char* hangs;
static const char* struck;
static unsigned counted;  // bits of enum Call
static int only_root = -1;
static long fault_at, fault_times = 1;
static int fault_error;     // errno, kShort, or 0: the call's own
static int errors[kCalls];  // of FAULT_CALL, or 0: the usual one
static int kills;
static atomic_long matches;
static atomic_long counts[kMaxRoots + 1][kCalls];
static atomic_bool armed;

// For each descriptor: 1 + the number of its folder, or 0; whether something was written; whether
// it hangs.
static atomic_char watched[kMaxDescriptors];
static atomic_char written[kMaxDescriptors];
static atomic_char hanging[kMaxDescriptors];

__attribute__((constructor)) static void read_settings(void) {
  const char* below = getenv("FAULT_BELOW");
  while (below && *below && root_count < kMaxRoots) {
    const char* end = strchrnul(below, ':');
    roots[root_count].path = below;
    roots[root_count++].size = (size_t)(end - below);
    below = *end ? end + 1 : end;
  }
  const char* calls = getenv("FAULT_CALL");
  while (calls && *calls) {
    const char* end = strchrnul(calls, ',');
    const char* equals = memchr(calls, '=', (size_t)(end - calls));
    const size_t size = (size_t)((equals ? equals : end) - calls);
    for (int call = 0; call < kCalls; ++call) {
      if (strlen(kNames[call]) == size && !memcmp(kNames[call], calls, size)) {
        counted |= 1U << call;
        if (equals) errors[call] = atoi(equals + 1);
      }
    }
    calls = *end ? end + 1 : end;
  }
  const char* at = getenv("FAULT_AT");
  const char* times = getenv("FAULT_TIMES");
  const char* error = getenv("FAULT_ERROR");
  const char* root = getenv("FAULT_ROOT");
  if (root) only_root = atoi(root);
  fault_at = at ? atol(at) : 0;
  if (times) fault_times = atol(times);
  if (error) {
    kills = strcmp(error, "kill") == 0;
    fault_error = strcmp(error, "short") == 0 ? kShort : atoi(error);
  }
  hangs = getenv("FAULT_HANGS");
  struck = getenv("FAULT_STRUCK");
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// Without a call that this file stands in front of, or that allocates.
static void tell(enum Call call, const char* path, int descriptor) {
  char line[4352], link[32], file[4096] = "";
  if (!path && descriptor >= 0) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t size = readlink(link, file, sizeof file - 1);
    if (size > 0) file[size] = 0;
    path = file;
  }
  const int size = snprintf(line, sizeof line, "%s %s\n", kNames[call], path ? path : "");
  const int out = REAL(open)(struck, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (out < 0) return;
  if (REAL(write)(out, line, (size_t)size) < 0) abort();
  REAL(close)(out);
}

// 0, or the errno with which this call is to fail (then set), or kShort; or does not return.
static int strikes(enum Call call, int root, const char* path, int descriptor) {
  if (root < 0 || !armed) return 0;
  atomic_fetch_add(&counts[root][call], 1);
  if (!(counted & (1U << call)) || !fault_at) return 0;
  if (only_root >= 0 && root != only_root && root != kAnywhere) return 0;
  const long number = atomic_fetch_add(&matches, 1) + 1;
  if (number < fault_at || (fault_times && number >= fault_at + fault_times)) return 0;
  if (struck) tell(call, path, descriptor);
  if (kills) kill(getpid(), SIGKILL);
  const int error = fault_error ? fault_error : errors[call] ? errors[call] : kUsualErrors[call];
  if (error > 0) errno = error;
  return error;
}

static int root_of(const char* path) {
  for (int i = 0; path && i < root_count; ++i) {
    if (strncmp(path, roots[i].path, roots[i].size)) continue;
    const char next = path[roots[i].size];
    if (!next || next == '/' || path[roots[i].size - 1] == '/') return i;
  }
  return -1;
}

static int is_tracked(int descriptor) { return descriptor >= 0 && descriptor < kMaxDescriptors; }

static int root_of_descriptor(int descriptor) {
  return is_tracked(descriptor) ? watched[descriptor] - 1 : -1;
}

// For a path that counts from a descriptor's directory.
static int root_at(int directory, const char* path) {
  if (path && path[0] != '/' && directory != AT_FDCWD) return root_of_descriptor(directory);
  return root_of(path);
}

static int strikes_path(enum Call call, const char* path) {
  return strikes(call, root_of(path), path, -1);
}

static int strikes_at(enum Call call, int directory, const char* path) {
  return strikes(call, root_at(directory, path), path, -1);
}

static int strikes_descriptor(enum Call call, int descriptor) {
  return strikes(call, root_of_descriptor(descriptor), NULL, descriptor);
}

static size_t shortened(int strike, size_t count) {
  return strike == kShort && count > 1 ? count / 2 : count;
}

static int (*real_main)(int, char**, char**);

static void note(int descriptor, int root, const char* path) {
  if (!is_tracked(descriptor)) return;
  watched[descriptor] = (char)(root + 1);
  written[descriptor] = 0;
  hanging[descriptor] = hangs && path && strcmp(path, hangs) == 0;
}

static int counted_main(int argc, char** argv, char** environment) {
  armed = 1;
  const int status = real_main(argc, argv, environment);
  armed = 0;
  return status;
}

int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(void),
                      void (*fini)(void), void (*loader_fini)(void), void* stack_end) {
  int (*real)(int (*)(int, char**, char**), int, char**, void (*)(void), void (*)(void),
              void (*)(void), void*) = (__typeof__(real))dlsym(RTLD_NEXT, "__libc_start_main");
  real_main = main;
  return real(counted_main, argc, argv, init, fini, loader_fini, stack_end);
}

__attribute__((destructor)) static void report(void) {
  armed = 0;
  const char* path = getenv("FAULT_COUNT");
  FILE* file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  for (int root = 0; root <= kMaxRoots; ++root) {
    for (int call = 0; call < kCalls; ++call) {
      const long count = counts[root][call];
      if (count) fprintf(file, "%d %s %ld\n", root == kAnywhere ? -1 : root, kNames[call], count);
    }
  }
  fclose(file);
}

// --- opening
// ---------------------------------------------------------------------------------------------------------
static int open_with(int (*real)(const char*, int, ...), const char* path, int flags, mode_t mode) {
  const int root = root_of(path);
  if (strikes(flags & O_CREAT ? kCreate : kOpen, root, path, -1) > 0) return -1;
  const int descriptor = real(path, flags, mode);
  note(descriptor, root, path);
  return descriptor;
}

static int open_at_with(int (*real)(int, const char*, int, ...), int directory, const char* path,
                        int flags, mode_t mode) {
  const int root = root_at(directory, path);
  if (strikes(flags & O_CREAT ? kCreate : kOpen, root, path, -1) > 0) return -1;
  const int descriptor = real(directory, path, flags, mode);
  note(descriptor, root, path);
  return descriptor;
}

#define OPEN(name)                                                  \
  int name(const char* path, int flags, ...) {                      \
    va_list more;                                                   \
    va_start(more, flags);                                          \
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
    va_end(more);                                                   \
    return open_with(REAL(name), path, flags, mode);                \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                \
  int name(int directory, const char* path, int flags, ...) {       \
    va_list more;                                                   \
    va_start(more, flags);                                          \
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
    va_end(more);                                                   \
    return open_at_with(REAL(name), directory, path, flags, mode);  \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                      \
  FILE* name(const char* path, const char* mode) {                                       \
    const int root = root_of(path);                                                      \
    if (strikes(strpbrk(mode, "wa") ? kCreate : kOpen, root, path, -1) > 0) return NULL; \
    FILE* file = REAL(name)(path, mode);                                                 \
    if (file) note(fileno(file), root, path);                                            \
    return file;                                                                         \
  }
FOPEN(fopen)
FOPEN(fopen64)

int dup(int descriptor) {
  if (strikes_descriptor(kDup, descriptor) > 0) return -1;
  const int copy = REAL(dup)(descriptor);
  if (is_tracked(copy) && is_tracked(descriptor)) watched[copy] = watched[descriptor];
  return copy;
}

#define DUP_TO(name, PARAMETERS, ARGUMENTS)                                  \
  int name PARAMETERS {                                                      \
    if (strikes_descriptor(kDup, from) > 0) return -1;                       \
    const int copy = REAL(name) ARGUMENTS;                                   \
    if (is_tracked(copy) && is_tracked(from)) watched[copy] = watched[from]; \
    return copy;                                                             \
  }
DUP_TO(dup2, (int from, int to), (from, to))
DUP_TO(dup3, (int from, int to, int flags), (from, to, flags))

// --- looking
// ---------------------------------------------------------------------------------------------------------
#define FSTAT(name, Status)                                    \
  int name(int descriptor, struct Status* status) {            \
    if (strikes_descriptor(kFstat, descriptor) > 0) return -1; \
    return REAL(name)(descriptor, status);                     \
  }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

#define STAT(name, Status)                            \
  int name(const char* path, struct Status* status) { \
    if (strikes_path(kStat, path) > 0) return -1;     \
    return REAL(name)(path, status);                  \
  }
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)

#define FSTATAT(name, Status)                                                   \
  int name(int directory, const char* path, struct Status* status, int flags) { \
    if (strikes_at(kStat, directory, path) > 0) return -1;                      \
    return REAL(name)(directory, path, status, flags);                          \
  }
FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)

int statx(int directory, const char* path, int flags, unsigned mask, struct statx* status) {
  if (strikes_at(kStat, directory, path) > 0) return -1;
  return REAL(statx)(directory, path, flags, mask, status);
}

DIR* opendir(const char* path) {
  const int root = root_of(path);
  if (strikes(kOpendir, root, path, -1) > 0) return NULL;
  DIR* directory = REAL(opendir)(path);
  if (directory) note(dirfd(directory), root, path);
  return directory;
}

DIR* fdopendir(int descriptor) {
  if (strikes_descriptor(kOpendir, descriptor) > 0) return NULL;
  return REAL(fdopendir)(descriptor);
}

int closedir(DIR* directory) {
  note(dirfd(directory), -1, NULL);
  return REAL(closedir)(directory);
}

#define READDIR(name, Entry)                                             \
  struct Entry* name(DIR* directory) {                                   \
    if (strikes_descriptor(kReaddir, dirfd(directory)) > 0) return NULL; \
    return REAL(name)(directory);                                        \
  }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

// --- reading and writing
// ---------------------------------------------------------------------------------------------
#define READ(name, call, PARAMETERS, ARGUMENTS)                                      \
  ssize_t name PARAMETERS {                                                          \
    while (is_tracked(descriptor) && hanging[descriptor]) pause(); /* a dead disk */ \
    const int strike = strikes_descriptor(call, descriptor);                         \
    if (strike > 0) return -1;                                                       \
    count = shortened(strike, count);                                                \
    return REAL(name) ARGUMENTS;                                                     \
  }
// What the compiler calls where it knows the size of the buffer.
extern ssize_t __read_chk(int descriptor, void* bytes, size_t count, size_t size);
extern ssize_t __pread_chk(int descriptor, void* bytes, size_t count, off_t offset, size_t size);
extern ssize_t __pread64_chk(int descriptor, void* bytes, size_t count, off64_t offset,
                             size_t size);
READ(read, kRead, (int descriptor, void* bytes, size_t count), (descriptor, bytes, count))
READ(__read_chk, kRead, (int descriptor, void* bytes, size_t count, size_t size),
     (descriptor, bytes, count, size))
READ(pread, kPread, (int descriptor, void* bytes, size_t count, off_t offset),
     (descriptor, bytes, count, offset))
READ(pread64, kPread, (int descriptor, void* bytes, size_t count, off64_t offset),
     (descriptor, bytes, count, offset))
READ(__pread_chk, kPread, (int descriptor, void* bytes, size_t count, off_t offset, size_t size),
     (descriptor, bytes, count, offset, size))
READ(__pread64_chk, kPread,
     (int descriptor, void* bytes, size_t count, off64_t offset, size_t size),
     (descriptor, bytes, count, offset, size))

ssize_t write(int descriptor, const void* bytes, size_t count) {
  const int strike = strikes_descriptor(kWrite, descriptor);
  if (strike > 0) return -1;
  count = shortened(strike, count);
  if (root_of_descriptor(descriptor) >= 0) {
    if (!written[descriptor] && count > 1) count /= 2;
    written[descriptor] = 1;
  }
  return REAL(write)(descriptor, bytes, count);
}

#define PWRITE(name, Offset)                                                     \
  ssize_t name(int descriptor, const void* bytes, size_t count, Offset offset) { \
    const int strike = strikes_descriptor(kPwrite, descriptor);                  \
    if (strike > 0) return -1;                                                   \
    return REAL(name)(descriptor, bytes, count > 1 ? count / 2 : count, offset); \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int descriptor, const struct iovec* parts, int count) {
  if (strikes_descriptor(kWrite, descriptor) > 0) return -1;
  return REAL(writev)(descriptor, parts, count);
}

// oneDNN, which makes code at run time, does not survive that it cannot.
static int is_of_the_program(const void* caller) {
  Dl_info of_caller, of_program;
  return dladdr(caller, &of_caller) && dladdr((const void*)real_main, &of_program) &&
         of_caller.dli_fbase == of_program.dli_fbase;
}

#define MMAP(name, Offset)                                                          \
  void* name(void* address, size_t size, int protection, int flags, int descriptor, \
             Offset offset) {                                                       \
    const int root = descriptor >= 0 ? root_of_descriptor(descriptor)               \
                     : is_of_the_program(__builtin_return_address(0)) ? kAnywhere   \
                                                                      : -1;         \
    if (strikes(kMmap, root, NULL, descriptor) > 0) return MAP_FAILED;              \
    return REAL(name)(address, size, protection, flags, descriptor, offset);        \
  }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

// --- making it last
// --------------------------------------------------------------------------------------------------
int fsync(int descriptor) {
  if (strikes_descriptor(kFsync, descriptor) > 0) return -1;
  return REAL(fsync)(descriptor);
}

int fdatasync(int descriptor) {
  if (strikes_descriptor(kFdatasync, descriptor) > 0) return -1;
  return REAL(fdatasync)(descriptor);
}

// The descriptor is gone even where it fails.
int close(int descriptor) {
  const int strike = strikes_descriptor(kClose, descriptor);
  note(descriptor, -1, NULL);
  const int result = REAL(close)(descriptor);
  if (strike <= 0) return result;
  errno = strike;
  return -1;
}

#define FTRUNCATE(name, Offset)                                    \
  int name(int descriptor, Offset length) {                        \
    if (strikes_descriptor(kFtruncate, descriptor) > 0) return -1; \
    return REAL(name)(descriptor, length);                         \
  }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

int flock(int descriptor, int operation) {
  if (strikes_descriptor(kFlock, descriptor) > 0) return -1;
  return REAL(flock)(descriptor, operation);
}

#define FCNTL(name)                                                                            \
  int name(int descriptor, int command, ...) {                                                 \
    va_list more;                                                                              \
    va_start(more, command);                                                                   \
    void* argument = va_arg(more, void*);                                                      \
    va_end(more);                                                                              \
    const int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK ||   \
                      command == F_OFD_SETLKW || command == F_GETLK || command == F_OFD_GETLK; \
    if (locks && strikes_descriptor(kFcntl, descriptor) > 0) return -1;                        \
    const int result = REAL(name)(descriptor, command, argument);                              \
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && is_tracked(result)) {            \
      watched[result] = is_tracked(descriptor) ? watched[descriptor] : 0;                      \
    }                                                                                          \
    return result;                                                                             \
  }
FCNTL(fcntl)
FCNTL(fcntl64)

// --- names
// -----------------------------------------------------------------------------------------------------------
int link(const char* from, const char* to) {
  if (strikes_path(kLink, to) > 0) return -1;
  return REAL(link)(from, to);
}

int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) {
  if (strikes_at(kLink, to_directory, to) > 0) return -1;
  return REAL(linkat)(from_directory, from, to_directory, to, flags);
}

int rename(const char* from, const char* to) {
  if (strikes_path(kRename, to) > 0) return -1;
  return REAL(rename)(from, to);
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  if (strikes_at(kRename, to_directory, to) > 0) return -1;
  return REAL(renameat)(from_directory, from, to_directory, to);
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to,
              unsigned flags) {
  if (strikes_at(kRenameat2, to_directory, to) > 0) return -1;
  return REAL(renameat2)(from_directory, from, to_directory, to, flags);
}

int unlink(const char* path) {
  if (strikes_path(kUnlink, path) > 0) return -1;
  return REAL(unlink)(path);
}

int unlinkat(int directory, const char* path, int flags) {
  if (strikes_at(flags & AT_REMOVEDIR ? kRmdir : kUnlink, directory, path) > 0) return -1;
  return REAL(unlinkat)(directory, path, flags);
}

int mkdir(const char* path, mode_t mode) {
  if (strikes_path(kMkdir, path) > 0) return -1;
  return REAL(mkdir)(path, mode);
}

int mkdirat(int directory, const char* path, mode_t mode) {
  if (strikes_at(kMkdir, directory, path) > 0) return -1;
  return REAL(mkdirat)(directory, path, mode);
}

int rmdir(const char* path) {
  if (strikes_path(kRmdir, path) > 0) return -1;
  return REAL(rmdir)(path);
}

// --- threads and memory
// ----------------------------------------------------------------------------------------------
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) {
  const int strike = strikes(kPthreadCreate, kAnywhere, NULL, -1);
  if (strike > 0) return strike;
  return REAL(pthread_create)(thread, attributes, start, argument);
}

#ifndef FAULT_WITHOUT_MEMORY
// glibc's own names: dlsym() allocates, and cannot be asked for malloc.
extern void* __libc_malloc(size_t size);
extern void* __libc_calloc(size_t count, size_t size);
extern void* __libc_realloc(void* bytes, size_t size);
extern void* __libc_memalign(size_t alignment, size_t size);

// operator new calls malloc or aligned_alloc.
static int has_no_memory(size_t size) {
  const int strike = strikes(kMalloc, kAnywhere, NULL, -1);
  return strike > 0 || (size >= kLargeBytes && strikes(kMallocLarge, kAnywhere, NULL, -1) > 0);
}

void* malloc(size_t size) { return has_no_memory(size) ? NULL : __libc_malloc(size); }

void* calloc(size_t count, size_t size) {
  return has_no_memory(count * size) ? NULL : __libc_calloc(count, size);
}

void* realloc(void* bytes, size_t size) {
  return size && has_no_memory(size) ? NULL : __libc_realloc(bytes, size);
}

void* memalign(size_t alignment, size_t size) {
  return has_no_memory(size) ? NULL : __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** bytes, size_t alignment, size_t size) {
  void* const made = memalign(alignment, size);
  if (!made) return ENOMEM;
  *bytes = made;
  return 0;
}
#endif
