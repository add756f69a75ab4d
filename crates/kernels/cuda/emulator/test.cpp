// Tests of the emulator: instructions compute what the PTX ISA says, correct kernels are clean, and a planted fault of
// each kind is found. The last check is that no kind of fault went unprovoked.
#include <cstdlib>
#include <set>

#include "check.h"
#include "device.h"

using emu::Buffer;
using emu::Fault;
using emu::launch;

static std::set<Fault> provoked;

static void expect(const emu::Report& report, Fault fault, const char* what) {
    if (check::that(report.has(fault), what))
        provoked.insert(fault);
    else
        report.print_faults(stdout);
}
static void expect_either(const emu::Report& report, Fault first, Fault second, const char* what) {
    if (!check::that(report.has(first) || report.has(second), what)) report.print_faults(stdout);
}
static void expect_clean(const emu::Report& report, const char* what) {
    if (!check::that(report.clean(), what)) report.print_faults(stdout);
}

// --------------------------------------------------------------------------------------------- kernels and their
// faults

static void put(unsigned at, float x) { store_shared(at * 4, x); }
static float get(unsigned at) { return load_shared<float>(at * 4); }

// Each thread passes a value to the next warp through shared memory.
static void rotate(const float* in, float* out, bool with_barrier) {
    const unsigned t = threadIdx.x;
    put(t, load_global(in + t));
    if (with_barrier) __syncthreads();
    store_global(out + t, get((t + 32) % blockDim.x));
}

static void rotate_in_warp(const float* in, float* out, bool with_barrier) {
    const unsigned t = threadIdx.x, next = t / 32 * 32 + (t + 1) % 32;
    put(t, load_global(in + t));
    if (with_barrier) __syncwarp();
    store_global(out + t, get(next));
}

// Reads, then overwrites what others may still read.
static void overwrite(float* out, bool with_barrier, unsigned distance) {
    const unsigned t = threadIdx.x;
    put(t, float(t));
    __syncthreads();
    const float x = get((t + distance) % blockDim.x);
    if (with_barrier) __syncthreads();
    put(t, 0.0f);
    store_global(out + t, x);
}

// Threads that access one word of shared memory in an order that only a barrier promises: the first writes, or reads
// what thread 0 has written; the second writes or reads after it. Both by the order in which the emulator runs them.
enum class Do { Write, Read, AllRead, WarpReads };
static void conflict(unsigned first, Do what, unsigned second, Do then, bool with_barrier) {
    const unsigned t = threadIdx.x;
    if (what != Do::Write) {
        if (t == 0) put(0, 1.0f);
        __syncthreads();
    }
    const bool reads =
        (what == Do::Read && t == first) || what == Do::AllRead || (what == Do::WarpReads && t / 32 == first / 32);
    if (reads) get(0);
    if (what == Do::AllRead) __syncwarp();  // orders the own warp's reads, not those of others
    if (what == Do::Write && t == first) put(0, 2.0f);
    if (with_barrier) __syncthreads();
    if (t == second) then == Do::Write ? put(0, 3.0f) : void(get(0));
}

static void shift(const float* in, float* out, int by) {
    const unsigned t = threadIdx.x;
    store_global(out + t, load_global(in + int(t) + by));
}

enum class Copying { Right, NoWait, NoCommit, OneGroupTooMany, NoBarrier };
static void copy_two(const float* in, float* out, Copying how) {
    const unsigned t = threadIdx.x, n = blockDim.x * 4;
    copy_async(16 * t, in + 4 * t, true);
    copy_commit();
    copy_async(4 * n + 16 * t, in + n + 4 * t, true);
    if (how != Copying::NoCommit) copy_commit();
    if (how == Copying::OneGroupTooMany)
        copy_wait<1>();
    else if (how != Copying::NoWait)
        copy_wait<0>();
    if (how != Copying::NoBarrier) __syncthreads();
    const unsigned from = (t + 64) % blockDim.x;
    for (unsigned i = 0; i < 4; ++i) store_global(out + 4 * t + i, get(4 * from + i) + get(n + 4 * from + i));
    if (how == Copying::NoCommit) copy_commit();
    copy_wait<0>();
}

