#include "engine/cuda/emulator/emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <unordered_set>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
namespace {

constexpr unsigned kLanes = 32;
constexpr std::size_t kArenaBytes = std::size_t{256} << 20;
constexpr std::size_t kSharedBytes = std::size_t{256} << 10;
constexpr std::size_t kGap = std::size_t{64} << 10;  // between buffers: no access there is in order
constexpr std::size_t kCellBytes = 2;                // the smallest element
constexpr std::size_t kStackBytes = std::size_t{128} << 10;
constexpr std::size_t kMaxMessages = 20;

enum class State : std::uint8_t { outside, uninitialised, initialised };
enum class Readers : std::uint8_t { one, one_warp, several_warps };

// Who was last at two bytes of memory. An epoch is the time between two barriers of a block; no two
// blocks have one in common. Between two barriers of a warp there is a warp's epoch.
struct Cell {
  State state;
  Readers readers;
  std::uint16_t writer, reader;
  std::uint32_t write_epoch, write_warp_epoch, read_epoch, read_warp_epoch;
};

// ---- Fibers -------------------------------------------------------------------------------------
#if defined(__x86_64__)
// Keeps what the calling convention says a call keeps, and goes on with the other stack.
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
.text
.p2align 4
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch, .-emulator_switch
)");
struct Context {
  void* stack_pointer = nullptr;

  void start(char* stack, std::size_t bytes, void (*entry)()) {
    // The stack's end is on a boundary of 16 bytes, for it comes from mmap(). The first nullptr
    // stands where a caller's address would: entry() never returns.
    void* const top[8] = {
        nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, reinterpret_cast<void*>(entry),
        nullptr};
    stack_pointer =
        std::memcpy(stack + bytes - sizeof top, static_cast<const void*>(top), sizeof top);
  }
  static void change(Context& from, Context& to) {
    emulator_switch(&from.stack_pointer, to.stack_pointer);
  }
};
#else
struct Context {
  ucontext_t context;

