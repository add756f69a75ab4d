// Memory of the recording CUDA driver: addresses with nothing behind them, a pool's books, copies of zeros.
//
// A driver that executes has memory of the host behind its addresses instead, and copies are copies.
//
// Addresses are handed out once and never again, so a use after a free is seen. An allocation counts in whole units of
// 512 bytes, as a card's does. The pool behind cuMemAllocAsync is modelled by two numbers: what is used, and what is
// reserved of the card. Reserved grows with the peak of used; where the host waits for the device it falls to the
// larger of used and the release threshold, which is what "given back to the driver" costs on a card, to be asked for
// again by the next step.
//
//   RECORDER_MEMORY  bytes of the card, 80 GB unless set; beyond them allocations fail as on a card
#include "books.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { UNIT = 512 };

typedef struct {
    Pointer at;
    size_t bytes;
    char live, pooled;
} Block;

static Block* blocks;  // ascending by address
static size_t num_blocks, num_dead, room;
static Pointer next_address = 0x100000000000ull;
static MemoryState state;
static uint64_t pool_used, pool_used_peak, release_threshold;
static char pool_object;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t capacity(void) {
    const char* text = getenv("RECORDER_MEMORY");
    return text ? strtoull(text, NULL, 10) : 80000000000ull;
}

static uint64_t whole(size_t bytes) { return ((uint64_t)bytes + UNIT - 1) / UNIT * UNIT; }

// What the card has given away: the pool with all it keeps, and what was allocated beside it.
static uint64_t taken(void) { return state.reserved_bytes + state.live_bytes - pool_used; }

// The last block that starts at or before `at`.
static Block* block_at(Pointer at) {
    size_t low = 0, high = num_blocks;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (blocks[middle].at <= at) low = middle + 1;
        else high = middle;
    }
    return low ? &blocks[low - 1] : NULL;
}

static void forget_the_dead(void) {
    // An executor may hand an address out again, which must not be found dead.
    if (!executor_release && (num_dead < 1024 || 2 * num_dead < num_blocks)) return;
    size_t kept = 0;
    for (size_t i = 0; i < num_blocks; ++i)
        if (blocks[i].live) blocks[kept++] = blocks[i];
    num_blocks = kept;
    num_dead = 0;
}

static Result allocate(Pointer* at, size_t bytes, char pooled) {
    // The driver refuses an allocation of nothing by cuMemAlloc and gives the pool's address 0.
    if (!at) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    const uint64_t more = whole(bytes);
    if (state.live_bytes + more > capacity()) {
        pthread_mutex_unlock(&lock);
        book_count(CALLS, "allocation refused, out of memory", 0);
        return OUT_OF_MEMORY;
    }
    if (num_blocks == room) {
        room = room ? 2 * room : 1024;
        blocks = realloc(blocks, room * sizeof(Block));
    }
    if (executor_allocate) {
        *at = executor_allocate(bytes);
    } else {
        *at = next_address;
        // A gap of a unit: a copy past the end of one allocation does not reach the next.
        next_address += more + UNIT;
    }
    // Addresses ascend unless an executor hands out those of the host.
    size_t place = num_blocks++;
    for (; place > 0 && blocks[place - 1].at > *at; --place) blocks[place] = blocks[place - 1];
    blocks[place] = (Block){*at, bytes, 1, pooled};
    ++state.allocations;
    ++state.live;
    state.allocated_bytes += bytes;
    state.live_bytes += more;
    if (state.live_bytes > state.peak_bytes) state.peak_bytes = state.live_bytes;
    if (pooled) {
        pool_used += more;
        if (pool_used > pool_used_peak) pool_used_peak = pool_used;
        if (pool_used > state.reserved_bytes) state.reserved_bytes = pool_used;
    }
    if (taken() > state.reserved_peak_bytes) state.reserved_peak_bytes = taken();
    pthread_mutex_unlock(&lock);
    return OK;
}

