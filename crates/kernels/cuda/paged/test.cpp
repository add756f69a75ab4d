// Property tests of the kernels of a paged KV cache through the emulator, against f64.
//
//     test [seed [rounds]]     random passes; with 0 rounds the fixed ones alone
//
// A case fails by a fault of the emulator, an error above the bound (NaN of a slot in no use is one), an output that is
// not written, work that differs from the plan's, bank conflicts, or a bit that depends on the order of blocks and
// warps.
#include <chrono>
#include <cstdlib>
#include <sstream>

#include "../emulator/check.h"
#include "launcher.h"

using namespace reference;
using paged_plan::BLOCK;

// The planting of faults compiles the kernels anew for each: one width instead of three, and the first failure ends it.
#ifdef FAULTS_QUICK
#define WIDTH(D) 64
constexpr bool STOP_AT_FAILURE = true;
#else
#define WIDTH(D) D
constexpr bool STOP_AT_FAILURE = false;
#endif

static void stop_if_failed() {
    if (STOP_AT_FAILURE && check::failures > 0) std::exit(check::summary("paged"));
}

// ---------------------------------------------------------------------------------------------------------------- plan

// Every row meets each key up to its own position once, in the slot where it lies, and its parts are those that are
// merged. Gives the tiles of keys that are read.
static bool plan_is_right(const Problem& p, const paged_plan::Plan& plan, long long& tiles) {
    const int group = p.heads / p.kv_heads;
    bool good = true;
    std::vector<std::vector<int>> seen(std::size_t(p.rows)), parts(std::size_t(p.rows));
    int length = 1 << 30;
    for (auto& item : plan.items) {
        good = good && item.count > 0 && item.begin % BLOCK == 0 && item.begin < item.end &&
               item.end - item.begin <= length;
        good = good && item.count * group <= 64 && item.wide == (item.count * group > 16);
        length = item.end - item.begin;
        tiles += (length + paged_plan::KEYS - 1) / paged_plan::KEYS;
        int least = item.end;
        for (int e = item.first; e < item.first + item.count; ++e) {
            const auto& entry = plan.entries[std::size_t(e)];
            const int position = plan.positions[std::size_t(entry.row)];
            parts[std::size_t(entry.row)].push_back(entry.part);
            least = std::min(least, position + 1);
            good = good && position >= item.begin;
            for (int key = item.begin; key < std::min(item.end, position + 1); ++key)
                seen[std::size_t(entry.row)].push_back(
                    plan.block_tables[std::size_t(item.sequence * plan.max_blocks + key / BLOCK)] * BLOCK +
                    key % BLOCK);
        }
        good = good && item.unmasked == least;
    }
    std::vector<std::vector<int>> expected(std::size_t(p.rows));
    std::vector<int> slots(std::size_t(p.rows), -1);
    for (auto& sequence : p.sequences)
        for (int i = 0; i < sequence.count; ++i) {
            const std::size_t row = std::size_t(sequence.first + i);
            for (int key = 0; key <= sequence.position + i; ++key)
                expected[row].push_back(sequence.blocks[std::size_t(key / BLOCK)] * BLOCK + key % BLOCK);
            slots[row] = expected[row].back();
            good = good && plan.positions[row] == sequence.position + i;
        }
    std::size_t merge = 0;
    int part = 0;
    for (std::size_t row = 0; row < seen.size(); ++row) {
        std::sort(seen[row].begin(), seen[row].end());
        std::sort(expected[row].begin(), expected[row].end());
        std::sort(parts[row].begin(), parts[row].end());
        good = good && seen[row] == expected[row];
        if (parts[row].size() == 1) {
            good = good && parts[row][0] == -1;
            continue;
        }
        good = good && merge < plan.merges.size() && plan.merges[merge].row == int(row) &&
               plan.merges[merge].count == int(parts[row].size());
        for (int i : parts[row]) good = good && i == part++;
        if (!parts[row].empty()) good = good && plan.merges[merge].first == parts[row][0];
        ++merge;
    }
    return good && merge == plan.merges.size() && part == plan.parts && plan.slots == slots;
}

