// A second implementation of the CPU's draws, after the papers and not after draws.cuh: BLAKE3 of up to 1,024 bytes by
// its table of message words, ChaCha8 as a stream of bytes.
#pragma once
#include <array>
#include <cstring>
#include <string>

#include "test_support.h"

namespace test {

inline std::uint32_t turn(std::uint32_t x, unsigned left) { return x << left | x >> (32 - left); }

// Of one chunk.
inline std::array<std::uint32_t, 8> blake3(const std::string& bytes) {
    static const std::uint32_t iv[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                        0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
    static const int schedule[7][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
        {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1}, {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
        {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4}, {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
        {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13}};
    static const int columns[8][4] = {{0, 4, 8, 12},  {1, 5, 9, 13},  {2, 6, 10, 14}, {3, 7, 11, 15},
                                      {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13},  {3, 4, 9, 14}};
    std::array<std::uint32_t, 8> h;
    std::copy(iv, iv + 8, h.begin());
    const std::size_t blocks = std::max<std::size_t>(1, (bytes.size() + 63) / 64);
    for (std::size_t block = 0; block < blocks; ++block) {
        const std::string part = bytes.substr(block * 64, 64);
        std::uint32_t m[16] = {};
        std::memcpy(m, part.data(), part.size());
        const std::uint32_t flags = (block == 0 ? 1 : 0) | (block + 1 == blocks ? 2 | 8 : 0);
        std::uint32_t v[16];
        std::copy(h.begin(), h.end(), v);
        std::copy(iv, iv + 4, v + 8);
        v[12] = v[13] = 0, v[14] = std::uint32_t(part.size()), v[15] = flags;
        for (auto& order : schedule)
            for (int g = 0; g < 8; ++g) {
                std::uint32_t &a = v[columns[g][0]], &b = v[columns[g][1]], &c = v[columns[g][2]],
                              &d = v[columns[g][3]];
                for (int half = 0; half < 2; ++half) {
                    a = a + b + m[order[2 * g + half]];
                    d = turn(d ^ a, half ? 24 : 16);
                    c = c + d;
                    b = turn(b ^ c, half ? 25 : 20);
                }
            }
        for (int i = 0; i < 8; ++i) h[i] = v[i] ^ v[i + 8];
    }
    return h;
}

class ChaCha8 {
public:
    explicit ChaCha8(const std::array<std::uint32_t, 8>& key) : key_(key) {}
    std::uint32_t next() {
        if (used_ == 16) refill();
        return words_[used_++];
    }

private:
    std::array<std::uint32_t, 8> key_;
    std::uint32_t words_[16];
    std::uint64_t counter_ = 0;
    int used_ = 16;

    void refill() {
        std::uint32_t start[16], x[16];
        std::memcpy(start, "expand 32-byte k", 16);
        std::copy(key_.begin(), key_.end(), start + 4);
        start[12] = std::uint32_t(counter_), start[13] = std::uint32_t(counter_ >> 32), start[14] = start[15] = 0;
        std::copy(start, start + 16, x);
        for (int round = 0; round < 8; ++round)
            for (int i = 0; i < 4; ++i) {
                const int shift = round % 2;
                std::uint32_t &a = x[i], &b = x[4 + (i + shift) % 4], &c = x[8 + (i + 2 * shift) % 4],
                              &d = x[12 + (i + 3 * shift) % 4];
                a += b, d = turn(d ^ a, 16);
                c += d, b = turn(b ^ c, 12);
                a += b, d = turn(d ^ a, 8);
                c += d, b = turn(b ^ c, 7);
            }
        for (int i = 0; i < 16; ++i) words_[i] = x[i] + start[i];
        ++counter_;
        used_ = 0;
    }
};

// `memtrain_corpora::rng::addressed`.
inline ChaCha8 addressed(const std::string& purpose, std::uint64_t seed, const std::vector<std::uint64_t>& address) {
    std::string bytes;
    auto append = [&](std::uint64_t x) {
        for (int i = 0; i < 8; ++i) bytes.push_back(char(x >> (8 * i)));
    };
    append(purpose.size());
    bytes += purpose;
    append(seed);
    for (auto part : address) append(part);
    return ChaCha8(blake3(bytes));
}

}  // namespace test
