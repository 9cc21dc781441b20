// Runs the threads of a CUDA grid on the host, and watches what they read and write. See thread_blocks.py.
//
// Each thread of a block is a fibre. Some blocks are under way at once. Which thread goes on is drawn by chance, at
// barriers, at the end of a thread, and now and then before it reads or writes memory.
//
// g++ -fsanitize=thread puts a call before every access to memory; it comes here, and not to ThreadSanitizer. For each
// number in memory it is known who wrote and who read it last: an event. Two events of one block are in order where a
// barrier lies between them. Events of two blocks are in order where the first block has made a fence and then an atomic
// operation, and the second one later made an atomic operation on the same address: as `is_last` does it.
#undef _FORTIFY_SOURCE  // whose longjmp refuses to go to another stack
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <vector>

struct Index { unsigned int x, y, z; };
struct Gpu { Index block, thread, grid, threads; };
extern "C" { Gpu gpu; }

static const int SLOTS = 3, MOST = 1024, STACK = 65536, DEEP = 32;

struct Event { uint64_t time = 0; uint32_t block = 0, interval = 0; uint16_t thread = 0; bool patient = false; };
struct Cell { Event write, read, other, elsewhere; };  // read: the last one; other: of another thread; elsewhere: block
struct Region { char *low, *high; int grain; Cell* cells; };
struct Release { uint32_t block; uint32_t whole; std::vector<uint64_t> times; };  // what a block has made public
struct Acquired { void* at; size_t count; uint16_t thread; uint32_t interval; };
struct Flag { void* at; std::vector<Release> log; };

struct Thread {
  jmp_buf place;
  char* stack = nullptr;
  bool begun = false, over = true, waits = false;
  Index index;
  const void* calls[DEEP];
  int deep;
  uint64_t site, fence_time;
  uint32_t fence_interval;
};

struct Slot {
  bool live = false;
  uint32_t number, interval;
  Index block;
  int ready[MOST], many, waiting;
  std::vector<char> shared;
  std::vector<Cell> cells;
  std::vector<bool> written;
  std::vector<Acquired> acquired;
  Thread threads[MOST];
};

static Slot slots[SLOTS];
static std::vector<Region> regions;
static std::vector<Flag> flags;
static char *shared_low, *shared_high, *image_low, *image_high;
static jmp_buf scheduler;
static void (*entry)();
static int slot, current, size, found;
static bool running, failed;
static uint64_t now, seed, changes;
static char text[8192];
static size_t used;

static uint32_t chance(uint32_t below) {
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return (uint32_t)(seed >> 33) % below;
}

static void say(const char* format, ...) {
  if (found++ >= 8 || used > sizeof text - 400) return;
  used += snprintf(text + used, 400, "block %u, thread %d: ", slots[slot].number, current);
  va_list values;
  va_start(values, format);
  used += vsnprintf(text + used, 300, format, values);
  va_end(values);
  text[used++] = '\n';
  text[used] = 0;
}

static Thread& mine() { return slots[slot].threads[current]; }

static void go_away() { if (!_setjmp(mine().place)) _longjmp(scheduler, 1); }

static void give_up() { failed = true; _longjmp(scheduler, 1); }

static void fibre() {
  for (;;) { entry(); mine().over = true; go_away(); }
}

static void go_on() {
  if (_setjmp(scheduler)) return;
  Thread& t = mine();
  if (t.begun) _longjmp(t.place, 1);
  t.begun = true;
  static ucontext_t context;
  getcontext(&context);
  if (!t.stack) t.stack = (char*)malloc(STACK);
  context.uc_stack.ss_sp = t.stack;
  context.uc_stack.ss_size = STACK;
  makecontext(&context, fibre, 0);
  setcontext(&context);
}

static bool public_before(const Event& e) {  // whether another block's event comes before what this thread does now
  const Slot& s = slots[slot];
  for (const Acquired& a : s.acquired) {
    if (a.thread != current && a.interval >= s.interval) continue;
    for (const Flag& f : flags)
      if (f.at == a.at)
        for (size_t k = 0; k < a.count; k++)
          if (f.log[k].block == e.block && (e.interval < f.log[k].whole || e.time < f.log[k].times[e.thread])) return true;
  }
  return false;
}

static bool before(const Event& e) {  // whether an event comes before what this thread does now
  const Slot& s = slots[slot];
  if (!e.time) return true;
  if (e.block == s.number) return e.thread == current || e.interval < s.interval;
  return public_before(e);
}

static void touch(Cell& cell, bool writes, bool patient, const char* where, long at) {
  const Slot& s = slots[slot];
  Event e;
  e.time = ++now; e.block = s.number; e.interval = s.interval; e.thread = current; e.patient = patient;
  const char* does = writes ? "writes" : "reads";
  if (!before(cell.write))
    say("%s number %ld of %s, which thread %d of block %u has written meanwhile", does, at, where, cell.write.thread,
        cell.write.block);
  else if (cell.write.time && cell.write.block != e.block && !writes && !patient)
    say("reads number %ld of %s, of another block, which is not volatile", at, where);
  if (writes) {
    for (const Event& r : {cell.read, cell.other, cell.elsewhere})
      if (!before(r)) {
        say("writes number %ld of %s, which thread %d of block %u has read meanwhile", at, where, r.thread, r.block);
        break;
      }
    cell.write = e;
    return;
  }
  if (cell.read.time && cell.read.block != e.block) cell.elsewhere = cell.read;
  else if (cell.read.time && cell.read.thread != e.thread) cell.other = cell.read;
  cell.read = e;
}

