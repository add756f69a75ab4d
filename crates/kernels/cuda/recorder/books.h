// Counters of the recording CUDA driver, and the report that is written of them.
//
// Each call of a program ends in one of the tables below: a name with how often it was seen and an amount whose unit
// the table has. The report lists them under totals of one line each (`total NAME VALUE`), which scripts read.
#ifndef RECORDER_BOOKS_H
#define RECORDER_BOOKS_H

#include <stddef.h>
#include <stdint.h>

// What the driver answers, by the numbers of cuda.h.
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, NOT_FOUND = 500, LAUNCH_FAILED = 719,
       NOT_SUPPORTED = 801 };
typedef int Result;
typedef uint64_t Pointer;  // an address of the device
typedef void* Handle;

typedef struct Counter Counter;
enum Book {
    LAUNCHES,  // by kernel; blocks
    PRODUCTS,  // by library, types, transposition and shape; operations
    COPIES,    // by direction; bytes
    CALLS,     // everything else that costs time, by name
    MISSING,   // what was asked for and is not here
    NUM_BOOKS
};

// The counter of a name, made where there is none. It stays where it is.
Counter* book_counter(enum Book book, const char* name);
const char* book_name(const Counter* counter);
// Counts one more, of this amount.
void book_add(Counter* counter, uint64_t amount);
void book_count(enum Book book, const char* name, uint64_t amount);

// A misuse that a card would punish, if at all, with wrong numbers or an error much later.
void book_fault(const char* what, Pointer at, size_t bytes);

// An object without content, for handles.
Handle fresh_handle(void);

// What memory.c knows, for the report.
typedef struct {
    uint64_t allocations, allocated_bytes, live, live_bytes, peak_bytes;
    uint64_t reserved_bytes, reserved_peak_bytes, trims, trimmed_bytes;
} MemoryState;
MemoryState memory_state(void);
void memory_restart_peak(void);
// Checks that `bytes` from `at` on lie in one live allocation.
void memory_check(const char* what, Pointer at, size_t bytes);
// The host waits for the device: the moment at which a pool gives memory back.
void memory_synchronized(void);

// The host waits, and there is nothing left for the device to do meanwhile (`idle_waits` of the report).
void book_idle_wait(void);
// Launches of kernels so far.
uint64_t book_launches(void);

// Ends a part of the run: its own counts are written under this name. A program finds it by dlsym.
void recorder_mark(const char* name);
// What a driver that is built to execute has besides (../executor); null in one that only counts.
__attribute__((weak)) Pointer executor_allocate(size_t bytes);
__attribute__((weak)) void executor_release(Pointer at);
__attribute__((weak)) void executor_written(Pointer at, size_t bytes);
__attribute__((weak)) int executor_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared,
                                          void** arguments);
__attribute__((weak)) void executor_product(int transpose_a, int transpose_b, int m, int n, int k, const void* alpha,
                                            const void* a, int type_a, int lead_a, long long stride_a, const void* b,
                                            int type_b, int lead_b, long long stride_b, const void* beta, void* c,
                                            int type_c, int lead_c, long long stride_c, int batch);

// Where names end that the recorder does not define (build.sh makes them from cudarc's declarations).
Result recorder_missing(const char* name);

#endif
