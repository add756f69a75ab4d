// Host twins of candle's own CUDA kernels, as far as a training step and a decode pass launch them.
//
// A kernel is found by its name: an operation and the types at its end ("badd_bf16", "cast_bf16_f32"). Elements are read
// as f32 (f64 and integers as double), computed, and rounded once to the type that is written. These are no emulation of
// candle's code: what is under test is what the project launches between them.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "../emulator/emulator.h"

namespace executor {

enum class Type { F32, F64, BF16, U8, U32, I64, Unknown };

inline Type type_of(const std::string& name) {
    static const std::map<std::string, Type> all = {{"f32", Type::F32}, {"f64", Type::F64}, {"bf16", Type::BF16},
                                                    {"u8", Type::U8},   {"u32", Type::U32}, {"i64", Type::I64}};
    const auto found = all.find(name);
    return found == all.end() ? Type::Unknown : found->second;
}

inline std::size_t size_of(Type type) {
    switch (type) {
        case Type::U8: return 1;
        case Type::BF16: return 2;
        case Type::F32: case Type::U32: return 4;
        default: return 8;
    }
}

template <class T>
T read_as(const void* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

inline double read(Type type, const void* base, std::size_t index) {
    const char* at = static_cast<const char*>(base) + index * size_of(type);
    switch (type) {
        case Type::F32: return read_as<float>(at);
        case Type::F64: return read_as<double>(at);
        case Type::BF16: return emu::bf16_to_float(read_as<uint16_t>(at));
        case Type::U8: return read_as<uint8_t>(at);
        case Type::U32: return read_as<uint32_t>(at);
        default: return double(read_as<int64_t>(at));
    }
}

inline void write(Type type, void* base, std::size_t index, double value) {
    char* at = static_cast<char*>(base) + index * size_of(type);
    auto put = [&](auto x) { std::memcpy(at, &x, sizeof x); };
    switch (type) {
        case Type::F32: put(float(value)); break;
        case Type::F64: put(value); break;
        case Type::BF16: put(emu::float_to_bf16(float(value))); break;
        case Type::U8: put(uint8_t(value)); break;
        case Type::U32: put(uint32_t(value)); break;
        default: put(int64_t(value));
    }
}

// The arguments of a launch, in their order.
class Arguments {
public:
    explicit Arguments(void** arguments) : next_(arguments) {}
    std::size_t size() { return read_as<std::size_t>(*next_++); }
    uint32_t count() { return read_as<uint32_t>(*next_++); }
    char* address() { return reinterpret_cast<char*>(read_as<uint64_t>(*next_++)); }
    double scalar(Type type) { return read(type, *next_++, 0); }

private:
    void** next_;
};

// Where an element lies in memory with strides; without dimensions it lies where it is counted.
struct Strides {
    std::size_t dims;
    const std::size_t* info;  // sizes, then the strides of each operand
    std::size_t operator()(std::size_t index, std::size_t operand) const {
        if (!info) return index;
        std::size_t at = 0;
        for (std::size_t d = dims; d-- > 0; index /= info[d]) at += index % info[d] * info[dims * (1 + operand) + d];
        return at;
    }
};

inline Strides strides(Arguments& a) {
    const std::size_t dims = a.size();
    return {dims, reinterpret_cast<const std::size_t*>(a.address())};
}

// An output has been written: the emulator lets kernels read it.
inline void written(const void* at, std::size_t bytes) {
    if (emu::Region* region = emu::region_of(at, bytes)) {
        const std::size_t first = std::size_t(static_cast<const char*>(at) - region->base) / 2;
        for (std::size_t i = first; i < first + (bytes + 1) / 2; ++i) region->writer[i] = emu::HOST;
    }
}

inline const std::map<std::string, double (*)(double)>& unary() {
    static const std::map<std::string, double (*)(double)> all = {
        {"ucopy", [](double x) { return x; }},
        {"uneg", [](double x) { return -x; }},
        {"uabs", [](double x) { return std::fabs(x); }},
        {"usqr", [](double x) { return x * x; }},
        {"usqrt", [](double x) { return std::sqrt(x); }},
        {"urecip", [](double x) { return 1 / x; }},
        {"uexp", [](double x) { return std::exp(x); }},
        {"ulog", [](double x) { return std::log(x); }},
        {"usilu", [](double x) { return x / (1 + std::exp(-x)); }},
        {"usin", [](double x) { return std::sin(x); }},
        {"ucos", [](double x) { return std::cos(x); }},
        {"uceil", [](double x) { return std::ceil(x); }},
        {"usign", [](double x) { return double(x > 0) - double(x < 0); }},
        {"utanh", [](double x) { return std::tanh(x); }},
        {"urelu", [](double x) { return x > 0 ? x : 0; }},
        {"ugelu", [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * x * (1 + 0.044715 * x * x))); }},
        {"ugelu_erf", [](double x) { return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5))); }},
    };
    return all;
}