static Result release(Pointer at) {
    if (at == 0) return OK;
    pthread_mutex_lock(&lock);
    Block* block = block_at(at);
    if (!block || block->at != at || !block->live) {
        pthread_mutex_unlock(&lock);
        book_fault("free of what is not allocated", at, 0);
        return INVALID_VALUE;
    }
    block->live = 0;
    --state.live;
    state.live_bytes -= whole(block->bytes);
    if (block->pooled) pool_used -= whole(block->bytes);
    ++num_dead;
    if (executor_release) executor_release(at);
    forget_the_dead();
    pthread_mutex_unlock(&lock);
    return OK;
}

MemoryState memory_state(void) {
    pthread_mutex_lock(&lock);
    const MemoryState copy = state;
    pthread_mutex_unlock(&lock);
    return copy;
}

void memory_restart_peak(void) {
    pthread_mutex_lock(&lock);
    state.peak_bytes = state.live_bytes;
    pthread_mutex_unlock(&lock);
}

void memory_check(const char* what, Pointer at, size_t bytes) {
    if (bytes == 0) return;
    pthread_mutex_lock(&lock);
    const Block* block = block_at(at);
    const int inside = block && block->live && at + bytes <= block->at + block->bytes;
    pthread_mutex_unlock(&lock);
    if (!inside) book_fault(what, at, bytes);
}

static void shrink_pool(uint64_t keep) {
    const uint64_t left = pool_used > keep ? pool_used : keep;
    if (left >= state.reserved_bytes) return;
    ++state.trims;
    state.trimmed_bytes += state.reserved_bytes - left;
    state.reserved_bytes = left;
}

void memory_synchronized(void) {
    pthread_mutex_lock(&lock);
    shrink_pool(release_threshold);
    pthread_mutex_unlock(&lock);
}

// -------------------------------------------------------------------------------------------------------- allocations

Result cuMemAlloc_v2(Pointer* at, size_t bytes) { return allocate(at, bytes, 0); }

Result cuMemAllocAsync(Pointer* at, size_t bytes, Handle stream) {
    (void)stream;
    return allocate(at, bytes, 1);
}

Result cuMemAllocFromPoolAsync(Pointer* at, size_t bytes, Handle pool, Handle stream) {
    (void)pool, (void)stream;
    return allocate(at, bytes, 1);
}

Result cuMemFree_v2(Pointer at) { return release(at); }

Result cuMemFreeAsync(Pointer at, Handle stream) {
    (void)stream;
    return release(at);
}

Result cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
    pthread_mutex_lock(&lock);
    *total_bytes = capacity();
    *free_bytes = *total_bytes > taken() ? *total_bytes - taken() : 0;
    pthread_mutex_unlock(&lock);
    return OK;
}

Result cuDeviceTotalMem_v2(size_t* bytes, int device) {
    (void)device;
    *bytes = capacity();
    return OK;
}

// Memory of the host that a copy reaches without the host's help.
enum { MOST_PINNED = 256 };
static struct {
    char* at;
    size_t bytes;
} pinned[MOST_PINNED];

Result cuMemHostAlloc(void** at, size_t bytes, unsigned flags) {
    (void)flags;
    *at = calloc(1, bytes ? bytes : 1);
    book_count(CALLS, "cuMemHostAlloc", bytes);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST_PINNED; ++i)
        if (!pinned[i].at) {
            pinned[i].at = *at;
            pinned[i].bytes = bytes;
            break;
        }
    pthread_mutex_unlock(&lock);
    return *at ? OK : OUT_OF_MEMORY;
}

Result cuMemFreeHost(void* at) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST_PINNED; ++i)
        if (pinned[i].at == at) pinned[i].at = NULL;
    pthread_mutex_unlock(&lock);
    free(at);
    return OK;
}

static int is_pinned(const char* at, size_t bytes) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST_PINNED; ++i)
        found |= pinned[i].at && pinned[i].at <= at && at + bytes <= pinned[i].at + pinned[i].bytes;
    pthread_mutex_unlock(&lock);
    return found;
}

