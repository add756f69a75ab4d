/* A disk that fails on purpose: counts the file operations of a process below a folder, and spoils one of them.
 *
 *   cc -O1 -shared -fPIC -o fault.so fault.c
 *   FAULT_UNDER=/folder FAULT_COUNT=count LD_PRELOAD=./fault.so memtrain ...                 only counts
 *   FAULT_UNDER=/folder FAULT_AT=17 FAULT_DO=kill LD_PRELOAD=./fault.so memtrain ...         dies before operation 17
 *
 *   FAULT_OPS     `changes` (default): opening for writing, writing, renaming, linking, removing, making folders, cutting,
 *                 flushing. `reads`: opening for reading, listing, reading
 *   FAULT_DO      kill   SIGKILL before the operation
 *                 torn   a write stores half of its bytes, then SIGKILL; other operations as `kill`
 *                 stop   SIGTERM before the operation, which is then done
 *                 short  a write or read does half of what it was asked for
 *                 a number: the operation fails with this errno
 *   FAULT_STICKY  1: all operations from FAULT_AT on, for a disk that stays full
 *   FAULT_COUNT   file that receives the number of operations, 8 bytes, also when the process is killed
 *   FAULT_LOG     file that receives a line for each operation: number of the system call, path
 *   FAULT_CLOCK   1: the time of day jumps by ten years, forth and back, each time it is asked for
 *
 * A seccomp filter turns the system calls into SIGSYS, wherever they are made: in the C library, in the program, or in
 * assembly of its own, as rustix makes them. The handler makes them again from `plain`, the one place that the filter lets
 * through. x86-64 Linux alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PATH_BYTES 4096

long plain(long number, long a, long b, long c, long d, long e, long f);
extern char plain_return[];
__asm__(".text\n.hidden plain\n.hidden plain_return\nplain:\n"
        "mov %rdi, %rax\nmov %rsi, %rdi\nmov %rdx, %rsi\nmov %rcx, %rdx\nmov %r8, %r10\nmov %r9, %r8\nmov 8(%rsp), %r9\n"
        "syscall\nplain_return:\nret\n");

enum action { COUNT, KILL, TORN, STOP, SHORT, FAIL };

static const int changes[] = {SYS_open, SYS_openat, SYS_creat, SYS_write, SYS_pwrite64, SYS_writev, SYS_sendfile,
                              SYS_copy_file_range, SYS_rename, SYS_renameat, SYS_renameat2, SYS_link, SYS_linkat,
                              SYS_symlink, SYS_symlinkat, SYS_unlink, SYS_unlinkat, SYS_rmdir, SYS_mkdir, SYS_mkdirat,
                              SYS_truncate, SYS_ftruncate, SYS_fallocate, SYS_fsync, SYS_fdatasync};
static const int reads[] = {SYS_open, SYS_openat, SYS_read, SYS_pread64, SYS_readv, SYS_getdents64};

static const char *under;
static size_t under_bytes;
static enum action action;
static int failure, wants_reads, is_sticky, log_fd = -1;
static uint64_t at, own_count, *count = &own_count;

static long descriptor_path(long fd, char *path) {
    char link[32] = "/proc/self/fd/";
    char digits[20];
    int n = 0, length = 14;
    do digits[n++] = '0' + fd % 10; while ((fd /= 10) > 0);
    while (n > 0) link[length++] = digits[--n];
    link[length] = 0;
    return plain(SYS_readlink, (long)link, (long)path, PATH_BYTES - 1, 0, 0, 0);
}

/* Makes a path absolute; gives its length, or a negative number. */
static long absolute(long folder, const char *name, char *path) {
    long length = 0;
    if (!name) return -1;
    if (name[0] != '/') {
        length = (int)folder == AT_FDCWD ? plain(SYS_getcwd, (long)path, PATH_BYTES, 0, 0, 0, 0) - 1 : descriptor_path(folder, path);
        if (length < 0) return length;
        path[length++] = '/';
    }
    size_t rest = strlen(name);
    if (length + rest >= PATH_BYTES) return -1;
    memcpy(path + length, name, rest);
    return length + rest;
}

/* The path that a system call is about, or a negative number if it is none that counts. */
static long path_of(long number, const long *arguments, char *path) {
    const long first = arguments[0], second = arguments[1];
    int flags = 0;
    switch (number) {
    case SYS_open: flags = second; break;
    case SYS_openat: flags = arguments[2]; break;
    case SYS_creat: flags = O_WRONLY; break;
    }
    int is_open = number == SYS_open || number == SYS_openat || number == SYS_creat;
    int is_for_writing = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    if (is_open && is_for_writing == wants_reads) return -1;
    switch (number) {
    case SYS_open: case SYS_creat: case SYS_unlink: case SYS_rmdir: case SYS_mkdir: case SYS_truncate:
        return absolute(AT_FDCWD, (const char *)first, path);
    case SYS_openat: case SYS_unlinkat: case SYS_mkdirat:
        return absolute(first, (const char *)second, path);
    case SYS_rename: case SYS_link: case SYS_symlink:
        return absolute(AT_FDCWD, (const char *)second, path);
    case SYS_symlinkat:
        return absolute(second, (const char *)arguments[2], path);
    case SYS_renameat: case SYS_renameat2: case SYS_linkat:
        return absolute(arguments[2], (const char *)arguments[3], path);
    case SYS_copy_file_range:
        return descriptor_path(arguments[2], path);
    default:
        return descriptor_path(first, path);
    }
}

