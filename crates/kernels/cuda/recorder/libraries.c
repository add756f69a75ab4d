// cuBLAS, cuBLASLt, cuRAND and NVRTC of the recording CUDA driver.
//
// A product of matrices counts by library, types in and out, transposition, shape and batch, with its 2 m n k
// operations. Matrices are column-major as cuBLAS has them: m and n are those of the call, not of the tensors behind
// it.
#include "books.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Of library_types.h.
static const char* type_name(int type) {
    switch (type) {
        case 0: return "f32";
        case 1: return "f64";
        case 2: return "f16";
        case 14: return "bf16";
        case 28: return "f8e4m3";
        default: return "other";
    }
}

typedef struct {
    const char* call;
    int from, to;  // types
    int transposed_a, transposed_b;
    int m, n, k, batch;
} Product;

static Result product(const Product* p, const void* a, const void* b, const void* c) {
    char name[160];
    snprintf(name, sizeof name, "%s %s to %s %c%c m %d n %d k %d batch %d", p->call, type_name(p->from),
             type_name(p->to), p->transposed_a ? 'T' : 'N', p->transposed_b ? 'T' : 'N', p->m, p->n, p->k, p->batch);
    book_count(PRODUCTS, name, 2ull * (uint64_t)p->m * (uint64_t)p->n * (uint64_t)p->k * (uint64_t)p->batch);
    if (p->m > 0 && p->n > 0 && p->batch > 0) {
        memory_check("a product reads what is not allocated", (Pointer)(uintptr_t)a, p->k > 0);
        memory_check("a product reads what is not allocated", (Pointer)(uintptr_t)b, p->k > 0);
        memory_check("a product writes what is not allocated", (Pointer)(uintptr_t)c, 1);
    }
    return OK;
}

// -------------------------------------------------------------------------------------------------------------- cuBLAS

Result cublasCreate_v2(Handle* handle) {
    *handle = fresh_handle();
    return OK;
}

Result cublasDestroy_v2(Handle handle) {
    free(handle);
    return OK;
}

Result cublasSetStream_v2(Handle handle, Handle stream) {
    (void)handle, (void)stream;
    return OK;
}

Result cublasSetPointerMode_v2(Handle handle, int mode) {
    (void)handle, (void)mode;
    return OK;
}

Result cublasGetPointerMode_v2(Handle handle, int* mode) {
    (void)handle;
    *mode = 0;
    return OK;
}

Result cublasSetMathMode(Handle handle, int mode) {
    (void)handle, (void)mode;
    return OK;
}

Result cublasSetWorkspace_v2(Handle handle, void* workspace, size_t bytes) {
    (void)handle, (void)workspace, (void)bytes;
    return OK;
}

Result cublasGemmStridedBatchedEx(Handle handle, int transpose_a, int transpose_b, int m, int n, int k,
                                  const void* alpha, const void* a, int type_a, int lead_a, long long stride_a,
                                  const void* b, int type_b, int lead_b, long long stride_b, const void* beta, void* c,
                                  int type_c, int lead_c, long long stride_c, int batch, int compute, int algorithm) {
    (void)handle, (void)compute, (void)algorithm;
    const Product p = {"gemm", type_a, type_c, transpose_a, transpose_b, m, n, k, batch};
    if (executor_product)
        executor_product(transpose_a, transpose_b, m, n, k, alpha, a, type_a, lead_a, stride_a, b, type_b, lead_b,
                         stride_b, beta, c, type_c, lead_c, stride_c, batch);
    return product(&p, a, b, c);
}

Result cublasGemmEx(Handle handle, int transpose_a, int transpose_b, int m, int n, int k, const void* alpha,
                    const void* a, int type_a, int lead_a, const void* b, int type_b, int lead_b, const void* beta,
                    void* c, int type_c, int lead_c, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, type_a, lead_a, 0, b, type_b,
                                      lead_b, 0, beta, c, type_c, lead_c, 0, 1, compute, algorithm);
}

