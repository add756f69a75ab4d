// Counters of the recording CUDA driver, and the report that is written of them.
//
//   RECORDER_OUT     the file the report goes to when the program ends, standard error unless set
//   RECORDER_FAULTS  `abort` stops the program at the first misuse
#define _GNU_SOURCE
#include "books.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Counter {
    char* name;
    uint64_t count, amount;
    uint64_t marked_count, marked_amount;  // at the last mark
};

typedef struct {
    Counter** entries;
    size_t used, room;
} Table;

static const struct {
    const char *title, *unit;
} books[NUM_BOOKS] = {{"launches", "blocks"},
                      {"matrix products", "operations"},
                      {"copies", "bytes"},
                      {"other calls", ""},
                      {"not here, answered with an error", ""}};
static Table tables[NUM_BOOKS];
static MemoryState marked_memory;
static uint64_t faults;
static FILE* out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static Counter* find(enum Book book, const char* name) {
    Table* table = &tables[book];
    for (size_t i = 0; i < table->used; ++i)
        if (strcmp(table->entries[i]->name, name) == 0) return table->entries[i];
    if (table->used == table->room) {
        table->room = table->room ? 2 * table->room : 64;
        table->entries = realloc(table->entries, table->room * sizeof(Counter*));
    }
    Counter* counter = calloc(1, sizeof(Counter));
    counter->name = strdup(name);
    return table->entries[table->used++] = counter;
}

Counter* book_counter(enum Book book, const char* name) {
    pthread_mutex_lock(&lock);
    Counter* counter = find(book, name);
    pthread_mutex_unlock(&lock);
    return counter;
}

const char* book_name(const Counter* counter) { return counter->name; }

void book_add(Counter* counter, uint64_t amount) {
    pthread_mutex_lock(&lock);
    ++counter->count;
    counter->amount += amount;
    pthread_mutex_unlock(&lock);
}

void book_count(enum Book book, const char* name, uint64_t amount) { book_add(book_counter(book, name), amount); }

void book_fault(const char* what, Pointer at, size_t bytes) {
    const char* mode = getenv("RECORDER_FAULTS");
    pthread_mutex_lock(&lock);
    // The first few are enough to find the cause.
    if (faults++ < 20) fprintf(stderr, "recorder: %s (0x%" PRIx64 ", %zu bytes)\n", what, at, bytes);
    pthread_mutex_unlock(&lock);
    if (mode && strcmp(mode, "abort") == 0) abort();
}

static const char IDLE_WAITS[] = "the host waits for all that was launched";

void book_idle_wait(void) {
    book_count(CALLS, IDLE_WAITS, 0);
}

uint64_t book_launches(void) {
    pthread_mutex_lock(&lock);
    uint64_t launches = 0;
    for (size_t i = 0; i < tables[LAUNCHES].used; ++i) launches += tables[LAUNCHES].entries[i]->count;
    pthread_mutex_unlock(&lock);
    return launches;
}

Handle fresh_handle(void) { return calloc(1, 16); }

Result recorder_missing(const char* name) {
    book_count(MISSING, name, 0);
    // Each library has its own word for "not supported", "internal error".
    if (strncmp(name, "cublas", 6) == 0) return 15;
    if (strncmp(name, "curand", 6) == 0) return 999;
    if (strncmp(name, "nvrtc", 5) == 0) return 11;
    return NOT_SUPPORTED;
}

// --------------------------------------------------------------------------------------------------------- the report

static uint64_t count_of(const Counter* counter, int part) {
    return counter->count - (part ? counter->marked_count : 0);
}

static uint64_t amount_of(const Counter* counter, int part) {
    return counter->amount - (part ? counter->marked_amount : 0);
}

static int by_count(const void* a, const void* b) {
    const Counter *left = *(Counter* const*)a, *right = *(Counter* const*)b;
    if (left->count != right->count) return left->count < right->count ? 1 : -1;
    return strcmp(left->name, right->name);
}

static void total(const char* name, uint64_t value) { fprintf(out, "total %s %" PRIu64 "\n", name, value); }

