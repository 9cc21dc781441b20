/* A CUDA driver and runtime whose devices are host memory, for CuPy itself (see host_driver.py).

What is asked of a stream is done at once; while it is captured, it is written into the graph. Kernels are run by the
function that `set_kernels` takes. What CUDA refuses is refused here: work on a stream of another device than the
current one, events of other devices, waiting for a stream that is captured, copies that reach beyond an allocation. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICES = 2, INVALID = 1, FULL = 2, BAD_HANDLE = 400, BAD_STATE = 401, UNSUPPORTED = 900, INVALIDATED = 901,
       ISOLATED = 905, CAPTURED_EVENT = 907, FAILED = 719 };
typedef long (*Bind)(const char*, long, const unsigned*, void**, int);  /* a kernel; its number, if it is captured */
typedef void (*Run)(long);
typedef struct { int kind; void* to; const void* from; size_t size; int value; long kernel; } Node;
typedef struct { long count, room; Node* nodes; } Graph;
typedef struct { int device, capturing, broken; Graph* graph; } Stream;
typedef struct { int device, timed, recorded; Graph* graph; } Event;
typedef struct { char* name; long module; } Function;
typedef struct { uintptr_t start; size_t size; int device, type; } Block;

static Bind bind_kernel;
static Run run_kernel;
static __thread int current;
static Stream null_streams[DEVICES] = {{0}, {1}};
static Stream* joined[64];
static int joined_count;
static Block* blocks;
static long block_count, block_room;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
long room = 6l << 30, used = 0, capturing = 0;       /* bytes; streams that are captured */
long calls = 0, fail_at = -1, fail_code = 0, sticky = 0, failed = 0;  /* call number `fail_at` fails; with sticky, all after it */

void set_kernels(Bind bind, Run run) { bind_kernel = bind; run_kernel = run; }
static Stream* of(void* s) { return s ? (Stream*)s : &null_streams[current]; }
static int injected(void) {
  calls++;
  if (calls == fail_at) failed = 1;
  return (calls == fail_at || (failed && sticky)) ? (int)fail_code : 0;
}
#define MAY_FAIL do { int e = injected(); if (e) return e; } while (0)

static void push(Graph* g, Node node) {
  if (g->count == g->room) g->nodes = realloc(g->nodes, (g->room = g->room ? 2 * g->room : 32) * sizeof(Node));
  g->nodes[g->count++] = node;
}
static void note(void* p, size_t size, int device, int type) {
  pthread_mutex_lock(&lock);
  if (block_count == block_room) blocks = realloc(blocks, (block_room = block_room ? 2 * block_room : 256) * sizeof(Block));
  blocks[block_count++] = (Block){(uintptr_t)p, size, device, type};
  pthread_mutex_unlock(&lock);
}
static int find(uintptr_t p, Block* found, int drop) {
  int there = 0;
  pthread_mutex_lock(&lock);
  for (long i = 0; i < block_count && !there; i++)
    if (p >= blocks[i].start && p < blocks[i].start + blocks[i].size) {
      *found = blocks[i];
      there = 1;
      if (drop) blocks[i] = blocks[--block_count];
    }
  pthread_mutex_unlock(&lock);
  return there;
}
static int within(const void* p, size_t size) {
  Block b;
  return find((uintptr_t)p, &b, 0) && (uintptr_t)p + size <= b.start + b.size;
}

