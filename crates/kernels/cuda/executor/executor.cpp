// Execution of the project's kernels under the recording driver, on the host.
//
// Linked into the driver (recorder/build.sh ... execute), it gives device memory a real place, runs each launch of a
// kernel of the project in the emulator, with all its checks, and those of candle's kernels and of cuBLAS that a step of
// training needs by plain twins. So the whole program with the feature `cuda` computes real numbers on a small policy:
// what launchers pass, in which order and for how many blocks, is tested by results. Of any other kernel a launch is an
// error.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "../attention/attention.cu"
#include "../paged/paged.cu"
#include "../pointwise/pointwise.cu"
#include "../sampling/sampling.cu"
#include "products.h"
#include "tensor_kernels.h"

namespace {

using Buffer = emu::Buffer<uint16_t>;

std::map<std::uintptr_t, std::unique_ptr<Buffer>>& buffers() {
    static std::map<std::uintptr_t, std::unique_ptr<Buffer>> all;
    return all;
}

// The emulator runs one launch at a time.
std::mutex& turn() {
    static std::mutex mutex;
    return mutex;
}

using Call = std::function<void(void**)>;

template <class... Arguments, std::size_t... Places>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<Places...>) {
    kernel(*static_cast<std::remove_cv_t<Arguments>*>(arguments[Places])...);
}

template <class... Arguments>
Call caller(void (*kernel)(Arguments...)) {
    return [kernel](void** arguments) { call(kernel, arguments, std::index_sequence_for<Arguments...>{}); };
}

#define KERNEL(NAME) {#NAME, caller(NAME)}
#define ATTENTION(C, D) KERNEL(forest_forward_##C##_##D), KERNEL(forest_dq_##C##_##D), KERNEL(forest_dkv_##C##_##D), KERNEL(forest_reduce_##C##_##D)

#define BOTH(NAME) KERNEL(NAME##_bf16), KERNEL(NAME##_f32)

const std::map<std::string, Call>& kernels() {
    static const std::map<std::string, Call> all = {
        ATTENTION(small, 64), ATTENTION(large, 64), KERNEL(forest_preprocess_64),
        ATTENTION(small, 96), ATTENTION(large, 96), KERNEL(forest_preprocess_96),
        ATTENTION(small, 128), ATTENTION(large, 128), KERNEL(forest_preprocess_128),
        KERNEL(paged_attention_64), KERNEL(paged_merge_64), KERNEL(paged_attention_96), KERNEL(paged_merge_96),
        KERNEL(paged_attention_128), KERNEL(paged_merge_128), KERNEL(paged_write), KERNEL(paged_copy),
        BOTH(rms_norm), BOTH(add_rms_norm), BOTH(rms_norm_backward), BOTH(column_sums), BOTH(add_bias),
        BOTH(rope), BOTH(rope_backward), BOTH(qk_norm_rope), BOTH(qk_norm_rope_backward), KERNEL(rotary_table),
        BOTH(swiglu), BOTH(swiglu_backward), KERNEL(log_prob_rows), BOTH(log_prob_slopes),
        BOTH(gather_rows), BOTH(embedding_gradient),
        BOTH(add_gradients), KERNEL(gradient_squares), KERNEL(gradient_clip), KERNEL(scale_gradients),
        KERNEL(adamw_bf16_moments), KERNEL(adamw_f32_moments),
        KERNEL(draw_tokens), KERNEL(feed_tokens),
    };
    return all;
}

// A kernel of the project by its module and name; null if it is another's, which may have the same name.
const Call* project_kernel(const std::string& name) {
    static const std::set<std::string> modules = {"attention", "paged", "pointwise", "sampling"};
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos || !modules.count(name.substr(0, slash))) return nullptr;
    const auto kernel = kernels().find(name.substr(slash + 1));
    return kernel == kernels().end() ? nullptr : &kernel->second;
}

}  // namespace

// An address with memory behind it, 0 if there is none.
extern "C" uint64_t executor_allocate(size_t bytes) {
    const std::lock_guard<std::mutex> mine(turn());
    auto buffer = std::make_unique<Buffer>("allocation", (bytes + 1) / 2);
    const auto at = reinterpret_cast<std::uintptr_t>(buffer->data());
    buffers()[at] = std::move(buffer);
    return at;
}

extern "C" void executor_release(uint64_t at) {
    const std::lock_guard<std::mutex> mine(turn());
    buffers().erase(at);
}

// The host, or a copy on the device, has written these bytes.
extern "C" void executor_written(uint64_t at, size_t bytes) {
    const std::lock_guard<std::mutex> mine(turn());
    executor::written(reinterpret_cast<void*>(at), bytes);
}

// Whether the kernel is here and ran without a fault; what was wrong goes to standard error.
extern "C" int executor_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared, void** arguments) {
    const std::lock_guard<std::mutex> mine(turn());
    const Call* kernel = project_kernel(name);
    if (!kernel) {
        const std::string whole = name;
        if (executor::run_tensor_kernel(whole.substr(whole.find('/') + 1), grid[0], arguments)) return 1;
        std::fprintf(stderr, "executor: no kernel `%s`\n", name);
        return 0;
    }
    const emu::Report report = emu::launch(name, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared,
                                           [&] { (*kernel)(arguments); });
    if (!report.clean()) {
        std::fprintf(stderr, "executor: faults of `%s`:\n", name);
        report.print_faults();
    }
    return report.clean();
}