// --------------------------------------------------------------------------------------------------------------- pools

Result cuDeviceGetDefaultMemPool(Handle* pool, int device) {
    (void)device;
    *pool = &pool_object;
    return OK;
}

Result cuDeviceGetMemPool(Handle* pool, int device) { return cuDeviceGetDefaultMemPool(pool, device); }

Result cuMemPoolTrimTo(Handle pool, size_t keep) {
    (void)pool;
    pthread_mutex_lock(&lock);
    shrink_pool(keep);
    pthread_mutex_unlock(&lock);
    return OK;
}

enum { RELEASE_THRESHOLD = 4, RESERVED = 5, RESERVED_HIGH = 6, USED = 7, USED_HIGH = 8 };

Result cuMemPoolSetAttribute(Handle pool, int attribute, void* value) {
    (void)pool;
    if (attribute == RELEASE_THRESHOLD) {
        pthread_mutex_lock(&lock);
        memcpy(&release_threshold, value, sizeof release_threshold);
        pthread_mutex_unlock(&lock);
    }
    return OK;
}

Result cuMemPoolGetAttribute(Handle pool, int attribute, void* value) {
    (void)pool;
    pthread_mutex_lock(&lock);
    uint64_t answer = 0;
    int known = 1;
    switch (attribute) {
        case RELEASE_THRESHOLD: answer = release_threshold; break;
        case RESERVED: answer = state.reserved_bytes; break;
        case RESERVED_HIGH: answer = state.reserved_peak_bytes; break;
        case USED: answer = pool_used; break;
        case USED_HIGH: answer = pool_used_peak; break;
        default: known = 0;
    }
    pthread_mutex_unlock(&lock);
    if (!known) return recorder_missing("cuMemPoolGetAttribute of that attribute");
    memcpy(value, &answer, sizeof answer);
    return OK;
}

// -------------------------------------------------------------------------------------------------------------- copies

static void write_memory(Pointer to, const void* from, size_t bytes) {
    if (!executor_allocate) return;
    memmove((void*)to, from, bytes);
    executor_written(to, bytes);
}

Result cuMemcpyHtoD_v2(Pointer to, const void* from, size_t bytes) {
    memory_check("copy to the device past what is allocated", to, bytes);
    write_memory(to, from, bytes);
    book_count(COPIES, "host to device", bytes);
    return OK;
}

Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, Handle stream) {
    (void)stream;
    return cuMemcpyHtoD_v2(to, from, bytes);
}

static Result copy_to_host(void* to, Pointer from, size_t bytes) {
    memory_check("copy from the device past what is allocated", from, bytes);
    if (executor_allocate) memcpy(to, (const void*)from, bytes);
    else memset(to, 0, bytes);
    book_count(COPIES, "device to host", bytes);
    return OK;
}

Result cuMemcpyDtoH_v2(void* to, Pointer from, size_t bytes) {
    book_idle_wait();
    return copy_to_host(to, from, bytes);
}

// Into memory that is not pinned it ends before it returns, as on a card.
Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, Handle stream) {
    (void)stream;
    if (!is_pinned(to, bytes)) book_idle_wait();
    return copy_to_host(to, from, bytes);
}

Result cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t bytes) {
    memory_check("copy on the device to what is not allocated", to, bytes);
    memory_check("copy on the device from what is not allocated", from, bytes);
    write_memory(to, (const void*)from, bytes);
    book_count(COPIES, "device to device", bytes);
    return OK;
}

Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, Handle stream) {
    (void)stream;
    return cuMemcpyDtoD_v2(to, from, bytes);
}

Result cuMemsetD8_v2(Pointer to, unsigned char value, size_t bytes) {
    memory_check("memset past what is allocated", to, bytes);
    if (executor_allocate) {
        memset((void*)to, value, bytes);
        executor_written(to, bytes);
    }
    book_count(COPIES, "memset", bytes);
    return OK;
}

Result cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, Handle stream) {
    (void)stream;
    return cuMemsetD8_v2(to, value, bytes);
}
