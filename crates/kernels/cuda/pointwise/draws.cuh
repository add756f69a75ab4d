// Addressed draws of stochastic rounding, word for word those of `corpora/src/rng.rs`.
//
//     key = BLAKE3(len(purpose), purpose, seed, step, parameter, square, task)      words = ChaCha8(key)
//
// Integers are hashed as 8 bytes, little-endian; purpose is "optim/adamw/moments", seed 0, square 1 for second moments,
// and a task is 16,384 elements of the parameter. Elements 2 w and 2 w + 1 of a task take the low and the high half of
// word w, so that a block of 16 words serves 32 elements and any of them can be made without those before.
//
// Sources: O'Connor et al. 2020, "BLAKE3"; Bernstein 2008, "ChaCha, a variant of Salsa20", with 8 rounds, a 64-bit
// counter and nonce 0.
//
// Operations: 1,900 a key (two a task), 400 a block of words: 25 an element for both moments.
#pragma once
#include "../emulator/device.h"

namespace pointwise {

// One instruction on the device.
__device__ __forceinline__ uint32_t rotate_right(uint32_t x, int by) { return x >> by | x << (32 - by); }

__device__ __forceinline__ void blake3_mix(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d, uint32_t x, uint32_t y) {
    a += b + x, d = rotate_right(d ^ a, 16), c += d, b = rotate_right(b ^ c, 12);
    a += b + y, d = rotate_right(d ^ a, 8), c += d, b = rotate_right(b ^ c, 7);
}

// Compresses a block of `length` bytes of chunk 0 into the chaining value. `m` is used up.
__device__ __forceinline__ void blake3_compress(uint32_t (&h)[8], uint32_t (&m)[16], uint32_t length, uint32_t flags) {
    uint32_t v[16] = {h[0],       h[1],       h[2],       h[3],       h[4], h[5], h[6],   h[7],
                      0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0,    0,    length, flags};
#pragma unroll 1
    for (int round = 0; round < 7; ++round) {
#pragma unroll
        for (int i = 0; i < 4; ++i) blake3_mix(v[i], v[4 + i], v[8 + i], v[12 + i], m[2 * i], m[2 * i + 1]);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            blake3_mix(v[i], v[4 + (i + 1) % 4], v[8 + (i + 2) % 4], v[12 + (i + 3) % 4], m[8 + 2 * i], m[9 + 2 * i]);
        const uint32_t next[16] = {m[2], m[6],  m[3],  m[10], m[7], m[0],  m[4],  m[13],
                                   m[1], m[11], m[12], m[5],  m[9], m[14], m[15], m[8]};
#pragma unroll
        for (int i = 0; i < 16; ++i) m[i] = next[i];
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) h[i] = v[i] ^ v[8 + i];
}

// The 67 bytes of the address are two blocks. The purpose has 19 bytes, so that the integers after it lie across words,
// with their lowest byte on top of one.
__device__ __forceinline__ void draw_key(uint32_t (&key)[8], uint64_t step, uint64_t parameter, uint64_t square,
                                         uint64_t task) {
    constexpr uint32_t CHUNK_START = 1, CHUNK_END = 2, ROOT = 8;
    const uint32_t start[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                               0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
#pragma unroll
    for (int i = 0; i < 8; ++i) key[i] = start[i];
    uint32_t first[16] = {19,
                          0,
                          0x6974706F,  // "opti"
                          0x64612F6D,  // "m/ad"
                          0x2F776D61,  // "amw/"
                          0x656D6F6D,  // "mome"
                          0x0073746E,  // "nts", and the seed's first byte
                          0,
                          uint32_t(step << 24),
                          uint32_t(step >> 8),
                          uint32_t(step >> 40 | parameter << 24),
                          uint32_t(parameter >> 8),
                          uint32_t(parameter >> 40 | square << 24),
                          uint32_t(square >> 8),
                          uint32_t(square >> 40 | task << 24),
                          uint32_t(task >> 8)};
    uint32_t second[16] = {uint32_t(task >> 40)};
    blake3_compress(key, first, 64, CHUNK_START);
    blake3_compress(key, second, 3, CHUNK_END | ROOT);
}

__device__ __forceinline__ void chacha_quarter(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
    a += b, d = rotate_right(d ^ a, 16), c += d, b = rotate_right(b ^ c, 20);
    a += b, d = rotate_right(d ^ a, 24), c += d, b = rotate_right(b ^ c, 25);
}

// Words [16 number, 16 number + 16) of the stream.
__device__ __forceinline__ void chacha_block(uint32_t (&x)[16], const uint32_t (&key)[8], uint32_t number) {
    const uint32_t start[16] = {0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, key[0], key[1], key[2], key[3],
                                key[4],     key[5],     key[6],     key[7],     number, 0,      0,      0};
#pragma unroll
    for (int i = 0; i < 16; ++i) x[i] = start[i];
#pragma unroll
    for (int round = 0; round < 8; round += 2) {
#pragma unroll
        for (int i = 0; i < 4; ++i) chacha_quarter(x[i], x[4 + i], x[8 + i], x[12 + i]);
#pragma unroll
        for (int i = 0; i < 4; ++i) chacha_quarter(x[i], x[4 + (i + 1) % 4], x[8 + (i + 2) % 4], x[12 + (i + 3) % 4]);
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) x[i] += start[i];
}

}  // namespace pointwise