// C[16][16] = A B of one warp, by B[n][k] or transposed from B[k][n].
static void product(const uint16_t* a, const uint16_t* b, float* c, bool transposed) {
    const int lane = int(threadIdx.x);
    copy_async(uint32_t(16 * lane), a + lane * 8, true);
    copy_async(uint32_t(512 + 16 * lane), b + lane * 8, true);
    copy_commit();
    copy_wait<0>();
    __syncwarp();
    uint32_t fa[4], fb[4];
    ldmatrix(fa, uint32_t(16 * ((lane & 15) * 2 + (lane >> 4))));
    if (transposed)
        ldmatrix_trans(fb, uint32_t(512 + 16 * ((lane & 15) * 2 + (lane >> 4))));
    else
        ldmatrix(fb, uint32_t(512 + 16 * (((lane & 7) + (lane >> 4) * 8) * 2 + (lane >> 3 & 1))));
    for (int n = 0; n < 2; ++n) {
        float d[4] = {0, 0, 0, 0};
        mma(d, fa, fb[2 * n], fb[2 * n + 1]);
        for (int i = 0; i < 4; ++i) store_global(c + (lane / 4 + i / 2 * 8) * 16 + n * 8 + lane % 4 * 2 + i % 2, d[i]);
    }
}

// -------------------------------------------------------------------------------------------------------------- checks

static std::vector<float> ramp() {
    std::vector<float> values(1024);
    for (int i = 0; i < 1024; ++i) values[std::size_t(i)] = float(i) + 0.25f;
    return values;
}

static void races_in_shared_memory() {
    Buffer<float> in("in", ramp());
    emu::Options reversed;
    reversed.reverse_warps = true;
    Buffer<float> a("a", 128), b("b", 128), c("c", 128), d("d", 128), e("e", 128);
    expect_clean(launch("rotate", 1, 128, 512, [&] { rotate(in.data(), a.data(), true); }), "a barrier orders warps");
    bool right = true;
    for (std::size_t i = 0; i < 128; ++i) right = right && a[i] == in[(i + 32) % 128];
    check::that(right && a.unwritten() == 0, "values go where they should");
    expect_either(launch("rotate", 1, 128, 512, [&] { rotate(in.data(), b.data(), false); }), Fault::SharedRace,
                  Fault::SharedUnwritten, "a missing barrier");
    expect(launch(
               "rotate", 1, 128, 512, [&] { rotate(in.data(), b.data(), false); }, reversed),
           Fault::SharedRace, "a missing barrier where warps happen to run in an order that works");
    expect_clean(launch("in warp", 1, 128, 512, [&] { rotate_in_warp(in.data(), c.data(), true); }),
                 "__syncwarp orders lanes");
    expect_either(launch("in warp", 1, 128, 512, [&] { rotate_in_warp(in.data(), d.data(), false); }),
                  Fault::SharedRace, Fault::SharedUnwritten, "a missing __syncwarp");
    for (unsigned distance : {1u, 40u}) {
        expect_clean(launch("overwrite", 1, 128, 512, [&] { overwrite(e.data(), true, distance); }),
                     "overwriting after a barrier");
        expect(launch("overwrite", 1, 128, 512, [&] { overwrite(e.data(), false, distance); }), Fault::SharedRace,
               "overwriting what another thread reads");
    }
    struct {
        unsigned first;
        Do what;
        unsigned second;
        Do then;
        const char* name;
    } conflicts[] = {{0, Do::Write, 127, Do::Write, "two warps that write one word"},
                     {96, Do::Write, 127, Do::Write, "two lanes that write one word"},
                     {0, Do::Write, 127, Do::Read, "a read of what another warp wrote"},
                     {96, Do::Write, 127, Do::Read, "a read of what another lane wrote"},
                     {0, Do::Read, 127, Do::Write, "overwriting what another warp read"},
                     {96, Do::Read, 127, Do::Write, "overwriting what another lane read"},
                     {96, Do::WarpReads, 127, Do::Write, "overwriting what the own warp read"},
                     {0, Do::WarpReads, 127, Do::Write, "overwriting what all of another warp read"},
                     {0, Do::AllRead, 127, Do::Write, "overwriting what all read"}};
    for (auto& c : conflicts)
        for (bool with_barrier : {true, false}) {
            auto report =
                launch("conflict", 1, 128, 4, [&] { conflict(c.first, c.what, c.second, c.then, with_barrier); });
            if (with_barrier)
                expect_clean(report, c.name);
            else
                expect(report, Fault::SharedRace, c.name);
        }
}