static long again(long number, const long *a) { return plain(number, a[0], a[1], a[2], a[3], a[4], a[5]); }

static void die(void) {
    plain(SYS_kill, plain(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0, 0);
    for (;;) plain(SYS_pause, 0, 0, 0, 0, 0, 0);
}

static void record(long number, const char *path, long length) {
    char line[PATH_BYTES + 8];
    int n = 0;
    line[n++] = '0' + number / 100;
    line[n++] = '0' + number / 10 % 10;
    line[n++] = '0' + number % 10;
    line[n++] = ' ';
    memcpy(line + n, path, length);
    line[n + length] = '\n';
    plain(SYS_write, log_fd, (long)line, n + length + 1, 0, 0, 0);
}

static long spoiled(long number, long *arguments) {
    int moves_bytes = number == SYS_write || number == SYS_pwrite64 || number == SYS_read || number == SYS_pread64;
    switch (action) {
    case TORN:
        if (number == SYS_write || number == SYS_pwrite64) {
            arguments[2] /= 2;
            again(number, arguments);
        }
        die();
        return 0;
    case KILL: die(); return 0;
    case STOP: plain(SYS_kill, plain(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGTERM, 0, 0, 0, 0); break;
    case SHORT: if (moves_bytes && arguments[2] > 1) arguments[2] /= 2; break;
    case FAIL: return -failure;
    case COUNT: break;
    }
    return again(number, arguments);
}

static void on_call(int signal, siginfo_t *info, void *context) {
    (void)signal;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    long number = info->si_syscall;
    long arguments[6] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                         registers[REG_R10], registers[REG_R8], registers[REG_R9]};
    char path[PATH_BYTES];
    long length = path_of(number, arguments, path);
    int counts = length >= (long)under_bytes && !memcmp(path, under, under_bytes) && (length == (long)under_bytes || path[under_bytes] == '/');
    if (!counts) {
        registers[REG_RAX] = again(number, arguments);
        return;
    }
    uint64_t place = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    if (log_fd >= 0) record(number, path, length);
    int is_spoiled = at && (place == at || (is_sticky && place > at));
    registers[REG_RAX] = is_spoiled ? spoiled(number, arguments) : again(number, arguments);
}

static void filter(const int *calls, size_t number) {
    struct sock_filter program[64];
    size_t n = 0;
    uint64_t allowed = (uint64_t)plain_return;
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer));
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed, 0, 3);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4);
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(allowed >> 32), 0, 1);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t call = 0; call < number; call++)
        program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[call], number - call, 0);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog whole = {.len = n, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole)) {
        static const char text[] = "fault: this kernel has no seccomp filters\n";
        _exit(write(2, text, sizeof text - 1) < 0 ? 97 : 96);
    }
}

__attribute__((constructor)) static void begin(void) {
    const char *text;
    if (!(under = getenv("FAULT_UNDER"))) return;
    under_bytes = strlen(under);
    if ((text = getenv("FAULT_AT"))) at = strtoull(text, 0, 10);
    if ((text = getenv("FAULT_STICKY"))) is_sticky = *text == '1';
    if ((text = getenv("FAULT_OPS"))) wants_reads = !strcmp(text, "reads");
    if ((text = getenv("FAULT_DO"))) {
        static const char *const names[] = {"count", "kill", "torn", "stop", "short"};
        action = FAIL;
        failure = atoi(text);
        for (int name = 0; name < 5; name++)
            if (!strcmp(text, names[name])) action = name;
    }
    if ((text = getenv("FAULT_COUNT"))) {
        int fd = open(text, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0 || ftruncate(fd, 8)) _exit(95);
        void *map = mmap(0, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) _exit(95);
        count = map;
        close(fd);
    }
    if ((text = getenv("FAULT_LOG"))) log_fd = open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    struct sigaction handler = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSYS, &handler, 0);
    if (wants_reads) filter(reads, sizeof reads / sizeof *reads);
    else filter(changes, sizeof changes / sizeof *changes);
}

/* The kernel's own answer comes without a system call, so this one is taken over by name. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int jumps = -1, asked;
    if (jumps < 0) {
        const char *text = getenv("FAULT_CLOCK");
        jumps = text && *text == '1';
    }
    long result = syscall(SYS_clock_gettime, clock, time);
    if (jumps && result == 0 && clock == CLOCK_REALTIME)
        time->tv_sec += (__atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED) % 2 ? 1 : -1) * 315360000L;
    return result;
}