  void start(char* stack, std::size_t bytes, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = bytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
  static void change(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
};
#endif

struct Copy {
  char* to;
  const char* from;
  bool zeros;
};

enum class Wait : std::uint8_t { ready, warp, block, ended };

struct Fiber {
  Context context;
  Wait wait = Wait::ready;
  const void* site = nullptr;  // the barrier at which it waits
  std::deque<std::vector<Copy>> groups;
  std::vector<Copy> open_group;
};

enum class Collective : std::uint8_t {
  sync,
  shuffle_xor,
  shuffle,
  matrices,
  matrices_transposed,
  bfloat16,
  float16
};

// What the lanes of a warp have put down for an instruction that all of them take part in.
struct Warp {
  unsigned arrived = 0;
  Collective kind = Collective::sync;
  std::uint32_t epoch = 0;
  float value[kLanes];
  int lane[kLanes];
  float result[kLanes];
  const void* row[kLanes];
  unsigned a[kLanes][4], b[kLanes][2], loaded[kLanes][4];
  float c[kLanes][4];
};

// One access of a warp, put together from its lanes'.
struct WarpAccess {
  std::vector<std::pair<std::uint64_t, unsigned>> lanes;  // address, bytes
};

struct Machine {
  char* arena = nullptr;
  Cell* cells = nullptr;
  std::size_t used = kSharedBytes + kGap;  // the arena begins with the shared memory
  struct Region {
    std::size_t bytes;
    std::string name;
  };
  std::map<std::size_t, Region> regions;

  bool running = false;
  std::size_t shared_bytes = 0;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<char*> stacks;
  Context scheduler;
  unsigned current = 0, ended = 0;
  const std::function<void()>* kernel = nullptr;

  std::uint32_t epoch = 1, launch_epoch = 1, block_epoch = 1;

  Findings findings;
  Counters counters;
  bool counting = false;
  struct Key {
    const void* site;
    unsigned warp;
    bool write;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const {
      return std::hash<const void*>()(key.site) * 31 + key.warp * 2 + (key.write ? 1 : 0);
    }
  };
  struct Site {
    std::array<std::uint32_t, kLanes> turns{};
    std::vector<WarpAccess> accesses;
  };
  std::unordered_map<Key, Site, Hash> sites;
  std::unordered_set<std::uint64_t> sectors_read, sectors_written;

  Machine() {
    arena = static_cast<char*>(reserve(kArenaBytes));
    cells = static_cast<Cell*>(reserve(kArenaBytes / kCellBytes * sizeof(Cell)));
  }
  static void* reserve(std::size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    return memory;
  }
};

// One for the process, and as plain as can be: each access comes here.
Machine the_machine;
inline Machine& machine() { return the_machine; }

std::string place_of(std::size_t offset) {
  auto& m = machine();
  if (offset < kSharedBytes + kGap / 2) return "shared memory, byte " + std::to_string(offset);
  const auto after = m.regions.upper_bound(offset);
  std::string text = "no buffer";
  if (after != m.regions.begin()) {
    const auto& [begin, region] = *std::prev(after);
    text = region.name + " (" + std::to_string(region.bytes) + " bytes), byte " +
           std::to_string(offset - begin);
  }
  return text;
}

void report(std::size_t Findings::*kind, const std::string& what) {
  auto& m = machine();
  ++(m.findings.*kind);
  if (m.findings.messages.size() < kMaxMessages) {
    m.findings.messages.push_back(what + ", block (" + std::to_string(blockIdx.x) + ", " +
                                  std::to_string(blockIdx.y) + "), thread " +
                                  std::to_string(m.current));
  }
}

void check_read(Cell& cell, std::size_t offset) {
  auto& m = machine();
  const auto thread = static_cast<std::uint16_t>(m.current);
  const auto warp_epoch = m.warps[m.current / kLanes].epoch;
  if (cell.state == State::outside)
    return report(&Findings::bounds, "read outside: " + place_of(offset));
  if (cell.state == State::uninitialised) {
    return report(&Findings::uninitialised, "read of nothing: " + place_of(offset));
  }
  if (cell.write_epoch >= m.launch_epoch) {
    const bool other_block = cell.write_epoch < m.block_epoch;
    const bool unordered =
        cell.write_epoch == m.epoch && cell.writer != thread &&
        (cell.writer / kLanes != thread / kLanes || cell.write_warp_epoch == warp_epoch);
    if (other_block || unordered) {
      report(&Findings::race,
             "read of what " +
                 (other_block ? "another block" : "thread " + std::to_string(cell.writer)) +
                 " wrote: " + place_of(offset));
    }
  }
  if (cell.read_epoch != m.epoch) {
    cell.readers = Readers::one;
  } else if (cell.reader != thread && cell.readers != Readers::several_warps) {
    if (cell.reader / kLanes != thread / kLanes) {
      cell.readers = Readers::several_warps;
    } else {
      cell.readers = cell.read_warp_epoch == warp_epoch ? Readers::one_warp : Readers::one;
    }
  }
  cell.reader = thread;
  cell.read_epoch = m.epoch;
  cell.read_warp_epoch = warp_epoch;
}

void check_write(Cell& cell, std::size_t offset) {
  auto& m = machine();
  const auto thread = static_cast<std::uint16_t>(m.current);
  const auto warp_epoch = m.warps[m.current / kLanes].epoch;
  if (cell.state == State::outside)
    return report(&Findings::bounds, "write outside: " + place_of(offset));
  const auto same_warp = [&](std::uint16_t other) { return other / kLanes == thread / kLanes; };
  bool race = false;
  if (cell.write_epoch >= m.launch_epoch) {
    race = cell.write_epoch < m.block_epoch ||
           (cell.write_epoch == m.epoch && cell.writer != thread &&
            (!same_warp(cell.writer) || cell.write_warp_epoch == warp_epoch));
  }
  if (cell.read_epoch >= m.launch_epoch) {
    race = race || cell.read_epoch < m.block_epoch;
    if (cell.read_epoch == m.epoch) {
      const bool now = cell.read_warp_epoch == warp_epoch;
      race = race || cell.readers == Readers::several_warps ||
             (cell.readers == Readers::one_warp
                  ? !same_warp(cell.reader) || now
                  : cell.reader != thread && (!same_warp(cell.reader) || now));
    }
  }
  if (race) report(&Findings::race, "write to what others use: " + place_of(offset));
  cell.state = State::initialised;
  cell.writer = thread;
  cell.write_epoch = m.epoch;
  cell.write_warp_epoch = warp_epoch;
}

void count(std::size_t offset, std::size_t bytes, bool write, const void* site) {
  auto& m = machine();
  const unsigned lane = m.current % kLanes;
  auto& all = m.sites[{site, m.current / kLanes, write}];
  const auto turn = all.turns[lane]++;
  if (all.accesses.size() <= turn) all.accesses.resize(turn + 1);
  all.accesses[turn].lanes.emplace_back(offset, static_cast<unsigned>(bytes));
}

// The turns that the banks need: 32 words of 4 bytes at a time, so wide accesses go by half and
// quarter warps.
unsigned bank_turns(const WarpAccess& access) {
  unsigned turns = 0;
  const std::size_t lanes =
      std::max<std::size_t>(1, kLanes * 4 / std::max(4u, access.lanes[0].second));
  for (std::size_t first = 0; first < access.lanes.size(); first += lanes) {
    std::array<std::set<std::uint64_t>, kLanes> words;
    for (std::size_t i = first; i < std::min(first + lanes, access.lanes.size()); ++i) {
      const auto [offset, bytes] = access.lanes[i];
      for (auto word = offset / 4; word <= (offset + bytes - 1) / 4; ++word)
        words[word % kLanes].insert(word);
    }
    std::size_t most = 0;
    for (const auto& bank : words) most = std::max(most, bank.size());
    turns += static_cast<unsigned>(most);
  }
  const auto least = static_cast<unsigned>((access.lanes.size() + lanes - 1) / lanes);
  return turns - std::min(turns, least);
}

void count_block() {
  auto& m = machine();
  for (auto& [key, site] : m.sites) {
    for (const auto& access : site.accesses) {
      if (access.lanes[0].first < kSharedBytes) {
        ++m.counters.shared_accesses;
        m.counters.bank_conflicts += bank_turns(access);
        continue;
      }
      std::set<std::uint64_t> sectors;
      for (const auto& [offset, bytes] : access.lanes) {
        (key.write ? m.counters.written_bytes : m.counters.read_bytes) += bytes;
        for (auto sector = offset / 32; sector <= (offset + bytes - 1) / 32; ++sector)
          sectors.insert(sector);
      }
      (key.write ? m.counters.written_sectors : m.counters.read_sectors) += sectors.size();
      (key.write ? m.sectors_written : m.sectors_read).insert(sectors.begin(), sectors.end());
    }
  }
  m.sites.clear();
}

void access(const volatile void* address, std::size_t bytes, bool write, const void* site) {
  auto& m = machine();
  const auto offset =
      static_cast<std::size_t>(reinterpret_cast<const volatile char*>(address) - m.arena);
  if (offset >= kArenaBytes || !m.running) return;  // a thread's own variables
  const auto last = (offset + bytes - 1) / kCellBytes;
  for (auto cell = offset / kCellBytes; cell <= last; ++cell) {
    if (write) {
      check_write(m.cells[cell], cell * kCellBytes);
    } else {
      check_read(m.cells[cell], cell * kCellBytes);
    }
  }
  if (m.counting) count(offset, bytes, write, site);
}

void set_state(std::size_t offset, std::size_t bytes, State state) {
  auto* cells = machine().cells;
  const Cell fresh{state, Readers::one, 0, 0, 0, 0, 0, 0};
  std::fill(cells + offset / kCellBytes, cells + (offset + bytes + kCellBytes - 1) / kCellBytes,
            fresh);
}

// ---- Waiting ------------------------------------------------------------------------------------
// Goes on with the next thread, or with the scheduler behind the last one.
void pause() {
  auto& m = machine();
  auto& own = m.fibers[m.current].context;
  if (m.current + 1 < m.fibers.size() && m.fibers[m.current + 1].wait == Wait::ready) {
    threadIdx = {++m.current, 0, 0};
    Context::change(own, m.fibers[m.current].context);
  } else {
    Context::change(own, m.scheduler);
  }
}

void run_fiber() {
  auto& m = machine();
  (*m.kernel)();
  m.fibers[m.current].wait = Wait::ended;
  ++m.ended;
  pause();
}

float element(unsigned word, unsigned which, bool half) {
  const auto bits = static_cast<std::uint16_t>(which == 0 ? word : word >> 16);
  return half ? __half2float({bits}) : __bfloat162float({bits});
}

// The fragments' layout: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
void multiply(Warp& warp, bool half) {
  float a[16][16], b[16][8];
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    const unsigned group = lane / 4, pair = lane % 4 * 2;
    for (unsigned i = 0; i < 2; ++i) {
      a[group][pair + i] = element(warp.a[lane][0], i, half);
      a[group + 8][pair + i] = element(warp.a[lane][1], i, half);
      a[group][pair + 8 + i] = element(warp.a[lane][2], i, half);
      a[group + 8][pair + 8 + i] = element(warp.a[lane][3], i, half);
      b[pair + i][group] = element(warp.b[lane][0], i, half);
      b[pair + 8 + i][group] = element(warp.b[lane][1], i, half);
    }
  }
  for (unsigned row = 0; row < 16; ++row) {
    float sums[8] = {};
    for (unsigned k = 0; k < 16; ++k) {
      for (unsigned column = 0; column < 8; ++column) sums[column] += a[row][k] * b[k][column];
    }
    for (unsigned column = 0; column < 8; ++column) {
      warp.c[row % 8 * 4 + column / 2][row / 8 * 2 + column % 2] += sums[column];
    }
  }
  ++machine().counters.matrix_products;
}

void load_all_matrices(Warp& warp, bool transposed) {
  std::uint16_t rows[kLanes][8];
  auto& m = machine();
  const auto thread = m.current;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    m.current = thread / kLanes * kLanes + lane;
    // One site for each of the four matrices: the banks serve one at a time.
    static const char sites[4] = {};
    access(warp.row[lane], 16, false, &sites[lane / 8]);
    std::memcpy(rows[lane], warp.row[lane], 16);
  }
  m.current = thread;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned group = lane / 4, pair = lane % 4 * 2;
      const auto low = transposed ? rows[i * 8 + pair][group] : rows[i * 8 + group][pair];
      const auto high = transposed ? rows[i * 8 + pair + 1][group] : rows[i * 8 + group][pair + 1];
      warp.loaded[lane][i] = low | static_cast<unsigned>(high) << 16;
    }
  }
}