static void global_memory() {
    Buffer<float> in("in", ramp()), out("out", 128);
    auto run = [&](unsigned blocks, unsigned threads, const float* from, float* to, int by) {
        return launch("shift", blocks, threads, 0, [=] { shift(from, to, by); });
    };
    expect_clean(run(1, 128, in.data(), out.data(), 896), "the last element may be read");
    expect(run(1, 128, in.data(), out.data(), 897), Fault::GlobalBounds, "a read past the end");
    expect(run(1, 128, in.data(), out.data(), -1), Fault::GlobalBounds, "a read before the start");
    expect(run(1, 129, in.data(), out.data(), 0), Fault::GlobalBounds, "a write past the end");
    expect(run(1, 128, in.data(), in.data(), 0), Fault::GlobalBounds, "a write to an input");
    expect(run(2, 128, in.data(), out.data(), 0), Fault::GlobalRace, "two blocks that write one element");
    Buffer<float> partly("partly", 129), other("other", 128);
    run(1, 128, in.data(), partly.data(), 0);
    check::that(partly.unwritten() == 1, "an output element that nobody writes is counted");
    check::that(std::isnan(partly[128]), "an output element that nobody writes is NaN");
    expect(run(1, 128, partly.data(), other.data(), 1), Fault::GlobalUnwritten, "a read of what nobody wrote");
    Buffer<float> state("state", 129);
    state.write(std::vector<float>(129, 1.0f));
    expect_clean(run(1, 128, state.data(), state.data(), 0), "an update in place");
    emu::Options reversed;
    reversed.reverse_warps = true;
    for (auto& options : {emu::Options{}, reversed})
        expect(launch(
                   "shift", 1, 128, 0, [&] { shift(state.data(), state.data(), 1); }, options),
               Fault::GlobalRace, "an update in place that reads a neighbour");
    expect(launch("bent", 1, 32, 0, [&] { load_global(reinterpret_cast<const float4*>(in.data() + 1 + threadIdx.x)); }),
           Fault::Alignment, "a misaligned vector load");
    Buffer<float> sum("sum", 1);
    expect(launch("atomic", 1, 32, 0, [&] { atomic_add(sum.data(), 1.0f); }), Fault::GlobalUnwritten,
           "an atomic on what nobody wrote");
    sum.fill(0);
    expect_clean(launch("atomic", 3, 64, 0, [&] { atomic_add(sum.data(), 1.0f); }), "atomics may meet");
    check::that(sum[0] == 192, "atomics add up");
    expect(launch("atomic", 1, 32, 0,
                  [&] { threadIdx.x == 0 ? store_global(sum.data(), 0.0f) : void(atomic_add(sum.data(), 1.0f)); }),
           Fault::GlobalRace, "an atomic that meets a plain store");
}

static void asynchronous_copies() {
    Buffer<float> in("in", ramp());
    for (auto [how, what] :
         {std::pair{Copying::NoWait, "a missing wait_group"}, std::pair{Copying::NoCommit, "a missing commit_group"},
          std::pair{Copying::OneGroupTooMany, "a wait_group that leaves one group too many"}}) {
        Buffer<float> out("out", 512);
        expect(launch("copy", 1, 128, 4096, [&, how = how] { copy_two(in.data(), out.data(), how); }),
               Fault::CopyInFlight, what);
        check::that(std::isnan(out[0]), "what has not landed is NaN");
    }
    Buffer<float> out("out", 512), other("other", 512);
    expect_clean(launch("copy", 1, 128, 4096, [&] { copy_two(in.data(), out.data(), Copying::Right); }),
                 "copies that are awaited");
    check::that(out[0] == in[256] + in[768], "copies land where they should");
    expect_either(launch("copy", 1, 128, 4096, [&] { copy_two(in.data(), other.data(), Copying::NoBarrier); }),
                  Fault::CopyInFlight, Fault::SharedRace, "a wait without a barrier after it");
    expect(launch("never", 1, 32, 512,
                  [&] {
                      copy_async(16 * threadIdx.x, in.data() + 4 * threadIdx.x, true);
                      copy_commit();
                  }),
           Fault::CopyNeverAwaited, "a copy that nobody awaits");
    expect(launch("past", 1, 32, 512,
                  [&] {
                      copy_async(16 * threadIdx.x, in.data() + 4 * threadIdx.x + 1000, true);
                      copy_commit();
                      copy_wait<0>();
                  }),
           Fault::GlobalBounds, "a copy from past the end");
    Buffer<float> zeros("zeros", 32);
    expect_clean(launch("zeros", 1, 32, 512,
                        [&] {
                            copy_async(16 * threadIdx.x, nullptr, false);
                            copy_commit();
                            copy_wait<0>();
                            store_global(zeros.data() + threadIdx.x, get(4 * threadIdx.x));
                        }),
                 "a copy that is not valid reads nothing");
    check::that(zeros[31] == 0, "a copy that is not valid leaves zeros");
}