template <class Call>
static bool throws(Call call) {
    try {
        call();
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

static void check_plans(Random& random) {
    using paged_plan::make_plan;
    auto check_plan = [&](const std::vector<Outline>& outlines, int group, int kv_heads) {
        const auto p = make_problem(outlines, 8, group, kv_heads, 1, random);
        long long tiles = 0;
        const auto plan = make_plan(p.sequences, p.rows, group, kv_heads, 1 + below(random, 300));
        check::that(plan_is_right(p, plan, tiles), "a plan has each row meet each of its keys once");
    };
    for (int i = 0; i < 100; ++i) check_plan(random_outlines(random, 40), 1 + below(random, 8), 1 + below(random, 4));
    // Rows that share a tile with later ones and see the first piece of a prefix alone.
    std::vector<Outline> reading{{-1, 0, 266, 200}};
    for (int i = 0; i < 8; ++i) reading.push_back({0, 8, 270, 1});
    for (int i = 0; i < 8; ++i) check_plan(reading, 1, 4);
    // 512 decodes of one prompt of 2,048 positions with 64 of their own, four heads a group: the prompt is read by 32
    // tiles of 64 query rows, once for 16 sequences, and each suffix once.
    std::vector<Outline> outlines{{-1, 0, 2112, 1}};
    for (int i = 1; i < 512; ++i) outlines.push_back({0, 64, 2112, 1});
    const auto p = make_problem(outlines, 8, 4, 1, 1, random);
    long long tiles = 0;
    check::that(plan_is_right(p, make_plan(p.sequences, p.rows, 4, 8, 264), tiles), "a plan of 512 decodes is right");
    check::that(tiles == 32 * 32 + 512, "a prompt is read once for 16 sequences");
    check::that(make_plan({}, 0, 2, 1, 4).items.empty(), "a plan of no rows has no work");
    check::that(throws([] { make_plan({{0, 1, 0, {0}}}, 1, 65, 1, 1); }), "65 heads do not fit a tile");
    check::that(throws([] { make_plan({{0, 2, 31, {0}}}, 2, 1, 1, 1); }), "a position without a block");
    check::that(throws([] { make_plan({{0, 2, 0, {0}}}, 1, 1, 1, 1); }), "a row beyond the pass");
    check::that(throws([] { make_plan({{0, 2, 0, {0}}, {1, 1, 0, {1}}}, 2, 1, 1, 1); }), "a row of two sequences");
}

// kernels.tsv, which launchers read, says what the templates say.
static std::string table_of_kernels() {
    std::ostringstream out;
    out << "kernel\tthreads\tshared_bytes\n";
    auto width = [&](int width, int threads, int shared_bytes, int merge_threads) {
        out << "paged_attention_" << width << "\t" << threads << "\t" << shared_bytes << "\n";
        out << "paged_merge_" << width << "\t" << merge_threads << "\t0\n";
    };
    width(64, paged::Attention<64>::THREADS, paged::Attention<64>::SHARED, paged::MergeParts<64>::THREADS);
    width(96, paged::Attention<96>::THREADS, paged::Attention<96>::SHARED, paged::MergeParts<96>::THREADS);
    width(128, paged::Attention<128>::THREADS, paged::Attention<128>::SHARED, paged::MergeParts<128>::THREADS);
    out << "paged_write\t" << paged::Write::THREADS << "\t0\n";
    out << "paged_copy\t" << paged::Copy::THREADS << "\t0\n";
    return out.str();
}

// ------------------------------------------------------------------------------------------------------------- kernels

// The roundings of weights and outputs to bf16 give 2e-3 to 5e-3, a wrong key 1e-1 or more.
constexpr double BOUND = 1e-2;
static double worst = 0;
static int cases = 0;
static trial::Log history;

template <int D>
static void test(const char* what, const std::vector<Outline>& outlines, int group, int kv_heads, double sharpness,
                 int blocks_at_a_time, Random& random) {
    const Problem p = make_problem(outlines, D, group, kv_heads, sharpness, random);
    const int idle = below(random, 3);
    const bool readable = cases++ % 2;
    auto once = [&] { return launcher::pass<D>(p, blocks_at_a_time, idle, readable, history, random); };
    history.good = true;
    const auto out = once();
    std::vector<double> got(out.size());
    for (std::size_t i = 0; i < got.size(); ++i) got[i] = emu::bf16_to_float(out[i]);
    const double error = relative_error(got, attention(p));
    bool good = history.good && error < BOUND;
    worst = std::max(worst, error);
    if (cases % 3 == 0 && once() != out) {
        good = false;
        std::printf("  two runs differ\n");
    }
    std::printf("%s %-22s D %3d, heads %2d/%d, %2zu sequences, %3d rows, %3d at a time: %.1e\n", good ? "ok  " : "FAIL",
                what, D, p.heads, p.kv_heads, p.sequences.size(), p.rows, blocks_at_a_time, error);
    if (!good)
        for (auto& s : p.sequences) std::printf("      rows %d+%d at %d\n", s.first, s.count, s.position);
    check::that(good, what);
    stop_if_failed();
}

// Pairs of blocks in all panels; everything else stays as it is.
static void test_copy(Random& random) {
    const int layers = 1 + below(random, 3), blocks = 8, chunks = (1 + below(random, 3)) * 4 * BLOCK;
    const std::size_t block = std::size_t(chunks) * 8, panel = block * std::size_t(blocks);
    std::vector<std::uint16_t> before(2 * std::size_t(layers) * panel);
    for (auto& x : before) x = std::uint16_t(random());
    std::vector<int2> pairs{{0, 5}, {3, 1}, {0, 7}};
    pairs.resize(std::size_t(1 + below(random, 3)));
    emu::Buffer<std::uint16_t> pool("pool", before.size());
    pool.write(before);
    emu::Buffer<int2> list("pairs", pairs);
    const paged::CopyArguments a{2 * layers, blocks, chunks, 0, list.data(), pool.data()};
    history.good = true;
    launcher::launch(history, random, "paged_copy", pairs.size() * 2 * std::size_t(layers), paged::Copy::THREADS, 0,
                     [&] { paged::Copy::run(a); });
    auto expected = before;
    for (auto& pair : pairs)
        for (std::size_t p = 0; p < 2 * std::size_t(layers); ++p)
            for (std::size_t i = 0; i < block; ++i)
                expected[p * panel + std::size_t(pair.y) * block + i] =
                    before[p * panel + std::size_t(pair.x) * block + i];
    check::that(history.good && pool.values() == expected, "blocks are copied in all layers, and nothing else is");
}

static std::vector<Outline> family(int prefix_blocks, int members, int own) {
    std::vector<Outline> outlines;
    for (int i = 0; i < members; ++i)
        outlines.push_back({i ? 0 : -1, prefix_blocks, prefix_blocks * BLOCK + 1 + i * 7 % own, 1});
    return outlines;
}

static void fixed_cases(Random& random) {
    test<WIDTH(64)>("one token", {{-1, 0, 1, 1}}, 1, 1, 1, 1, random);
    test<WIDTH(128)>("ends of blocks", {{-1, 0, 31, 1}, {-1, 0, 32, 1}, {-1, 0, 33, 1}, {-1, 0, 64, 1}, {-1, 0, 65, 1}},
                     4, 2, 1, 8, random);
    test<WIDTH(64)>("split over keys", {{-1, 0, 700, 1}, {-1, 0, 5, 1}}, 4, 2, 1, 100, random);
    test<WIDTH(96)>("family", family(7, 9, 40), 4, 1, 1, 2, random);
    test<WIDTH(64)>("family, split", family(16, 20, 70), 2, 1, 1, 64, random);
    test<WIDTH(128)>("prompt", {{-1, 0, 200, 200}}, 2, 1, 1, 1, random);
    test<WIDTH(64)>("prompt, split", {{-1, 0, 300, 300}}, 1, 1, 1, 100, random);
    test<WIDTH(64)>("prompt and decodes", {{-1, 0, 170, 100}, {-1, 0, 260, 1}, {0, 2, 97, 1}, {0, 2, 130, 40}}, 4, 1, 1,
                    16, random);
    test<WIDTH(64)>("a prefix being read", {{-1, 0, 180, 150}, {0, 5, 200, 1}, {0, 5, 161, 1}, {0, 5, 190, 30}}, 4, 1,
                    1, 64, random);
    test<WIDTH(64)>("sharp", {{-1, 0, 400, 1}, {0, 9, 333, 3}}, 2, 1, 12, 30, random);  // scores of size 100
    test<WIDTH(64)>("7 heads a group", family(4, 5, 90), 7, 2, 1, 4, random);           // Qwen2.5-0.5B
    test<WIDTH(64)>("64 heads a group", {{-1, 0, 100, 2}}, 64, 1, 1, 4, random);
    test<WIDTH(64)>("no sequence", {}, 2, 1, 1, 4, random);
    for (int i = 0; i < 4; ++i) test_copy(random);
    stop_if_failed();
}

static void random_case(int round, Random& random) {
    const int group = 1 << below(random, 4), kv_heads = group >= 4 ? 1 : 1 + below(random, 2);
    const int blocks_at_a_time = below(random, 2) ? 1 : 1 + below(random, 100);
    const auto outlines = random_outlines(random, 16);
    const double sharpness = below(random, 4) == 0 ? 4 : 1;
    switch (round % 3) {
        case 0:
            return test<WIDTH(64)>("random", outlines, group, kv_heads, sharpness, blocks_at_a_time, random);
        case 1:
            return test<WIDTH(128)>("random", outlines, group, kv_heads, sharpness, blocks_at_a_time, random);
        default:
            return test<WIDTH(96)>("random", outlines, group, kv_heads, sharpness, blocks_at_a_time, random);
    }
}

int main(int argc, char** argv) {
    const std::uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
    const int rounds = argc > 2 ? std::atoi(argv[2]) : 24;
    std::printf("seed %llu, %d rounds\n", (unsigned long long)seed, rounds);
    Random random(seed);
    const auto start = std::chrono::steady_clock::now();
    check_plans(random);
    const std::string here = __FILE__, folder = here.substr(0, here.find_last_of('/') + 1);
    check::that(trial::read_file(folder + "kernels.tsv") == table_of_kernels(), "kernels.tsv is that of the kernels");
    stop_if_failed();
    fixed_cases(random);
    for (int round = 0; round < rounds; ++round) random_case(round, random);
    history.check_traffic();
    std::printf("worst: %.2e\n", worst);
    std::printf("%.0f s\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return check::summary("paged");
}