#define GEMM(letter, type, code)                                                                                       \
    Result cublas##letter##gemmStridedBatched(Handle handle, int ta, int tb, int m, int n, int k, const type* alpha,   \
                                              const type* a, int lead_a, long long stride_a, const type* b,            \
                                              int lead_b, long long stride_b, const type* beta, type* c, int lead_c,   \
                                              long long stride_c, int batch) {                                         \
        return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, code, lead_a, stride_a, b, code, lead_b,  \
                                          stride_b, beta, c, code, lead_c, stride_c, batch, 0, 0);                     \
    }                                                                                                                  \
    Result cublas##letter##gemm_v2(Handle handle, int ta, int tb, int m, int n, int k, const type* alpha,              \
                                   const type* a, int lead_a, const type* b, int lead_b, const type* beta, type* c,    \
                                   int lead_c) {                                                                       \
        return cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, code, lead_a, b, code, lead_b, beta, c, code, lead_c,   \
                            0, 0);                                                                                     \
    }                                                                                                                  \
    Result cublas##letter##gemv_v2(Handle handle, int ta, int m, int n, const type* alpha, const type* a, int lead_a,  \
                                   const type* x, int step_x, const type* beta, type* y, int step_y) {                 \
        (void)handle, (void)alpha, (void)lead_a, (void)step_x, (void)beta, (void)step_y;                               \
        const Product p = {"gemv", code, code, ta, 0, ta ? n : m, 1, ta ? m : n, 1};                                   \
        return product(&p, a, x, y);                                                                                   \
    }
GEMM(S, float, 0)
GEMM(D, double, 1)

// ------------------------------------------------------------------------------------------------------------ cuBLASLt

typedef struct {
    int type;
    uint64_t rows, columns;
    int32_t batch;
} Layout;

typedef struct {
    int32_t transposed_a, transposed_b;
} Description;

Result cublasLtCreate(Handle* handle) {
    *handle = fresh_handle();
    return OK;
}

Result cublasLtDestroy(Handle handle) {
    free(handle);
    return OK;
}

Result cublasLtMatrixLayoutCreate(Handle* layout, int type, uint64_t rows, uint64_t columns, int64_t lead) {
    (void)lead;
    Layout* made = calloc(1, sizeof(Layout));
    *made = (Layout){type, rows, columns, 1};
    *layout = made;
    return OK;
}

Result cublasLtMatrixLayoutSetAttribute(Handle layout, int attribute, const void* value, size_t bytes) {
    enum { BATCH_COUNT = 5 };
    if (attribute == BATCH_COUNT && bytes == sizeof(int32_t)) memcpy(&((Layout*)layout)->batch, value, bytes);
    return OK;
}

Result cublasLtMatrixLayoutDestroy(Handle layout) {
    free(layout);
    return OK;
}

Result cublasLtMatmulDescCreate(Handle* description, int compute, int scale) {
    (void)compute, (void)scale;
    *description = calloc(1, sizeof(Description));
    return OK;
}

Result cublasLtMatmulDescSetAttribute(Handle description, int attribute, const void* value, size_t bytes) {
    enum { TRANSA = 3, TRANSB = 4 };
    Description* d = description;
    if (bytes != sizeof(int32_t)) return OK;
    if (attribute == TRANSA) memcpy(&d->transposed_a, value, bytes);
    if (attribute == TRANSB) memcpy(&d->transposed_b, value, bytes);
    return OK;
}

Result cublasLtMatmulDescDestroy(Handle description) {
    free(description);
    return OK;
}

Result cublasLtMatmulPreferenceCreate(Handle* preference) {
    *preference = fresh_handle();
    return OK;
}

Result cublasLtMatmulPreferenceSetAttribute(Handle preference, int attribute, const void* value, size_t bytes) {
    (void)preference, (void)attribute, (void)value, (void)bytes;
    return OK;
}

Result cublasLtMatmulPreferenceDestroy(Handle preference) {
    free(preference);
    return OK;
}