static void transactions() {
    auto column = [&](unsigned stride) {
        return launch("column", 1, 32, 32 * 33 * 4, [=] { put(threadIdx.x * stride, 1.0f); });
    };
    check::that(column(1).banks["store"].transactions == 1, "32 words in a row are one wavefront");
    check::that(column(32).banks["store"].transactions == 32, "32 words of one bank are 32 wavefronts");
    check::that(column(2).banks["store"].transactions == 2, "every second word is two wavefronts");
    check::that(column(33).banks["store"].transactions == 1, "a padded column is one wavefront");
    check::that(column(0).banks["store"].transactions == 1, "one word for all is one wavefront");
    auto vectors = launch("vectors", 1, 32, 1024, [=] { store_shared(threadIdx.x * 16, make_uint4(1, 2, 3, 4)); });
    check::that(vectors.banks["store"].transactions == 4 && vectors.banks["store"].excess() == 1,
                "512 bytes are four wavefronts");
    auto matrices = [&](unsigned row_bytes) {
        return launch("matrices", 1, 32, 32 * 128, [=] {
            for (unsigned i = 0; i < 32; ++i) put(threadIdx.x + 32 * i, 0.0f);
            __syncwarp();
            uint32_t r[4];
            ldmatrix(r, threadIdx.x * row_bytes);
        });
    };
    check::that(matrices(16).banks["ldmatrix"].excess() == 1, "ldmatrix of rows side by side has no conflicts");
    check::that(matrices(128).banks["ldmatrix"].excess() == 8, "ldmatrix of rows 128 bytes apart has eight for one");
    Buffer<float> in("in", ramp()), out("out", 32);
    auto gather = [&](unsigned stride) {
        return launch("gather", 1, 32, 0, [&, stride] { load_global(in.data() + threadIdx.x * stride); });
    };
    check::that(gather(1).sectors["load"].transactions == 4, "32 floats in a row are four sectors");
    check::that(gather(8).sectors["load"].transactions == 32, "32 floats in 32 sectors");
    check::that(gather(8).sectors["load"].excess() == 8, "a stride of 32 bytes moves eight times the bytes");
    check::that(gather(0).sectors["load"].transactions == 1, "one float for all is one sector");
    auto ragged = launch("ragged", 1, 32, 0, [&] {
        if (threadIdx.x < 8) load_global(in.data() + threadIdx.x);
        store_global(out.data() + threadIdx.x, 0.0f);
    });
    check::that(ragged.sectors["load"].transactions == 1 && ragged.sectors["store"].transactions == 4,
                "lanes that skip an access");
    check::that(ragged.global_bytes_read == 32 && ragged.global_bytes_written == 128,
                "bytes of global memory are counted");
}

static void shared_memory_and_divergence() {
    expect(launch("past", 1, 32, 64, [=] { put(threadIdx.x, 1.0f); }), Fault::SharedBounds,
           "a shared access out of bounds");
    expect(launch("nothing", 1, 32, 128, [=] { get(threadIdx.x); }), Fault::SharedUnwritten,
           "a read of unwritten shared memory");
    expect(launch("bent", 1, 32, 1024,
                  [=] {
                      uint32_t r[4];
                      ldmatrix(r, 8 + threadIdx.x * 16);
                  }),
           Fault::Alignment, "a misaligned ldmatrix");
    expect(launch("apart", 1, 64, 0,
                  [=] {
                      if (threadIdx.x < 40) __syncthreads();
                  }),
           Fault::Divergence, "a barrier that some threads skip");
    expect(launch("apart", 1, 32, 0,
                  [=] {
                      if (threadIdx.x < 7) shuffle_xor(1.0f, 1);
                  }),
           Fault::Divergence, "a shuffle that some lanes skip");
    expect(launch("apart", 1, 32, 0, [=] { threadIdx.x < 7 ? void(shuffle_xor(1.0f, 1)) : void(warp_any(true)); }),
           Fault::Divergence, "a shuffle that meets a vote");
    expect(launch("apart", 1, 64, 0,
                  [=] {
                      if (threadIdx.x < 32)
                          __syncthreads();
                      else
                          __syncthreads();
                  }),
           Fault::Divergence, "barriers of two branches");
    expect(launch("narrow", 1, 24, 0, [=] { shuffle_xor(1.0f, 16); }), Fault::Divergence,
           "a shuffle from a lane that does not exist");
    expect(launch("large", 1, 1025, 0, [=] {}), Fault::LaunchLimits, "a block of more than 1024 threads");
    expect(launch("large", 1, 32, 100 << 10, [=] {}), Fault::LaunchLimits, "more shared memory than a block may have");
    expect(launch("none", 0, 32, 0, [=] {}), Fault::LaunchLimits, "a grid of no blocks");
    expect(launch("tall", {1, 65536}, 32, 0, [=] {}), Fault::LaunchLimits, "a grid of more than 65535 blocks in y");
    Buffer<float> out("out", 12);
    expect_clean(
        launch("grid", {2, 3}, {1, 2}, 0,
               [&] { store_global(out.data() + (blockIdx.y * gridDim.x + blockIdx.x) * 2 + threadIdx.y, 1.0f); }),
        "blocks and threads of two dimensions");
    check::that(out.unwritten() == 0, "each of them once");
}

