// The recording CUDA driver itself: one device, its context, streams and events, modules and launches.
//
// A kernel is the names of its module and its own: no module's code is read, so any text loads and any name is found in
// it. A launch counts for the kernel by name, with its blocks, and is refused where a card of compute capability 9.0 would refuse its shape.
#define _GNU_SOURCE
#include "books.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char context_object;
static __thread Handle current;

// ------------------------------------------------------------------------------------------------- device and context

Result cuInit(unsigned flags) {
    (void)flags;
    return OK;
}

Result cuDriverGetVersion(int* version) {
    *version = 13000;
    return OK;
}

Result cuDeviceGetCount(int* count) {
    *count = 1;
    return OK;
}

Result cuDeviceGet(int* device, int number) {
    if (number != 0) return INVALID_DEVICE;
    *device = 0;
    return OK;
}

// RECORDER_NAME: what the card is called, for programs that look a card up by its name.
Result cuDeviceGetName(char* name, int length, int device) {
    (void)device;
    const char* given = getenv("RECORDER_NAME");
    snprintf(name, (size_t)length, "%s", given ? given : "recorder");
    return OK;
}

Result cuDeviceGetUuid_v2(void* uuid, int device) {
    (void)device;
    memset(uuid, 7, 16);
    return OK;
}

Result cuDeviceGetUuid(void* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }

enum { SHARED_OF_BLOCK = 232448, THREADS_OF_BLOCK = 1024 };

// Attributes by the numbers of cuda.h; the values are an H100's.
Result cuDeviceGetAttribute(int* value, int attribute, int device) {
    (void)device;
    switch (attribute) {
        case 1: case 2: case 3: *value = THREADS_OF_BLOCK; break;  // threads of a block, its x, its y
        case 4: *value = 64; break;                                // its z
        case 5: *value = 2147483647; break;                        // blocks of a grid, x
        case 6: case 7: *value = 65535; break;                     // y, z
        case 8: *value = 49152; break;                             // shared memory of a block
        case 10: *value = 32; break;                               // threads of a warp
        case 12: *value = 65536; break;                            // registers of a block
        case 16: *value = 132; break;                              // multiprocessors
        case 39: *value = 2048; break;                             // threads of a multiprocessor
        case 75: *value = 9; break;                                // compute capability
        case 76: *value = 0; break;                                // its minor number
        case 81: *value = 233472; break;                           // shared memory of a multiprocessor
        case 97: *value = SHARED_OF_BLOCK; break;                  // shared memory of a block that asks for it
        case 115: *value = 1; break;                               // memory pools
        default: *value = 0;
    }
    return OK;
}

Result cuDevicePrimaryCtxRetain(Handle* context, int device) {
    (void)device;
    *context = &context_object;
    return OK;
}

Result cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    return OK;
}

Result cuCtxSetCurrent(Handle context) {
    current = context;
    return OK;
}

Result cuCtxGetCurrent(Handle* context) {
    *context = current;
    return OK;
}

Result cuCtxPushCurrent_v2(Handle context) { return cuCtxSetCurrent(context); }

Result cuCtxPopCurrent_v2(Handle* context) { return cuCtxGetCurrent(context); }

Result cuCtxSynchronize(void) {
    book_count(CALLS, "cuCtxSynchronize", 0);
    book_idle_wait();
    memory_synchronized();
    return OK;
}

Result cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return OK;
}

// ------------------------------------------------------------------------------------------------- streams and events

Result cuStreamCreate(Handle* stream, unsigned flags) {
    (void)flags;
    *stream = fresh_handle();
    book_count(CALLS, "cuStreamCreate", 0);
    return OK;
}

Result cuStreamCreateWithPriority(Handle* stream, unsigned flags, int priority) {
    (void)priority;
    return cuStreamCreate(stream, flags);
}

Result cuStreamDestroy_v2(Handle stream) {
    free(stream);
    return OK;
}

Result cuStreamSynchronize(Handle stream) {
    (void)stream;
    book_count(CALLS, "cuStreamSynchronize", 0);
    book_idle_wait();
    memory_synchronized();
    return OK;
}

Result cuStreamWaitEvent(Handle stream, Handle event, unsigned flags) {
    (void)stream, (void)event, (void)flags;
    book_count(CALLS, "cuStreamWaitEvent", 0);
    return OK;
}

Result cuStreamIsCapturing(Handle stream, int* status) {
    (void)stream;
    *status = 0;
    return OK;
}

Result cuEventCreate(Handle* event, unsigned flags) {
    (void)flags;
    *event = fresh_handle();
    book_count(CALLS, "cuEventCreate", 0);
    return OK;
}

// An event knows how much had been launched when it was recorded.
Result cuEventRecord(Handle event, Handle stream) {
    (void)stream;
    *(uint64_t*)event = book_launches();
    book_count(CALLS, "cuEventRecord", 0);
    return OK;
}