#define RUNTIME(name) int host_cuda##name
RUNTIME(GetDeviceCount)(int* n) { *n = DEVICES; return 0; }
RUNTIME(GetDevice)(int* d) { *d = current; return 0; }
RUNTIME(SetDevice)(int d) { if (d < 0 || d >= DEVICES) return 101; current = d; return 0; }
RUNTIME(DriverGetVersion)(int* v) { *v = 13010; return 0; }
RUNTIME(GetLastError)(void) { return 0; }
const char* host_cudaGetErrorName(int e) { return e == FULL ? "cudaErrorMemoryAllocation" : "cudaErrorOfTheHost"; }
const char* host_cudaGetErrorString(int e) { return e == FULL ? "out of memory" : "an error of the host"; }
RUNTIME(DeviceGetAttribute)(int* v, int a, int d) { *v = a == 75 ? 9 : a == 76 || a == 88 ? 0 : a == 10 ? 32 : a == 16 ? 132 : a == 5 ? 2147483647 : 1024; return 0; }
RUNTIME(GetDeviceProperties)(char* p, int d) { strcpy(p, "host memory"); return 0; }
RUNTIME(DeviceSynchronize)(void) { return 0; }
RUNTIME(DeviceCanAccessPeer)(int* can, int a, int b) { *can = 0; return 0; }
RUNTIME(Malloc)(void** p, size_t n) {
  MAY_FAIL;
  if (used + (long)n > room || posix_memalign(p, 512, n)) { *p = 0; return FULL; }
  memset(*p, 0xA5, n);
  used += n;
  note(*p, n, current, 2);
  return 0;
}
RUNTIME(Free)(void* p) {
  Block b;
  if (!p) return 0;
  if (!find((uintptr_t)p, &b, 1)) return INVALID;
  used -= b.size;
  free(p);
  return 0;
}
RUNTIME(HostAlloc)(void** p, size_t n, unsigned f) { MAY_FAIL; if (posix_memalign(p, 512, n)) return FULL; note(*p, n, 0, 1); return 0; }
RUNTIME(FreeHost)(void* p) { Block b; if (!find((uintptr_t)p, &b, 1)) return INVALID; free(p); return 0; }
RUNTIME(MemGetInfo)(size_t* left, size_t* total) { *left = room - used; *total = 8l << 30; return 0; }
RUNTIME(PointerGetAttributes)(struct { int type, device; void *on_device, *on_host; }* a, void* p) {
  Block b = {0, 0, -2, 0};
  find((uintptr_t)p, &b, 0);
  a->type = b.type; a->device = b.device; a->on_device = b.type ? p : 0; a->on_host = p;
  return 0;
}
RUNTIME(Memcpy)(void* to, const void* from, size_t n, int kind) { memcpy(to, from, n); return 0; }
RUNTIME(MemcpyAsync)(void* to, const void* from, size_t n, int kind, void* stream) {
  MAY_FAIL;
  Stream* s = of(stream);
  if (s->device != current) return BAD_HANDLE;
  if (((kind == 1 || kind == 4) && !within(to, n)) || ((kind == 2 || kind == 4) && !within(from, n))) return INVALID;
  if (s->capturing) push(s->graph, (Node){1, to, from, n, 0, 0}); else memcpy(to, from, n);
  return 0;
}
RUNTIME(MemsetAsync)(void* to, int value, size_t n, void* stream) {
  MAY_FAIL;
  if (!within(to, n)) return INVALID;
  if (of(stream)->capturing) push(of(stream)->graph, (Node){2, to, 0, n, value, 0}); else memset(to, value, n);
  return 0;
}
RUNTIME(StreamCreateWithPriority)(void** s, unsigned flags, int priority) { Stream* made = calloc(1, sizeof(Stream)); made->device = current; *s = made; return 0; }
RUNTIME(StreamDestroy)(void* s) { free(s); return 0; }
RUNTIME(StreamSynchronize)(void* s) { MAY_FAIL; if (of(s)->capturing) { of(s)->broken = 1; return UNSUPPORTED; } return 0; }
RUNTIME(StreamQuery)(void* s) { if (of(s)->capturing) { of(s)->broken = 1; return UNSUPPORTED; } return 0; }
RUNTIME(StreamIsCapturing)(void* s, int* state) { *state = of(s)->capturing ? 1 + of(s)->broken : 0; return 0; }
RUNTIME(StreamBeginCapture)(void* s, int mode) {
  MAY_FAIL;
  if (of(s)->capturing) return BAD_STATE;
  of(s)->capturing = 1; of(s)->broken = 0; of(s)->graph = calloc(1, sizeof(Graph));
  capturing++;
  return 0;
}
RUNTIME(StreamEndCapture)(void* stream, void** graph) {
  Stream* s = of(stream);
  int e = injected();
  *graph = 0;
  if (!s->capturing) return BAD_STATE;
  s->capturing = 0;
  capturing--;
  for (int i = 0; i < joined_count; i++)
    if (joined[i]->graph == s->graph) { joined[i]->capturing = 0; joined[i--] = joined[--joined_count]; }
  if (e || s->broken) return e ? e : INVALIDATED;
  *graph = s->graph;
  return 0;
}
RUNTIME(EventCreateWithFlags)(void** e, unsigned flags) { MAY_FAIL; Event* made = calloc(1, sizeof(Event)); made->device = current; made->timed = !(flags & 2); *e = made; return 0; }
RUNTIME(EventDestroy)(void* e) { free(e); return 0; }
RUNTIME(EventRecord)(Event* e, void* s) {
  MAY_FAIL;
  if (e->device != of(s)->device) return BAD_HANDLE;
  e->recorded = 1;
  e->graph = of(s)->capturing ? of(s)->graph : 0;
  return 0;
}
RUNTIME(EventQuery)(Event* e) { return e->graph ? CAPTURED_EVENT : 0; }
RUNTIME(EventSynchronize)(Event* e) { MAY_FAIL; return e->graph ? CAPTURED_EVENT : 0; }
RUNTIME(EventElapsedTime)(float* ms, Event* a, Event* b) { *ms = 0.05f; return a->timed && b->timed && a->recorded && b->recorded ? 0 : BAD_HANDLE; }
RUNTIME(StreamWaitEvent)(void* stream, Event* e, unsigned flags) {
  MAY_FAIL;
  Stream* s = of(stream);
  if (!e->graph) { s->broken |= s->capturing; return s->capturing ? ISOLATED : 0; }
  if (s->capturing) return s->graph == e->graph ? 0 : ISOLATED;
  s->capturing = 1; s->broken = 0; s->graph = e->graph;
  joined[joined_count++] = s;
  return 0;
}
RUNTIME(GraphInstantiate)(void** made, Graph* graph, unsigned long long flags) {
  MAY_FAIL;
  Graph* copy = calloc(1, sizeof(Graph));
  for (long i = 0; i < graph->count; i++) push(copy, graph->nodes[i]);
  *made = copy;
  return 0;
}
RUNTIME(GraphLaunch)(Graph* graph, void* stream) {
  MAY_FAIL;
  for (long i = 0; i < graph->count; i++) {
    Node n = graph->nodes[i];
    if (n.kind == 1) memcpy(n.to, n.from, n.size);
    else if (n.kind == 2) memset(n.to, n.value, n.size);
    else run_kernel(n.kernel);
  }
  return 0;
}
RUNTIME(GraphUpload)(void* graph, void* stream) { MAY_FAIL; return 0; }
RUNTIME(GraphDestroy)(Graph* graph) { free(graph->nodes); free(graph); return 0; }
RUNTIME(GraphExecDestroy)(Graph* graph) { free(graph->nodes); free(graph); return 0; }

