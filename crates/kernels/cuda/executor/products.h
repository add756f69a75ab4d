// Products of matrices on the host, as cuBLAS defines them: column-major, sums in f32 (f64 of f64), rounded once.
#pragma once
#include "tensor_kernels.h"

// C = alpha op(A) op(B) + beta C for each matrix of a batch; types by the numbers of library_types.h.
extern "C" void executor_product(int transpose_a, int transpose_b, int m, int n, int k, const void* alpha, const void* a,
                                 int type_a, int lead_a, long long stride_a, const void* b, int type_b, int lead_b,
                                 long long stride_b, const void* beta, void* c, int type_c, int lead_c, long long stride_c,
                                 int batch) {
    using executor::Type;
    auto type = [](int number) { return number == 14 ? Type::BF16 : number == 1 ? Type::F64 : Type::F32; };
    // Scalars are f64 for products of f64, else f32: a product of 16 bits computes in f32.
    const Type scalar = type_c == 1 ? Type::F64 : Type::F32;
    const double factor = executor::read(scalar, alpha, 0), keep = executor::read(scalar, beta, 0);
    for (int number = 0; number < batch; ++number)
        for (int column = 0; column < n; ++column)
            for (int row = 0; row < m; ++row) {
                double sum = 0;
                for (int i = 0; i < k; ++i) {
                    const long long at_a = number * stride_a + (transpose_a ? i + 1LL * row * lead_a : row + 1LL * i * lead_a);
                    const long long at_b = number * stride_b + (transpose_b ? column + 1LL * i * lead_b : i + 1LL * column * lead_b);
                    sum += executor::read(type(type_a), a, std::size_t(at_a)) * executor::read(type(type_b), b, std::size_t(at_b));
                }
                const std::size_t at = std::size_t(number * stride_c + row + 1LL * column * lead_c);
                const double before = keep == 0 ? 0 : keep * executor::read(type(type_c), c, at);
                executor::write(type(type_c), c, at, factor * sum + before);
                executor::written(static_cast<char*>(c) + at * executor::size_of(type(type_c)), executor::size_of(type(type_c)));
            }
}