void finish(Warp& warp) {
  auto& m = machine();
  switch (warp.kind) {
    case Collective::sync:
      break;
    case Collective::shuffle_xor:
    case Collective::shuffle:
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        const auto other = static_cast<unsigned>(warp.lane[lane]);
        warp.result[lane] =
            warp.value[(warp.kind == Collective::shuffle ? other : lane ^ other) % kLanes];
      }
      ++m.counters.shuffles;
      break;
    case Collective::matrices:
    case Collective::matrices_transposed:
      load_all_matrices(warp, warp.kind == Collective::matrices_transposed);
      break;
    case Collective::bfloat16:
    case Collective::float16:
      multiply(warp, warp.kind == Collective::float16);
      break;
  }
}

// All lanes of the warp have to come here; the last one does the work.
Warp& meet(Collective kind) {
  auto& m = machine();
  auto& warp = m.warps[m.current / kLanes];
  const auto first = m.current / kLanes * kLanes;
  if (warp.arrived > 0 && warp.kind != kind) {
    report(&Findings::barrier, "lanes of a warp at different instructions");
  }
  warp.kind = kind;
  if (++warp.arrived < kLanes) {
    m.fibers[m.current].wait = Wait::warp;
    pause();
    return warp;
  }
  warp.arrived = 0;
  finish(warp);
  ++warp.epoch;
  for (unsigned lane = 0; lane < kLanes; ++lane) m.fibers[first + lane].wait = Wait::ready;
  return warp;
}