Result cublasLtMatmulAlgoGetHeuristic(Handle handle, Handle description, Handle a, Handle b, Handle c, Handle d,
                                      Handle preference, int wanted, void* results, int* found) {
    (void)handle, (void)description, (void)a, (void)b, (void)c, (void)d, (void)preference;
    // The fields that are read: workspace 0, status "success", zeros as a heuristic result of 96 bytes has them.
    if (wanted > 0) memset(results, 0, 96);
    *found = wanted > 0;
    return OK;
}

Result cublasLtMatmul(Handle handle, Handle description, const void* alpha, const void* a, Handle layout_a,
                      const void* b, Handle layout_b, const void* beta, const void* c, Handle layout_c, void* d,
                      Handle layout_d, const void* algorithm, void* workspace, size_t bytes, Handle stream) {
    (void)handle, (void)alpha, (void)layout_b, (void)beta, (void)c, (void)layout_c, (void)algorithm, (void)workspace;
    (void)bytes, (void)stream;
    const Description* how = description;
    const Layout *from = layout_a, *to = layout_d;
    const int k = (int)(how->transposed_a ? from->rows : from->columns);
    const Product p = {"matmul", from->type,       to->type, how->transposed_a, how->transposed_b, (int)to->rows,
                       (int)to->columns, k, to->batch};
    return product(&p, a, b, d);
}

// -------------------------------------------------------------------------------------------------------------- cuRAND

Result curandCreateGenerator(Handle* generator, int kind) {
    (void)kind;
    *generator = fresh_handle();
    return OK;
}

Result curandDestroyGenerator(Handle generator) {
    free(generator);
    return OK;
}

Result curandSetStream(Handle generator, Handle stream) {
    (void)generator, (void)stream;
    return OK;
}

Result curandSetPseudoRandomGeneratorSeed(Handle generator, unsigned long long seed) {
    (void)generator, (void)seed;
    return OK;
}

Result curandSetGeneratorOffset(Handle generator, unsigned long long offset) {
    (void)generator, (void)offset;
    return OK;
}

static Result draw(const char* call, const void* to, size_t bytes) {
    memory_check("random numbers past what is allocated", (Pointer)(uintptr_t)to, bytes);
    book_count(CALLS, call, bytes);
    return OK;
}

#define DRAW(call, type)                              \
    Result call(Handle generator, type* to, size_t n) { \
        (void)generator;                              \
        return draw(#call, to, n * sizeof(type));     \
    }
#define DRAW_NORMAL(call, type)                                                    \
    Result call(Handle generator, type* to, size_t n, type mean, type deviation) { \
        (void)generator, (void)mean, (void)deviation;                              \
        return draw(#call, to, n * sizeof(type));                                  \
    }
DRAW(curandGenerate, unsigned)
DRAW(curandGenerateUniform, float)
DRAW(curandGenerateUniformDouble, double)
DRAW_NORMAL(curandGenerateNormal, float)
DRAW_NORMAL(curandGenerateNormalDouble, double)

// --------------------------------------------------------------------------------------------------------------- NVRTC

Result nvrtcCreateProgram(Handle* program, const char* source, const char* name, int headers, const char* const* texts,
                          const char* const* names) {
    (void)source, (void)name, (void)headers, (void)texts, (void)names;
    *program = fresh_handle();
    book_count(CALLS, "nvrtcCreateProgram", 0);
    return OK;
}

Result nvrtcCompileProgram(Handle program, int options, const char* const* texts) {
    (void)program, (void)options, (void)texts;
    return OK;
}

Result nvrtcDestroyProgram(Handle* program) {
    free(*program);
    *program = NULL;
    return OK;
}

Result nvrtcGetPTXSize(Handle program, size_t* bytes) {
    (void)program;
    *bytes = 3;
    return OK;
}

Result nvrtcGetPTX(Handle program, char* text) {
    (void)program;
    memcpy(text, "//", 3);
    return OK;
}

Result nvrtcGetProgramLogSize(Handle program, size_t* bytes) {
    (void)program;
    *bytes = 1;
    return OK;
}

Result nvrtcGetProgramLog(Handle program, char* text) {
    (void)program;
    *text = 0;
    return OK;
}