inline const std::map<std::string, double (*)(double, double)>& binary() {
    static const std::map<std::string, double (*)(double, double)> all = {
        {"badd", [](double x, double y) { return x + y; }},
        {"bsub", [](double x, double y) { return x - y; }},
        {"bmul", [](double x, double y) { return x * y; }},
        {"bdiv", [](double x, double y) { return x / y; }},
        {"bmaximum", [](double x, double y) { return std::fmax(x, y); }},
        {"bminimum", [](double x, double y) { return std::fmin(x, y); }},
        {"eq", [](double x, double y) { return double(x == y); }},
        {"ne", [](double x, double y) { return double(x != y); }},
        {"lt", [](double x, double y) { return double(x < y); }},
        {"le", [](double x, double y) { return double(x <= y); }},
        {"gt", [](double x, double y) { return double(x > y); }},
        {"ge", [](double x, double y) { return double(x >= y); }},
    };
    return all;
}

// Rows by their ids, the greatest number of whose type is no row: of `source` into `out` (select, gather, set), or added up in it (add).
inline void rows_by_id(const std::string& operation, Type id_type, Type type, Arguments& a) {
    const double no_row = id_type == Type::U32 ? 4294967295.0 : 9223372036854775807.0;
    const bool selects = operation == "is", gathers = operation == "gather", adds_rows = operation == "ia", sets = operation == "s";
    std::size_t numel = 0;
    if (selects || gathers) numel = a.size();
    if (selects) {
        a.size();
        a.address();  // contiguous, as the project has it
    }
    const char* ids = a.address();
    std::size_t ids_size = adds_rows ? a.size() : 0;
    const char* source = a.address();
    char* out = a.address();
    const std::size_t left = a.size(), source_size = a.size(), last = a.size(), right = a.size();
    if (selects || gathers) {
        for (std::size_t i = 0; i < numel; ++i) {
            const std::size_t outer = i / (last * right), inner = i / right % last, rest = i % right;
            const double id = read(id_type, ids, selects ? inner : i);
            write(type, out, i, id == no_row ? 0 : read(type, source, (outer * source_size + std::size_t(id)) * right + rest));
        }
        written(out, numel * size_of(type));
        return;
    }
    if (!adds_rows) ids_size = source_size;
    for (std::size_t i = 0; i < left * right; ++i)
        for (std::size_t j = 0; j < ids_size; ++j) {
            const std::size_t from = (i / right * ids_size + j) * right + i % right;
            const double id = read(id_type, ids, adds_rows ? j : from);
            if (id == no_row) continue;
            const std::size_t to = (i / right * last + std::size_t(id)) * right + i % right;
            write(type, out, to, (sets ? 0 : read(type, out, to)) + read(type, source, from));
            if (sets) written(out + to * size_of(type), size_of(type));
        }
}

// The last dimensions, summed or maximized.
inline void reduce(bool sums, bool by_outputs, Type type, Arguments& a) {
    const std::size_t numel = a.size(), each = a.size();
    const Strides at = strides(a);
    const char* source = a.address();
    char* out = a.address();
    const std::size_t outputs = by_outputs ? numel : each ? numel / each : 0;
    for (std::size_t o = 0; o < outputs; ++o) {
        double total = sums ? 0 : -INFINITY;
        for (std::size_t i = o * each; i < (o + 1) * each; ++i) {
            const double x = read(type, source, at(i, 0));
            total = sums ? total + x : std::fmax(total, x);
        }
        write(type, out, o, total);
    }
    written(out, outputs * size_of(type));
}

// The operations on whole rows that candle-nn has: softmax and the two norms, a row for each block.
inline bool by_rows(const std::string& operation, Type type, std::size_t rows, Arguments& a) {
    const bool is_softmax = operation == "softmax", centers = operation == "layernorm";
    if (!is_softmax && !centers && operation != "rmsnorm") return false;
    const char* source = a.address();
    char* out = a.address();
    const char *gain = is_softmax ? nullptr : a.address(), *shift = centers ? a.address() : nullptr;
    const std::size_t width = a.count();
    if (!is_softmax) a.count();
    const double eps = is_softmax ? 0 : a.scalar(Type::F32);
    for (std::size_t first = 0; first < rows * width; first += width) {
        double most = -INFINITY, mean = 0, total = 0;
        for (std::size_t i = first; i < first + width; ++i) {
            most = std::fmax(most, read(type, source, i));
            mean += centers ? read(type, source, i) / double(width) : 0;
        }
        auto weight = [&](std::size_t i) { return std::exp(read(type, source, i) - most); };
        for (std::size_t i = first; i < first + width; ++i)
            total += is_softmax ? weight(i) : std::pow(read(type, source, i) - mean, 2) / double(width);
        for (std::size_t i = 0; i < width; ++i) {
            const double normed = (read(type, source, first + i) - mean) / std::sqrt(total + eps);
            const double y = is_softmax ? weight(first + i) / total : normed * (gain ? read(type, gain, i) : 1);
            write(type, out, first + i, y + (shift ? read(type, shift, i) : 0));
        }
    }
    written(out, rows * width * size_of(type));
    return true;
}