unsigned lane() { return machine().current % kLanes; }

// Opens the barrier when all threads are there. Whether something was found that keeps them from it
// for ever.
bool open_barrier() {
  auto& m = machine();
  const void* site = nullptr;
  std::size_t waiting = 0, ended = 0;
  bool same = true;
  for (const auto& fiber : m.fibers) {
    if (fiber.wait == Wait::ended) ++ended;
    if (fiber.wait != Wait::block) continue;
    same = same && (site == nullptr || site == fiber.site);
    site = fiber.site;
    ++waiting;
  }
  if (waiting + ended == m.fibers.size() && waiting > 0) {
    if (ended > 0) report(&Findings::barrier, "a barrier that some threads have passed by ending");
    if (!same) report(&Findings::barrier, "threads of a block at different barriers");
    for (auto& fiber : m.fibers) {
      if (fiber.wait == Wait::block) fiber.wait = Wait::ready;
    }
    ++m.epoch;
    return true;
  }
  return false;
}

void run_block() {
  auto& m = machine();
  m.ended = 0;
  while (m.ended < m.fibers.size()) {
    bool ran = false;
    for (unsigned i = 0; i < m.fibers.size(); ++i) {
      if (m.fibers[i].wait == Wait::ready) {
        m.current = i;
        threadIdx = {i, 0, 0};
        Context::change(m.scheduler, m.fibers[i].context);
        ran = true;
      }
    }
    m.current = 0;
    if (!ran && !open_barrier()) return report(&Findings::barrier, "threads that wait for ever");
  }
}

}  // namespace

