// Test of the recording CUDA driver: each counter by calls whose counts are known, by way of dlopen as cudarc may load
// it.
//
//   test FOLDER       with the libraries that build.sh made; prints `ok`, or what is wrong, and ends with 1
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

static void* library(const char* folder, const char* name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) fprintf(stderr, "%s\n", dlerror());
    CHECK(handle);
    return handle;
}
// A function of a library under its own name.
#define GET(handle, name, ...)                                      \
    int (*name)(__VA_ARGS__) = (int (*)(__VA_ARGS__))dlsym(handle, #name); \
    CHECK(name)

static char report_path[512], report[1 << 16];
static const char* read_report(void) {
    memset(report, 0, sizeof report);
    FILE* file = fopen(report_path, "r");
    CHECK(file && fread(report, 1, sizeof report - 1, file) > 0);
    fclose(file);
    return report;
}
static void expect(const char* text) {
    if (strstr(read_report(), text)) return;
    fprintf(stderr, "not in the report: %s\n%s", text, report);
    exit(1);
}
// The last part of the report alone.
static void expect_last(const char* text) {
    const char *part = read_report(), *next;
    while ((next = strstr(part + 1, "==== "))) part = next;
    if (strstr(part, text)) return;
    fprintf(stderr, "not in the last part: %s\n%s", text, part);
    exit(1);
}

int main(int argc, char** argv) {
    CHECK(argc == 2);
    snprintf(report_path, sizeof report_path, "%s/test-report.txt", argv[1]);
    setenv("RECORDER_OUT", report_path, 1);
    setenv("RECORDER_MEMORY", "1000000", 1);
    setenv("RECORDER_NAME", "NVIDIA H100 80GB HBM3", 1);
    void* cuda = library(argv[1], "libcuda.so.1");
    void* blas = library(argv[1], "libcublas.so.13");
    void* lt = library(argv[1], "libcublasLt.so.13");
    void* rand = library(argv[1], "libcurand.so.10");
    void* nvrtc = library(argv[1], "libnvrtc.so.13");
    library(argv[1], "libcudart.so.13");
    GET(cuda, cuInit, unsigned);
    GET(cuda, cuDeviceGetName, char*, int, int);
    GET(cuda, cuMemAlloc_v2, uint64_t*, size_t);
    GET(cuda, cuMemFree_v2, uint64_t);
    GET(cuda, cuMemAllocAsync, uint64_t*, size_t, void*);
    GET(cuda, cuMemFreeAsync, uint64_t, void*);
    GET(cuda, cuMemGetInfo_v2, size_t*, size_t*);
    GET(cuda, cuMemPoolSetAttribute, void*, int, void*);
    GET(cuda, cuMemPoolGetAttribute, void*, int, void*);
    GET(cuda, cuStreamSynchronize, void*);
    GET(cuda, cuEventCreate, void**, unsigned);
    GET(cuda, cuEventRecord, void*, void*);
    GET(cuda, cuEventSynchronize, void*);
    GET(cuda, cuMemHostAlloc, void**, size_t, unsigned);
    GET(cuda, cuMemFreeHost, void*);
    GET(cuda, cuMemcpyDtoHAsync_v2, void*, uint64_t, size_t, void*);
    GET(cuda, cuMemcpyHtoD_v2, uint64_t, const void*, size_t);
    GET(cuda, cuMemcpyDtoH_v2, void*, uint64_t, size_t);
    GET(cuda, cuMemcpyDtoDAsync_v2, uint64_t, uint64_t, size_t, void*);
    GET(cuda, cuMemsetD8Async, uint64_t, unsigned char, size_t, void*);
    GET(cuda, cuModuleLoadData, void**, const void*);
    GET(cuda, cuModuleGetFunction, void**, void*, const char*);
    GET(cuda, cuLaunchKernel, void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
        void**, void**);
    GET(cuda, cuGraphDestroy, void*);
    GET(blas, cublasCreate_v2, void**);
    GET(blas, cublasSgemm_v2, void*, int, int, int, int, int, const float*, const float*, int, const float*, int,
        const float*, float*, int);
    GET(blas, cublasGemmEx, void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
        const void*, void*, int, int, int, int);
    GET(lt, cublasLtMatrixLayoutCreate, void**, int, uint64_t, uint64_t, int64_t);
    GET(lt, cublasLtMatmulDescCreate, void**, int, int);
    GET(lt, cublasLtMatmulDescSetAttribute, void*, int, const void*, size_t);
    GET(lt, cublasLtMatmul, void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*,
        void*, void*, void*, const void*, void*, size_t, void*);
    GET(rand, curandCreateGenerator, void**, int);
    GET(rand, curandGenerateUniform, void*, float*, size_t);
    GET(nvrtc, nvrtcCreateProgram, void**, const char*, const char*, int, const char* const*, const char* const*);
    void (*mark)(const char*) = (void (*)(const char*))dlsym(cuda, "recorder_mark");
    CHECK(mark);

    // Allocations: bytes as asked for, peaks in whole units, refused beyond the card.
    uint64_t a, b, c;
    CHECK(cuInit(0) == 0 && cuMemAlloc_v2(&a, 4096) == 0 && cuMemAlloc_v2(&b, 600000) == 0 && a != b);
    CHECK(cuMemAlloc_v2(&c, 600000) == 2);
    char name[64];
    CHECK(cuDeviceGetName(name, sizeof name, 0) == 0 && strcmp(name, "NVIDIA H100 80GB HBM3") == 0);

    // Copies by direction; what comes back is zeros.
    char data[4096];
    memset(data, 1, sizeof data);
    CHECK(cuMemcpyHtoD_v2(a, data, 4096) == 0 && cuMemcpyHtoD_v2(a, data, 100) == 0);
    CHECK(cuMemcpyDtoH_v2(data, a, 100) == 0 && data[99] == 0 && data[100] == 1);
    CHECK(cuMemcpyDtoDAsync_v2(a, b, 300, NULL) == 0 && cuMemsetD8Async(b, 0, 64, NULL) == 0);

    // Launches by name; shapes that a card refuses are refused.
    void *module, *function, *handle, *event;
    CHECK(cuModuleLoadData(&module, "// binary, without code\n") == 0 && cuModuleGetFunction(&function, module, "add_f32") == 0);
    for (int i = 0; i < 3; ++i) CHECK(cuLaunchKernel(function, 7, 1, 1, 256, 1, 1, 0, NULL, NULL, NULL) == 0);
    CHECK(cuLaunchKernel(function, 7, 1, 1, 2048, 1, 1, 0, NULL, NULL, NULL) != 0);
    CHECK(cuLaunchKernel(function, 0, 1, 1, 256, 1, 1, 0, NULL, NULL, NULL) != 0);
    CHECK(cuEventCreate(&event, 0) == 0);
    mark("first part");
    const char* first[] = {
        "==== first part",
        "total launches 3\n",
        "         3                 21  binary/add_f32",
        "total copies_to_device 2\n",
        "total bytes_to_device 4196\n",
        "total copies_to_host 1\n",
        "total bytes_to_host 100\n",
        "total bytes_on_device 300\n",
        "total memsets 1\n",
        "total events 1\n",
        "total allocations 2\n",
        "total allocated_bytes 604096\n",
        "total peak_bytes 604160\n",
        "total faults 2\n",
        "total missing 0\n",
    };
    for (size_t i = 0; i < sizeof first / sizeof *first; ++i) expect(first[i]);

    // Products by types and shape, counted anew in a new part.
    const float one = 1;
    float *on_a = (float*)(uintptr_t)a, *on_b = (float*)(uintptr_t)b;
    CHECK(cublasCreate_v2(&handle) == 0);
    CHECK(cublasSgemm_v2(handle, 0, 1, 8, 4, 2, &one, on_a, 8, on_b, 4, &one, on_a, 8) == 0);
    CHECK(cublasGemmEx(handle, 1, 0, 3, 5, 7, &one, on_a, 14, 7, on_b, 14, 7, &one, on_a, 0, 3, 68, -1) == 0);
    void *left, *right, *out, *how;
    CHECK(cublasLtMatrixLayoutCreate(&left, 14, 6, 10, 6) == 0);
    CHECK(cublasLtMatrixLayoutCreate(&right, 14, 6, 20, 6) == 0);
    CHECK(cublasLtMatrixLayoutCreate(&out, 14, 10, 20, 10) == 0 && cublasLtMatmulDescCreate(&how, 68, 0) == 0);
    const int32_t transposed = 1;
    CHECK(cublasLtMatmulDescSetAttribute(how, 3, &transposed, sizeof transposed) == 0);
    CHECK(cublasLtMatmul(handle, how, &one, on_a, left, on_b, right, &one, on_a, out, on_a, out, NULL, NULL, 0, NULL) ==
          0);
    CHECK(curandCreateGenerator(&handle, 0) == 0 && curandGenerateUniform(handle, on_a, 8) == 0);
    CHECK(nvrtcCreateProgram(&handle, "", "", 0, NULL, NULL) == 0);
    // What is not here says so; a second free and a use after it are faults.
    CHECK(cuGraphDestroy(NULL) == 801);
    CHECK(cuMemFree_v2(a) == 0 && cuMemFree_v2(a) != 0);
    cuMemcpyHtoD_v2(a, data, 1);
    cuMemcpyHtoD_v2(b, data, 600001);
    mark("second part");
    const char* second[] = {
        "total launches 0\n",
        "total allocations 0\n",
        "total products 3\n",
        "gemm f32 to f32 NT m 8 n 4 k 2 batch 1",
        "gemm bf16 to f32 TN m 3 n 5 k 7 batch 1",
        "matmul bf16 to bf16 TN m 10 n 20 k 6 batch 1",
        "total product_operations 2738\n",
        "total missing 1\n",
        "cuGraphDestroy",
        "total faults 5\n",
        "curandGenerateUniform",
        "nvrtcCreateProgram",
    };
    for (size_t i = 0; i < sizeof second / sizeof *second; ++i) expect_last(second[i]);

    // The pool gives memory back where the host waits, unless its threshold says otherwise.
    size_t free_bytes, total_bytes;
    uint64_t reserved, threshold = UINT64_MAX;
    CHECK(cuMemFree_v2(b) == 0 && cuMemAllocAsync(&c, 1000, NULL) == 0 && cuMemFreeAsync(c, NULL) == 0);
    CHECK(cuMemPoolGetAttribute(NULL, 5, &reserved) == 0 && reserved == 1024);
    CHECK(cuMemGetInfo_v2(&free_bytes, &total_bytes) == 0 && total_bytes == 1000000 && free_bytes == 998976);
    CHECK(cuStreamSynchronize(NULL) == 0 && cuMemPoolGetAttribute(NULL, 5, &reserved) == 0 && reserved == 0);
    CHECK(cuMemGetInfo_v2(&free_bytes, &total_bytes) == 0 && free_bytes == 1000000);
    CHECK(cuMemPoolSetAttribute(NULL, 4, &threshold) == 0);
    CHECK(cuMemAllocAsync(&c, 512, NULL) == 0 && cuMemFreeAsync(c, NULL) == 0 && cuStreamSynchronize(NULL) == 0);
    CHECK(cuMemPoolGetAttribute(NULL, 5, &reserved) == 0 && reserved == 512);
    CHECK(cuMemPoolGetAttribute(NULL, 7, &reserved) == 0 && reserved == 0);
    CHECK(cuMemPoolGetAttribute(NULL, 8, &reserved) == 0 && reserved == 1024);
    mark("third part");
    expect_last("total pool_trims 1\n");
    expect_last("total pool_trimmed_bytes 1024\n");
    expect_last("total synchronizations 2\n");
    // The host waits for all that was launched, or for a part of it while the device goes on.
    void* pinned;
    CHECK(cuMemHostAlloc(&pinned, 64, 0) == 0 && cuMemAllocAsync(&c, 64, NULL) == 0);
    CHECK(cuMemcpyDtoHAsync_v2(pinned, c, 64, NULL) == 0 && cuEventRecord(event, NULL) == 0);
    CHECK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL) == 0 && cuEventSynchronize(event) == 0);
    mark("late");
    expect_last("total copies_to_host 1\n");
    expect_last("total idle_waits 0\n");
    CHECK(cuMemcpyDtoHAsync_v2(data, c, 64, NULL) == 0 && cuMemcpyDtoH_v2(data, c, 64) == 0);
    CHECK(cuEventRecord(event, NULL) == 0 && cuEventSynchronize(event) == 0 && cuStreamSynchronize(NULL) == 0);
    CHECK(cuMemFreeHost(pinned) == 0 && cuMemFreeAsync(c, NULL) == 0);
    mark("at once");
    expect_last("total idle_waits 4\n");
    // More allocations than are kept in the list of the dead at a time.
    for (int i = 0; i < 5000; ++i) CHECK(cuMemAllocAsync(&c, 16, NULL) == 0 && cuMemFreeAsync(c, NULL) == 0);
    CHECK(cuMemFreeAsync(c, NULL) != 0);
    puts("ok");
    return 0;
}
