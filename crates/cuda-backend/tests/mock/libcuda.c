// A libcuda.so.1 without a GPU: host memory is device memory, work is done at once, and two kernels are known.
//
// Strict where a driver is: calls before cuInit, without a current context, or with handles it did not give out fail.
// MOCK_FAIL=<function>=<code> makes one function answer that code.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char * data;
    int64_t ne[4], nb[4];
} Tensor;

static int started, live_blocks, n_modules;
static size_t used;
static const size_t total = 64u << 20;
static _Thread_local void * current;
static char context, stream_handle, second_stream;
static int n_streams, n_replays;

static struct {
    char * at;
    size_t size;
} blocks[64];

static int refused(const char * name) {
    const char * fail = getenv("MOCK_FAIL");
    size_t n = strlen(name);
    return fail && !strncmp(fail, name, n) && fail[n] == '=' ? atoi(fail + n + 1) : 0;
}

#define BEGIN                                   \
    {                                           \
        int code = refused(__func__);           \
        if (code) return code;                  \
        if (!started) return 3;                 \
    }
#define BEGIN_IN_CONTEXT                        \
    BEGIN                                       \
    if (current != &context) return 201;

// Whether a range is inside of one block.
static int inside(uint64_t at, size_t n) {
    for (int i = 0; i < 64; i++)
        if (blocks[i].at && at >= (uint64_t) blocks[i].at && at + n <= (uint64_t) blocks[i].at + blocks[i].size) return 1;
    return 0;
}

int cuInit(unsigned flags) {
    int code = refused(__func__);
    if (code) return code;
    started = 1;
    return flags ? 1 : 0;
}
int cuDriverGetVersion(int * version) { *version = 13000; return 0; }
int cuGetErrorName(int code, const char ** name) {
    *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 218 ? "CUDA_ERROR_INVALID_PTX" : code == 913 ? "CUDA_ERROR_NEWER" : "CUDA_ERROR_OTHER";
    return 0;
}
int cuGetErrorString(int code, const char ** text) { return cuGetErrorName(code, text); }
int cuDeviceGetCount(int * n) { BEGIN *n = 1; return 0; }
int cuDeviceGet(int * device, int ordinal) { BEGIN if (ordinal) return 101; *device = 0; return 0; }
int cuDeviceGetName(char * name, int n, int device) { BEGIN snprintf(name, n, "mock device"); return device; }
int cuDeviceGetAttribute(int * value, int attribute, int device) {
    BEGIN
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 16 ? 2 : 0;
    return device;
}
int cuDevicePrimaryCtxRetain(void ** out, int device) { BEGIN *out = &context; return device; }
int cuDevicePrimaryCtxRelease_v2(int device) { BEGIN return device; }
int cuCtxSetCurrent(void * c) { BEGIN current = c; return c == &context || !c ? 0 : 201; }
int cuMemGetInfo_v2(size_t * free_bytes, size_t * total_bytes) {
    BEGIN_IN_CONTEXT
    *free_bytes = total - used;
    *total_bytes = total;
    return 0;
}
int cuMemAlloc_v2(uint64_t * out, size_t size) {
    BEGIN_IN_CONTEXT
    if (!size) return 1;
    if (size > total - used) return 2;
    for (int i = 0; i < 64; i++) {
        if (blocks[i].at) continue;
        blocks[i].at = aligned_alloc(256, (size + 255) / 256 * 256);
        blocks[i].size = size;
        memset(blocks[i].at, 0xcd, size);
        used += size;
        live_blocks++;
        *out = (uint64_t) blocks[i].at;
        return 0;
    }
    return 2;
}
int cuMemFree_v2(uint64_t at) {
    BEGIN_IN_CONTEXT
    for (int i = 0; i < 64; i++) {
        if ((uint64_t) blocks[i].at != at) continue;
        free(blocks[i].at);
        used -= blocks[i].size;
        live_blocks--;
        blocks[i].at = 0;
        return 0;
    }
    return 1;
}
int cuMemHostAlloc(void ** out, size_t size, unsigned flags) {
    BEGIN_IN_CONTEXT
    *out = malloc(size);
    return flags ? 1 : 0;
}
int cuMemFreeHost(void * p) { BEGIN_IN_CONTEXT free(p); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void * from, size_t n, void * stream) {
    BEGIN_IN_CONTEXT
    if (stream != &stream_handle || !inside(to, n)) return 1;
    memcpy((void *) to, from, n);
    return 0;
}
int cuMemcpyDtoHAsync_v2(void * to, uint64_t from, size_t n, void * stream) {
    BEGIN_IN_CONTEXT
    if (stream != &stream_handle || !inside(from, n)) return 1;
    memcpy(to, (void *) from, n);
    return 0;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void * stream) {
    BEGIN_IN_CONTEXT
    if (stream != &stream_handle || !inside(to, n) || !inside(from, n)) return 1;
    memcpy((void *) to, (void *) from, n);
    return 0;
}
int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t n, void * stream) {
    BEGIN_IN_CONTEXT
    if (stream != &stream_handle || !inside(to, n)) return 1;
    memset((void *) to, byte, n);
    return 0;
}
int cuStreamCreate(void ** out, unsigned flags) {
    BEGIN_IN_CONTEXT
    *out = n_streams++ ? &second_stream : &stream_handle;
    return flags == 1 ? 0 : 1;
}
int cuStreamSynchronize(void * stream) { BEGIN_IN_CONTEXT return stream == &stream_handle ? 0 : 400; }
int cuStreamDestroy_v2(void * stream) { BEGIN_IN_CONTEXT return stream == &stream_handle || stream == &second_stream ? 0 : 400; }
int cuEventCreate(void ** out, unsigned flags) { BEGIN_IN_CONTEXT *out = malloc(1); return flags ? 1 : 0; }
int cuEventRecord(void * event, void * stream) { BEGIN_IN_CONTEXT return event && stream == &stream_handle ? 0 : 400; }
int cuEventSynchronize(void * event) { BEGIN_IN_CONTEXT return event ? 0 : 400; }
int cuEventElapsedTime(float * ms, void * start, void * end) { BEGIN_IN_CONTEXT *ms = 0.5f; return start && end ? 0 : 400; }
int cuEventDestroy_v2(void * event) { BEGIN_IN_CONTEXT free(event); return 0; }
int cuModuleLoadDataEx(void ** out, const void * image, unsigned n, unsigned * options, void ** values) {
    if (refused(__func__)) {
        // As the driver does: what the compiler has to say, into the buffer that was offered.
        for (unsigned i = 0; i < n; i++)
            if (options[i] == 5) strcpy(values[i], "ptxas error   : mock says no");
        return refused(__func__);
    }
    BEGIN_IN_CONTEXT
    if (n != 2 || options[0] != 5 || options[1] != 6 || (size_t) values[1] < 64) return 1;
    if (!strstr(image, ".version 9.0") || !strstr(image, ".entry")) return 218;
    n_modules++;
    // Kernels of the module are told apart by its text, which the caller may free.
    *out = strdup(image);
    return 0;
}
int cuModuleUnload(void * module) { BEGIN_IN_CONTEXT n_modules--; free(module); return 0; }
int cuModuleGetFunction(void ** out, void * module, const char * name) {
    BEGIN_IN_CONTEXT
    char entry[128];
    snprintf(entry, sizeof entry, ".entry %s(", name);
    if (!strstr(module, entry)) return 500;
    *out = !strcmp(name, "add") ? (void *) 1 : !strcmp(name, "scale") ? (void *) 2 : (void *) 3;
    return 0;
}
// Launches that are recorded: a stream that is not the first one is only there for that.
typedef struct {
    void * f;
    Tensor tensors[3];
    float floats[2];
} Work;
static struct {
    Work works[64];
    int n;
} recordings[8];
static int n_recordings, capturing;