void* shared_memory() { return machine().arena; }

uint4 load16(const void* from) {
  access(from, 16, false, __builtin_return_address(0));
  uint4 value;
  std::memcpy(&value, from, 16);
  return value;
}
uint2 load8(const void* from) {
  access(from, 8, false, __builtin_return_address(0));
  uint2 value;
  std::memcpy(&value, from, 8);
  return value;
}
unsigned load4(const void* from) {
  access(from, 4, false, __builtin_return_address(0));
  unsigned value;
  std::memcpy(&value, from, 4);
  return value;
}
void store16(void* to, uint4 value) {
  access(to, 16, true, __builtin_return_address(0));
  std::memcpy(to, &value, 16);
}
void store8(void* to, uint2 value) {
  access(to, 8, true, __builtin_return_address(0));
  std::memcpy(to, &value, 8);
}
void store4(void* to, unsigned value) {
  access(to, 4, true, __builtin_return_address(0));
  std::memcpy(to, &value, 4);
}

void copy_async(void* to, const void* from, bool zeros) {
  auto& m = machine();
  access(to, 16, true, __builtin_return_address(0));
  const auto offset = static_cast<std::size_t>(static_cast<char*>(to) - m.arena);
  for (auto cell = offset / kCellBytes; cell < (offset + 16) / kCellBytes; ++cell) {
    m.cells[cell].state =
        m.cells[cell].state == State::outside ? State::outside : State::uninitialised;
  }
  std::memset(to, 0xff, 16);
  if (!zeros) access(from, 16, false, __builtin_return_address(0));
  m.fibers[m.current].open_group.push_back(
      {static_cast<char*>(to), static_cast<const char*>(from), zeros});
}
void commit_copies() {
  auto& fiber = machine().fibers[machine().current];
  fiber.groups.push_back(std::move(fiber.open_group));
  fiber.open_group.clear();
}
void wait_for_copies(int groups_in_flight) {
  auto& m = machine();
  auto& groups = m.fibers[m.current].groups;
  const bool counting = std::exchange(m.counting, false);  // the copies were counted as they began
  while (groups.size() > static_cast<std::size_t>(groups_in_flight)) {
    for (const auto& copy : groups.front()) {
      access(copy.to, 16, true, nullptr);
      if (copy.zeros) {
        std::memset(copy.to, 0, 16);
      } else {
        std::memcpy(copy.to, copy.from, 16);
      }
    }
    groups.pop_front();
  }
  m.counting = counting;
}