static void access(void* address, size_t bytes, bool writes, bool patient) {
  if (!running) return;
  char* p = (char*)address;
  Thread& t = mine();
  if (p >= t.stack && p + bytes <= t.stack + STACK) return;
  if (p >= (char*)&gpu && p + bytes <= (char*)(&gpu + 1)) return;
  if (chance(64) == 0) { changes++; go_away(); }
  Slot& s = slots[slot];
  if (p >= shared_low && p + bytes <= shared_high) {
    for (long k = (p - shared_low) / 4; k <= (p + bytes - 1 - shared_low) / 4; k++) {
      if (!writes && !s.written[k]) say("reads number %ld of shared memory, which nobody has written", k);
      s.written[k] = true;
      touch(s.cells[k], writes, patient, "shared memory", k);
    }
    return;
  }
  for (size_t r = 0; r < regions.size(); r++) {
    Region& region = regions[r];
    if (p < region.low || p + bytes > region.high) continue;
    char where[40];
    snprintf(where, sizeof where, "array %zu", r);
    for (long k = (p - region.low) / region.grain; k <= (p + (long)bytes - 1 - region.low) / region.grain; k++)
      touch(region.cells[k], writes, patient, where, k);
    return;
  }
  if (!writes && p >= image_low && p < image_high) return;  // constants
  long nearest = 1L << 62;
  size_t which = 0;
  for (size_t r = 0; r < regions.size(); r++) {
    const long apart = p < regions[r].low ? regions[r].low - p : p - regions[r].high + 1;
    if (apart < nearest) { nearest = apart; which = r; }
  }
  say("%s %zu bytes out of bounds, %ld from array %zu", writes ? "writes" : "reads", bytes, nearest, which);
  give_up();
}