Result cuEventSynchronize(Handle event) {
    book_count(CALLS, "cuEventSynchronize", 0);
    if (*(uint64_t*)event == book_launches()) book_idle_wait();
    memory_synchronized();
    return OK;
}

Result cuEventQuery(Handle event) {
    (void)event;
    return OK;
}

Result cuEventElapsedTime_v2(float* milliseconds, Handle start, Handle end) {
    (void)start, (void)end;
    *milliseconds = 0;
    return OK;
}

Result cuEventElapsedTime(float* milliseconds, Handle start, Handle end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

Result cuEventDestroy_v2(Handle event) {
    free(event);
    return OK;
}

// -------------------------------------------------------------------------------------------------------------- errors

Result cuGetErrorName(Result error, const char** text) {
    switch (error) {
        case OK: *text = "CUDA_SUCCESS"; break;
        case OUT_OF_MEMORY: *text = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case INVALID_DEVICE: *text = "CUDA_ERROR_INVALID_DEVICE"; break;
        case NOT_SUPPORTED: *text = "CUDA_ERROR_NOT_SUPPORTED"; break;
        default: *text = "CUDA_ERROR";
    }
    return OK;
}

Result cuGetErrorString(Result error, const char** text) {
    switch (error) {
        case OUT_OF_MEMORY: *text = "out of memory"; break;
        case INVALID_DEVICE: *text = "invalid device ordinal"; break;
        case NOT_SUPPORTED: *text = "the recording driver has no such call"; break;
        default: *text = "an error of the recording driver";
    }
    return OK;
}

// The way of the CUDA runtime to the driver.
Result cuGetProcAddress_v2(const char* symbol, void** function, int version, uint64_t flags, int* status) {
    (void)version, (void)flags;
    static const char* const suffixes[] = {"_v4", "_v3", "_v2", ""};
    *function = NULL;
    for (int i = 0; i < 4 && !*function; ++i) {
        char name[256];
        snprintf(name, sizeof name, "%s%s", symbol, suffixes[i]);
        *function = dlsym(RTLD_DEFAULT, name);
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? OK : NOT_FOUND;
}

// ------------------------------------------------------------------------------------------------ modules and launches

enum { MODULE_NAME = 64 };

Result cuModuleLoadData(Handle* module, const void* image) {
    // What nvcc of this folder writes names the module; a kernel's name alone may be in several.
    char* name = calloc(1, MODULE_NAME);
    if (sscanf(image, "// %63[a-z_], without code", name) != 1) *name = 0;
    *module = name;
    book_count(CALLS, "cuModuleLoadData", 0);
    return OK;
}

Result cuModuleLoad(Handle* module, const char* path) { return cuModuleLoadData(module, path); }

Result cuModuleUnload(Handle module) {
    free(module);
    return OK;
}

Result cuModuleGetFunction(Handle* function, Handle module, const char* name) {
    char text[256];
    snprintf(text, sizeof text, "%s%s%s", (const char*)module, *(const char*)module ? "/" : "", name);
    *function = book_counter(LAUNCHES, text);
    return OK;
}

Result cuLaunchKernel(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, Handle stream, void** arguments,
                      void** extra) {
    (void)stream, (void)extra;
    const uint64_t blocks = (uint64_t)grid_x * grid_y * grid_z, threads = (uint64_t)block_x * block_y * block_z;
    if (!function || blocks == 0 || threads == 0 || threads > THREADS_OF_BLOCK || block_z > 64 || grid_y > 65535 ||
        grid_z > 65535 || shared > SHARED_OF_BLOCK) {
        book_fault("a launch that a card would refuse", grid_x, shared);
        return INVALID_VALUE;
    }
    const unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
    book_add(function, blocks);
    if (executor_launch) {
        if (!executor_launch(book_name(function), grid, block, shared, arguments)) return LAUNCH_FAILED;
    }
    return OK;
}

Result cuLaunchCooperativeKernel(Handle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                 unsigned block_y, unsigned block_z, unsigned shared, Handle stream, void** arguments) {
    return cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream, arguments, NULL);
}

Result cuFuncSetAttribute(Handle function, int attribute, int value) {
    (void)function, (void)attribute, (void)value;
    return OK;
}

Result cuFuncGetAttribute(int* value, int attribute, Handle function) {
    (void)function, (void)attribute;
    *value = THREADS_OF_BLOCK;
    return OK;
}

Result cuFuncSetCacheConfig(Handle function, int config) {
    (void)function, (void)config;
    return OK;
}

Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Handle function, int threads, size_t shared) {
    (void)function, (void)threads, (void)shared;
    *blocks = 1;
    return OK;
}