void load_matrices(unsigned (&to)[4], const void* row, bool transposed) {
  const auto kind = transposed ? Collective::matrices_transposed : Collective::matrices;
  auto& m = machine();
  m.warps[m.current / kLanes].row[lane()] = row;
  const auto& warp = meet(kind);
  std::copy_n(warp.loaded[lane()], 4, to);
}

namespace {
void multiply_in(Collective kind, float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  auto& m = machine();
  auto& mine = m.warps[m.current / kLanes];
  std::copy_n(a, 4, mine.a[lane()]);
  std::copy_n(b, 2, mine.b[lane()]);
  std::copy_n(c, 4, mine.c[lane()]);
  meet(kind);
  std::copy_n(mine.c[lane()], 4, c);
}
}  // namespace
void multiply_bfloat16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  multiply_in(Collective::bfloat16, c, a, b);
}
void multiply_float16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  multiply_in(Collective::float16, c, a, b);
}

void launch(dim3 grid, unsigned threads, std::size_t shared_bytes,
            const std::function<void()>& kernel) {
  // Batches run on several threads at once; on a GPU their launches wait for each other in streams.
  static std::mutex launching;
  const std::lock_guard lock(launching);
  auto& m = machine();
  gridDim = grid;
  blockDim = {threads, 1, 1};
  m.kernel = &kernel;
  m.launch_epoch = m.epoch + 1;
  m.counters.shared_bytes = std::max<std::uint64_t>(m.counters.shared_bytes, shared_bytes);
  if (threads == 0 || threads % kLanes != 0 || threads > 1024 || shared_bytes > kSharedBytes) {
    return report(&Findings::barrier, "a launch with a size that no GPU has");
  }
  while (m.stacks.size() < threads)
    m.stacks.push_back(static_cast<char*>(Machine::reserve(kStackBytes)));
  for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
    for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
      m.block_epoch = ++m.epoch;
      set_state(0, m.shared_bytes, State::outside);
      m.shared_bytes = shared_bytes;
      set_state(0, shared_bytes, State::uninitialised);
      std::memset(m.arena, 0xff, shared_bytes);  // not a number, in all types
      m.fibers.assign(threads, {});
      m.warps.assign(threads / kLanes, {});
      for (unsigned i = 0; i < threads; ++i) {
        m.fibers[i].context.start(m.stacks[i], kStackBytes, run_fiber);
      }
      m.running = true;
      run_block();
      m.running = false;
      count_block();
      ++m.epoch;
    }
  }
}

std::string Findings::text() const {
  std::string text;
  for (const auto& message : messages) text += message + "\n";
  return text;
}

Findings take_findings() { return std::exchange(machine().findings, {}); }

void count_traffic(bool on) { machine().counting = on; }

Counters take_counters() {
  auto& m = machine();
  m.counters.distinct_read_sectors = m.sectors_read.size();
  m.counters.distinct_written_sectors = m.sectors_written.size();
  m.sectors_read.clear();
  m.sectors_written.clear();
  return std::exchange(m.counters, {});
}

void* allocate(std::size_t bytes, const char* name) {
  auto& m = machine();
  const auto begin = m.used;
  m.used += (bytes + 255) / 256 * 256 + kGap;
  if (m.used > kArenaBytes) std::abort();
  m.regions[begin] = {bytes, name};
  set_state(begin, bytes, State::uninitialised);
  std::memset(m.arena + begin, 0xff, bytes);
  return m.arena + begin;
}

void release(void* memory) {
  auto& m = machine();
  const auto begin = static_cast<std::size_t>(static_cast<char*>(memory) - m.arena);
  set_state(begin, m.regions[begin].bytes, State::outside);
  m.regions.erase(begin);
  if (m.regions.empty()) m.used = kSharedBytes + kGap;
}