extern "C" {

void watched_barrier() {
  Thread& t = mine();
  t.site = (uint64_t)__builtin_return_address(0);
  for (int k = 0; k < t.deep && k < DEEP; k++) t.site = t.site * 1099511628211u + (uint64_t)t.calls[k];
  t.waits = true;
  go_away();
}

void watched_fence() { mine().fence_time = ++now; mine().fence_interval = slots[slot].interval; }

unsigned int watched_inc(unsigned int* a, unsigned int most) {
  if (chance(2)) { changes++; go_away(); }
  bool known = false;
  for (const Region& r : regions) known |= (char*)a >= r.low && (char*)(a + 1) <= r.high;
  if (!known) { say("an atomic operation out of bounds"); give_up(); }
  Slot& s = slots[slot];
  Release release{s.number, 0, std::vector<uint64_t>(size, 0)};
  for (int u = 0; u < size; u++) {
    const Thread& t = s.threads[u];
    if (!t.fence_time || (u != current && t.fence_interval >= s.interval)) continue;
    if (t.fence_interval > release.whole) release.whole = t.fence_interval;
    release.times[u] = t.fence_time;
  }
  Flag* flag = nullptr;
  for (Flag& f : flags) if (f.at == a) flag = &f;
  if (!flag) { flags.push_back({a, {}}); flag = &flags.back(); }
  s.acquired.push_back({a, flag->log.size(), (uint16_t)current, s.interval});
  flag->log.push_back(release);
  now++;
  const unsigned int old = *a;
  *a = old >= most ? 0 : old + 1;
  return old;
}

// What g++ puts before an access

#define ACCESS(n) \
  void __tsan_read##n(void* p) { access(p, n, false, false); } \
  void __tsan_write##n(void* p) { access(p, n, true, false); } \
  void __tsan_unaligned_read##n(void* p) { access(p, n, false, false); } \
  void __tsan_unaligned_write##n(void* p) { access(p, n, true, false); } \
  void __tsan_volatile_read##n(void* p) { access(p, n, false, true); } \
  void __tsan_volatile_write##n(void* p) { access(p, n, true, true); } \
  void __tsan_unaligned_volatile_read##n(void* p) { access(p, n, false, true); } \
  void __tsan_unaligned_volatile_write##n(void* p) { access(p, n, true, true); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(void* p, size_t n) { access(p, n, false, false); }
void __tsan_write_range(void* p, size_t n) { access(p, n, true, false); }
void __tsan_init() {}
void __tsan_func_entry(void* from) {
  if (running && mine().deep++ < DEEP) mine().calls[mine().deep - 1] = from;
}
void __tsan_func_exit() { if (running) mine().deep--; }

// and where the language leaves open what happens

struct Source { const char* file; unsigned int line, column; };
#define UNDEFINED(name) \
  void __ubsan_handle_##name(Source* at) { if (running) say("%s in line %u", #name, at->line); }
UNDEFINED(add_overflow) UNDEFINED(sub_overflow) UNDEFINED(mul_overflow) UNDEFINED(negate_overflow)
UNDEFINED(divrem_overflow) UNDEFINED(shift_out_of_bounds) UNDEFINED(out_of_bounds) UNDEFINED(type_mismatch_v1)
UNDEFINED(float_cast_overflow) UNDEFINED(load_invalid_value)

static void begin(Slot& s, uint32_t number, const Index& block) {
  s.live = true;
  s.number = number; s.interval = 1; s.block = block;
  s.many = size; s.waiting = 0;
  s.shared.assign(shared_high - shared_low, (char)0xA5);
  s.cells.assign((shared_high - shared_low + 3) / 4, Cell());
  s.written.assign(s.cells.size(), false);
  s.acquired.clear();
  for (int t = 0; t < size; t++) {
    Thread& thread = s.threads[t];
    thread.over = thread.waits = false;
    thread.deep = 0;
    thread.fence_time = 0;
    thread.index = {t % gpu.threads.x, t / gpu.threads.x % gpu.threads.y, t / (gpu.threads.x * gpu.threads.y)};
    s.ready[t] = t;
  }
}

static void change_to(int other) {
  if (other == slot) return;
  const size_t bytes = shared_high - shared_low;
  if (bytes && slots[slot].live) memcpy(slots[slot].shared.data(), shared_low, bytes);
  if (bytes) memcpy(shared_low, slots[other].shared.data(), bytes);
  slot = other;
}

static void pass_barrier(Slot& s) {
  int first = -1;
  for (int t = 0; t < size; t++)
    if (s.threads[t].over) { say("thread %d has ended, and others wait for it", t); failed = true; return; }
    else if (first < 0) first = t;
    else if (s.threads[t].site != s.threads[first].site) {
      say("threads %d and %d wait at two barriers", first, t);
      failed = true;
      return;
    }
  s.interval++;
  s.many = size; s.waiting = 0;
  for (int t = 0; t < size; t++) { s.threads[t].waits = false; s.ready[t] = t; }
}

// Runs a grid. arrays: low, high, grain of each of `count`. module: shared memory, and all of the program's image.
// Returns what was found, "" if nothing was.
const char* run_grid(const unsigned int* grid, const unsigned int* block, void (*body)(), char** arrays, int count,
                     char** module, uint64_t chosen, uint64_t* switches) {
  gpu.grid = {grid[0], grid[1], grid[2]};
  gpu.threads = {block[0], block[1], block[2]};
  size = block[0] * block[1] * block[2];
  entry = body; seed = chosen * 2654435761u + 88172645463325252u; now = 0; found = 0; used = 0; text[0] = 0;
  failed = false; changes = 0;
  shared_low = module[0]; shared_high = module[1]; image_low = module[2]; image_high = module[3];
  regions.clear(); flags.clear();
  for (int k = 0; k < count; k++) {
    const long grain = (long)arrays[3 * k + 2], numbers = (arrays[3 * k + 1] - arrays[3 * k] + grain - 1) / grain;
    regions.push_back({arrays[3 * k], arrays[3 * k + 1], (int)grain, (Cell*)calloc(numbers, sizeof(Cell))});
  }
  const uint32_t blocks = grid[0] * grid[1] * grid[2];
  std::vector<uint32_t> order(blocks);
  for (uint32_t k = 0; k < blocks; k++) {
    const uint32_t other = chance(k + 1);
    order[k] = order[other]; order[other] = k;
  }
  uint32_t next = 0;
  for (Slot& s : slots) s.live = false;
  slot = 0;
  for (;;) {
    int live = 0;
    for (int k = 0; k < SLOTS; k++) {
      if (!slots[k].live && next < blocks) {
        const uint32_t number = order[next++];
        begin(slots[k], number + 1, {number % grid[0], number / grid[0] % grid[1], number / (grid[0] * grid[1])});
        if (k == slot && shared_high > shared_low) memcpy(shared_low, slots[k].shared.data(), shared_high - shared_low);
      }
      live += slots[k].live;
    }
    if (!live || failed) break;
    if (!slots[slot].live || chance(8) == 0) {
      int other = chance(SLOTS);
      while (!slots[other].live) other = (other + 1) % SLOTS;
      change_to(other);
    }
    Slot& s = slots[slot];
    while (s.many) {
      const int k = chance(s.many);
      current = s.ready[k];
      gpu.block = s.block;
      gpu.thread = s.threads[current].index;
      running = true;
      go_on();
      running = false;
      if (failed) break;
      Thread& t = s.threads[current];
      if (t.over || t.waits) { s.ready[k] = s.ready[--s.many]; s.waiting += t.waits; }
      if (chance(16) == 0) break;
    }
    if (failed || s.many) continue;
    if (s.waiting) pass_barrier(s);
    else s.live = false;
  }
  if (failed)
    for (Slot& s : slots) for (Thread& t : s.threads) t.begun = false;
  for (Region& r : regions) free(r.cells);
  *switches = changes;
  return text;
}

}  // extern "C"