// candle-nn's rotation of `[heads of a batch, positions * width]`, halves of a head's row turned together.
inline void rope(Type type, Arguments& a) {
    const char *source = a.address(), *cosines = a.address(), *sines = a.address();
    char* out = a.address();
    const std::size_t heads = a.count(), all = a.count(), width = a.count(), stride = a.count(), half = width / 2;
    for (std::size_t i = 0; i < heads * all / 2; ++i) {
        const std::size_t at = i % (all / 2), left = i / (all / 2) * all + at / half * width + at % half;
        const std::size_t angle = at + (stride > 0 ? 2 * i / stride * (all / 2) : 0);
        const double x = read(type, source, left), y = read(type, source, left + half);
        const double c = read(type, cosines, angle), s = read(type, sines, angle);
        write(type, out, left, x * c - y * s);
        write(type, out, left + half, x * s + y * c);
    }
    written(out, heads * all * size_of(type));
}

// Whether there is a twin of that name; it has run then, for so many blocks.
inline bool run_tensor_kernel(const std::string& name, std::size_t blocks, void** arguments) {
    const std::size_t end = name.rfind('_');
    if (end == std::string::npos) return false;
    const Type type = type_of(name.substr(end + 1));
    std::string operation = name.substr(0, end);
    if (type == Type::Unknown) return false;
    Arguments a(arguments);
    if (operation.rfind("cast_", 0) == 0) {
        const Type from = type_of(operation.substr(5));
        const std::size_t numel = a.size();
        const Strides at = strides(a);
        const char* source = a.address();
        char* out = a.address();
        for (std::size_t i = 0; i < numel; ++i) write(type, out, i, read(from, source, at(i, 0)));
        written(out, numel * size_of(type));
        return true;
    }
    if (const auto f = unary().find(operation); f != unary().end() || operation == "affine") {
        const std::size_t numel = a.size();
        const Strides at = strides(a);
        const char* source = a.address();
        char* out = a.address();
        const double factor = operation == "affine" ? a.scalar(type) : 0, addend = operation == "affine" ? a.scalar(type) : 0;
        for (std::size_t i = 0; i < numel; ++i) {
            const double x = source ? read(type, source, at(i, 0)) : read(type, out, i);
            write(type, out, i, operation == "affine" ? double(float(x * factor)) + addend : f->second(x));
        }
        written(out, numel * size_of(type));
        return true;
    }
    if (const auto f = binary().find(operation); f != binary().end()) {
        const std::size_t numel = a.size();
        const Strides at = strides(a);
        const char *left = a.address(), *right = a.address();
        char* out = a.address();
        const Type to = operation[0] == 'b' ? type : Type::U8;
        for (std::size_t i = 0; i < numel; ++i)
            write(to, out, i, f->second(read(type, left, at(i, 0)), read(type, right, at(i, 1))));
        written(out, numel * size_of(to));
        return true;
    }
    if (operation == "fill") {
        char* out = a.address();
        const double value = a.scalar(type);
        const std::size_t numel = a.size();
        for (std::size_t i = 0; i < numel; ++i) write(type, out, i, value);
        written(out, numel * size_of(type));
        return true;
    }
    if (operation == "const_set") {
        const std::size_t numel = a.size();
        const Strides at = strides(a);
        const double value = a.scalar(type);
        char* out = a.address();
        for (std::size_t i = 0; i < numel; ++i) {
            write(type, out, at(i, 0), value);
            written(out + at(i, 0) * size_of(type), size_of(type));
        }
        return true;
    }
    if (operation == "copy2d") {
        const char* source = a.address();
        char* out = a.address();
        const std::size_t rows = a.count(), width = a.count(), from_stride = a.count(), to_stride = a.count();
        for (std::size_t row = 0; row < rows; ++row) {
            std::memcpy(out + row * to_stride * size_of(type), source + row * from_stride * size_of(type), width * size_of(type));
            written(out + row * to_stride * size_of(type), width * size_of(type));
        }
        return true;
    }
    if (operation == "fast_sum" || operation == "fast_max" || operation == "fast_sum_small") {
        reduce(operation != "fast_max", operation == "fast_sum_small", type, a);
        return true;
    }
    if (by_rows(operation, type, blocks, a)) return true;
    if (operation == "rope") {
        rope(type, a);
        return true;
    }
    if (operation.rfind("where_", 0) == 0) {
        const Type by = type_of(operation.substr(6));
        const std::size_t numel = a.size();
        const Strides at = strides(a);
        const char *which = a.address(), *yes = a.address(), *no = a.address();
        char* out = a.address();
        for (std::size_t i = 0; i < numel; ++i) {
            const bool holds = read(by, which, at(i, 0)) != 0;
            write(type, out, i, holds ? read(type, yes, at(i, 1)) : read(type, no, at(i, 2)));
        }
        written(out, numel * size_of(type));
        return true;
    }
    for (const char* by : {"is", "gather", "ia", "s", "sa"})
        for (const char* ids : {"u32", "i64"})
            if (operation == std::string(by) + "_" + ids) {
                rows_by_id(by, type_of(ids), type, a);
                return true;
            }
    return false;
}

}  // namespace executor