void mark_written(void* memory, std::size_t bytes) {
  set_state(static_cast<std::size_t>(static_cast<char*>(memory) - machine().arena), bytes,
            State::initialised);
}

std::size_t unwritten_bytes(const void* memory) {
  auto& m = machine();
  const auto begin = static_cast<std::size_t>(static_cast<const char*>(memory) - m.arena);
  std::size_t unwritten = 0;
  for (std::size_t i = 0; i < m.regions[begin].bytes; i += kCellBytes) {
    if (m.cells[(begin + i) / kCellBytes].state == State::uninitialised) unwritten += kCellBytes;
  }
  return unwritten;
}

}  // namespace emulator

void __syncthreads() {
  auto& m = emulator::machine();
  auto& fiber = m.fibers[m.current];
  fiber.site = __builtin_return_address(0);
  fiber.wait = emulator::Wait::block;
  emulator::pause();
}
void __syncwarp() { emulator::meet(emulator::Collective::sync); }
float __shfl_xor_sync(unsigned, float value, int lanes) {
  auto& m = emulator::machine();
  auto& warp = m.warps[m.current / emulator::kLanes];
  warp.value[emulator::lane()] = value;
  warp.lane[emulator::lane()] = lanes;
  return emulator::meet(emulator::Collective::shuffle_xor).result[emulator::lane()];
}
float __shfl_sync(unsigned, float value, int lane) {
  auto& m = emulator::machine();
  auto& warp = m.warps[m.current / emulator::kLanes];
  warp.value[emulator::lane()] = value;
  warp.lane[emulator::lane()] = lane;
  return emulator::meet(emulator::Collective::shuffle).result[emulator::lane()];
}

// ---- What the compiler calls before each access (-fsanitize=thread) -----------------------------
// NOLINTBEGIN(bugprone-reserved-identifier): the names are the compiler's.
#define W2VBERT_ACCESS(name, bytes, write) \
  extern "C" void name(void* address);     \
  void name(void* address) { emulator::access(address, bytes, write, __builtin_return_address(0)); }
W2VBERT_ACCESS(__tsan_read1, 1, false)
W2VBERT_ACCESS(__tsan_read2, 2, false)
W2VBERT_ACCESS(__tsan_read4, 4, false)
W2VBERT_ACCESS(__tsan_read8, 8, false)
W2VBERT_ACCESS(__tsan_read16, 16, false)
W2VBERT_ACCESS(__tsan_write1, 1, true)
W2VBERT_ACCESS(__tsan_write2, 2, true)
W2VBERT_ACCESS(__tsan_write4, 4, true)
W2VBERT_ACCESS(__tsan_write8, 8, true)
W2VBERT_ACCESS(__tsan_write16, 16, true)
W2VBERT_ACCESS(__tsan_unaligned_read2, 2, false)
W2VBERT_ACCESS(__tsan_unaligned_read4, 4, false)
W2VBERT_ACCESS(__tsan_unaligned_read8, 8, false)
W2VBERT_ACCESS(__tsan_unaligned_read16, 16, false)
W2VBERT_ACCESS(__tsan_unaligned_write2, 2, true)
W2VBERT_ACCESS(__tsan_unaligned_write4, 4, true)
W2VBERT_ACCESS(__tsan_unaligned_write8, 8, true)
W2VBERT_ACCESS(__tsan_unaligned_write16, 16, true)
#undef W2VBERT_ACCESS

extern "C" {
void __tsan_init();
void __tsan_func_entry(void*);
void __tsan_func_exit(void*);
void __tsan_vptr_update(void**, void*);
void __tsan_vptr_read(void**);
void __tsan_read_range(void* address, std::size_t bytes);
void __tsan_write_range(void* address, std::size_t bytes);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* address, std::size_t bytes) {
  if (bytes > 0) emulator::access(address, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
  if (bytes > 0) emulator::access(address, bytes, true, __builtin_return_address(0));
}
// NOLINTEND(bugprone-reserved-identifier)