static void total_of(const char* name, enum Book book, const char* counter, int part, int amount) {
    const Counter* found = find(book, counter);
    total(name, amount ? amount_of(found, part) : count_of(found, part));
}

static void write_totals(int part) {
    uint64_t counts[NUM_BOOKS] = {0}, amounts[NUM_BOOKS] = {0};
    for (int book = 0; book < NUM_BOOKS; ++book)
        for (size_t i = 0; i < tables[book].used; ++i) {
            counts[book] += count_of(tables[book].entries[i], part);
            amounts[book] += amount_of(tables[book].entries[i], part);
        }
    const MemoryState memory = memory_state(), none = {0}, since = part ? marked_memory : none;
    total("launches", counts[LAUNCHES]);
    total("products", counts[PRODUCTS]);
    total("product_operations", amounts[PRODUCTS]);
    total_of("copies_to_device", COPIES, "host to device", part, 0);
    total_of("bytes_to_device", COPIES, "host to device", part, 1);
    total_of("copies_to_host", COPIES, "device to host", part, 0);
    total_of("bytes_to_host", COPIES, "device to host", part, 1);
    total_of("copies_on_device", COPIES, "device to device", part, 0);
    total_of("bytes_on_device", COPIES, "device to device", part, 1);
    total_of("memsets", COPIES, "memset", part, 0);
    total_of("events", CALLS, "cuEventCreate", part, 0);
    total_of("stream_waits", CALLS, "cuStreamWaitEvent", part, 0);
    total_of("synchronizations", CALLS, "cuStreamSynchronize", part, 0);
    total_of("idle_waits", CALLS, IDLE_WAITS, part, 0);
    total("allocations", memory.allocations - since.allocations);
    total("allocated_bytes", memory.allocated_bytes - since.allocated_bytes);
    total("pool_trims", memory.trims - since.trims);
    total("pool_trimmed_bytes", memory.trimmed_bytes - since.trimmed_bytes);
    total("live_bytes", memory.live_bytes);
    total("peak_bytes", memory.peak_bytes);
    total("reserved_peak_bytes", memory.reserved_peak_bytes);
    total("missing", counts[MISSING]);
    total("faults", faults);
}

static void write_table(enum Book book, int part) {
    Table* table = &tables[book];
    qsort(table->entries, table->used, sizeof(Counter*), by_count);
    int begun = 0;
    for (size_t i = 0; i < table->used; ++i) {
        const Counter* counter = table->entries[i];
        if (count_of(counter, part) == 0) continue;
        if (!begun++) fprintf(out, "%s: times, %s\n", books[book].title, *books[book].unit ? books[book].unit : "-");
        fprintf(out, "  %10" PRIu64 " %18" PRIu64 "  %s\n", count_of(counter, part), amount_of(counter, part),
                counter->name);
    }
}

static void write_report(const char* name, int part) {
    if (!out) {
        const char* path = getenv("RECORDER_OUT");
        out = path ? fopen(path, "w") : NULL;
        if (!out) out = stderr;
    }
    fprintf(out, "==== %s\n", name);
    write_totals(part);
    for (int book = 0; book < NUM_BOOKS; ++book) write_table((enum Book)book, part);
    fflush(out);
}

void recorder_mark(const char* name) {
    pthread_mutex_lock(&lock);
    write_report(name, 1);
    for (int book = 0; book < NUM_BOOKS; ++book)
        for (size_t i = 0; i < tables[book].used; ++i) {
            Counter* counter = tables[book].entries[i];
            counter->marked_count = counter->count;
            counter->marked_amount = counter->amount;
        }
    marked_memory = memory_state();
    memory_restart_peak();
    pthread_mutex_unlock(&lock);
}

__attribute__((destructor)) static void end_of_program(void) {
    size_t used = 0;
    for (int book = 0; book < NUM_BOOKS; ++book) used += tables[book].used;
    // A program that never asked for a card, `--version` say, leaves no report.
    if (used == 0) return;
    pthread_mutex_lock(&lock);
    write_report("whole run", 0);
    pthread_mutex_unlock(&lock);
}