static void warp_instructions() {
    Buffer<float> lanes("lanes", 32);
    auto report = launch("shuffle", 1, 32, 0, [&] {
        const float sum = warp_sum(float(threadIdx.x)), most = warp_max(-float(threadIdx.x));
        store_global(lanes.data() + threadIdx.x, sum + most + (warp_any(threadIdx.x == 9) ? 1000.0f : 0.0f));
    });
    expect_clean(report, "shuffles and votes");
    check::that(lanes[0] == 1496 && lanes[31] == 1496, "sum, maximum and vote of a warp");
    check::that(report.executed["shuffle"] == 10 && report.executed["vote"] == 1, "warp-wide instructions are counted");

    auto number = [](int i) { return float((i * 37 + 11) % 61 - 30) / 8.0f; };  // exact in bf16, sums exact in f32
    for (bool transposed : {false, true}) {
        std::vector<uint16_t> a(256), b(256);
        for (int i = 0; i < 256; ++i) {
            a[std::size_t(i)] = emu::float_to_bf16(number(i));
            b[std::size_t(i)] = emu::float_to_bf16(number(3 * i + 5));
        }
        Buffer<uint16_t> a_buffer("a", a), b_buffer("b", b);
        Buffer<float> c("c", 256);
        expect_clean(
            launch("product", 1, 32, 1024, [&] { product(a_buffer.data(), b_buffer.data(), c.data(), transposed); }),
            transposed ? "a product by ldmatrix.trans" : "a product by ldmatrix");
        bool right = true;
        for (int i = 0; i < 16; ++i)
            for (int j = 0; j < 16; ++j) {
                float sum = 0;
                for (int k = 0; k < 16; ++k)
                    sum += number(i * 16 + k) * number(3 * (transposed ? k * 16 + j : j * 16 + k) + 5);
                right = right && c[std::size_t(i * 16 + j)] == sum;
            }
        check::that(right, "mma equals the triple loop exactly");
    }
}

static void bf16_rounding() {
    check::that(emu::float_to_bf16(1.00390625f) == 0x3F80 && emu::float_to_bf16(1.01171875f) == 0x3F82,
                "ties go to even");
    check::that(emu::float_to_bf16(INFINITY) == 0x7F80 && emu::float_to_bf16(-INFINITY) == 0xFF80, "infinities stay");
    check::that(std::isnan(emu::bf16_to_float(emu::float_to_bf16(NAN))), "NaN stays");
    check::that(emu::float_to_bf16(3.4e38f) == 0x7F80, "what is beyond the largest becomes infinite");
    bool same = true;
    for (unsigned x = 0; x < 0x10000; ++x) {
        const float wide = emu::bf16_to_float(uint16_t(x));
        same = same && (std::isnan(wide) || emu::float_to_bf16(wide) == x);
    }
    check::that(same, "each bf16 survives the way to f32 and back");
    check::that(pack_bf16(1.0f, 2.0f) == 0x40003F80 && low_bf16(0x40003F80) == 1 && high_bf16(0x40003F80) == 2,
                "packing");
}

int main() {
    races_in_shared_memory();
    global_memory();
    asynchronous_copies();
    transactions();
    shared_memory_and_divergence();
    warp_instructions();
    bf16_rounding();
    check::that(provoked.size() == emu::FAULT_KINDS, "each kind of fault was provoked");
    return check::summary("emulator");
}