/* What CuPy and gpubp ask of the libraries by name */
int cudaRuntimeGetVersion(int* v) { *v = 13010; return 0; }
int cuGraphGetNodes(Graph* graph, void* nodes, size_t* count) { *count = graph->count; return 0; }
int cuGetErrorName(int e, const char** s) { *s = "CUDA_ERROR_OF_THE_HOST"; return 0; }
int cuGetErrorString(int e, const char** s) { *s = "an error of the host"; return 0; }
int cuCtxGetCurrent(void** c) { *c = (void*)(uintptr_t)(0x1000 + current); return 0; }
int cuCtxSetCurrent(void* c) { return 0; }
int cuModuleLoadData(void** module, const void* image) { static long made; *module = (void*)(++made); return 0; }
int cuModuleUnload(void* module) { return 0; }
int cuModuleGetFunction(void** f, void* module, const char* name) { Function* made = malloc(sizeof(Function)); made->name = strdup(name); made->module = (long)module; *f = made; return 0; }
int cuFuncGetAttribute(int* v, int a, void* f) { *v = a ? 0 : 1024; return 0; }
int cuFuncSetAttribute(void* f, int a, int v) { return 0; }
int cuLaunchKernel(Function* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** arguments, void** extra) {
  MAY_FAIL;
  Stream* s = of(stream);
  const unsigned sizes[] = {gx, gy, gz, bx, by, bz};
  if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || !bx || !by || !bz || bx * by * bz > 1024) return INVALID;
  if (s->device != current) return BAD_HANDLE;
  const long kernel = bind_kernel(f->name, f->module, sizes, arguments, s->capturing);
  if (kernel < 0) return FAILED;
  if (s->capturing) push(s->graph, (Node){3, 0, 0, 0, 0, kernel});
  return 0;
}