static int run(const Work * w) {
    const Tensor dst = w->tensors[0], a = w->tensors[1];
    const int64_t n = dst.ne[0] * dst.ne[1] * dst.ne[2] * dst.ne[3];
    if (!inside((uint64_t) dst.data, n * 4) || !inside((uint64_t) a.data, n * 4)) return 700;
    if (w->f == (void *) 1) {
        const Tensor b = w->tensors[2];
        if (!inside((uint64_t) b.data, n * 4)) return 700;
        for (int64_t i = 0; i < n; i++) ((float *) dst.data)[i] = ((float *) a.data)[i] + ((float *) b.data)[i];
    } else if (w->f == (void *) 2) {
        for (int64_t i = 0; i < n; i++) ((float *) dst.data)[i] = ((float *) a.data)[i] * w->floats[0] + w->floats[1];
    } else {
        return 719;
    }
    return 0;
}

int cuLaunchKernel(void * f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void * stream, void ** params, void ** extra) {
    BEGIN_IN_CONTEXT
    if (!gx || gy != 1 || gz != 1 || bx != 256 || by != 1 || bz != 1 || shared || extra) return 1;
    Work w = {f, {*(Tensor *) params[0], *(Tensor *) params[1]}, {0}};
    if (f == (void *) 1) w.tensors[2] = *(Tensor *) params[2];
    if (f == (void *) 2) w.floats[0] = *(float *) params[2], w.floats[1] = *(float *) params[3];
    if (stream == &second_stream) {
        if (!capturing) return 400;
        recordings[n_recordings].works[recordings[n_recordings].n++] = w;
        return 0;
    }
    return stream == &stream_handle ? run(&w) : 400;
}
int cuStreamBeginCapture_v2(void * stream, int mode) {
    BEGIN_IN_CONTEXT
    if (stream != &second_stream || mode != 1 || capturing) return 1;
    capturing = 1;
    recordings[n_recordings].n = 0;
    return 0;
}
int cuStreamEndCapture(void * stream, void ** graph) {
    BEGIN_IN_CONTEXT
    if (stream != &second_stream || !capturing) return 1;
    capturing = 0;
    *graph = &recordings[n_recordings++ % 8];
    return 0;
}
int cuGraphInstantiateWithFlags(void ** exec, void * graph, unsigned long long flags) {
    BEGIN_IN_CONTEXT
    *exec = graph;
    return flags ? 1 : 0;
}
int cuGraphDestroy(void * graph) { BEGIN_IN_CONTEXT return graph ? 0 : 400; }
int cuGraphExecDestroy(void * exec) { BEGIN_IN_CONTEXT return exec ? 0 : 400; }
int cuGraphLaunch(void * exec, void * stream) {
    BEGIN_IN_CONTEXT
    if (stream != &stream_handle) return 400;
    n_replays++;
    for (int i = 0, code; i < recordings[(typeof(&recordings[0])) exec - recordings].n; i++)
        if ((code = run(&recordings[(typeof(&recordings[0])) exec - recordings].works[i]))) return code;
    return 0;
}
// Not of the driver: how often recorded work ran.
int quipu_mock_replays(void) { return n_replays; }
