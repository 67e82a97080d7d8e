// The scheduler of the host emulation, and the way in from Rust.
#include "emulation.hpp"
#include <stdlib.h>
#include <ucontext.h>

namespace emulation {

thread_local Fiber * current;
thread_local Dim3 block_index, block_size, grid_size;

static Kernel * & first_kernel() {
    static Kernel * first = nullptr;
    return first;
}

Kernel::Kernel(const char * name, unsigned block, void (*function)(), void (*call)(void (*)(), void **))
    : name(name), call(call), function(function), block(block), next(first_kernel()) {
    first_kernel() = this;
}

constexpr int kMostThreads = 1024;
constexpr size_t kStack = 128 * 1024;

struct Scheduler {
    char * stacks = nullptr;
    Fiber fibers[kMostThreads];
    Warp warps[kMostThreads / 32];
    int n = 0, live = 0;
    // Barrier: arrivals, and what they brought.
    int arrived = 0;
    unsigned generation = 0;
    int gathered = 0, result = 0;
    void * home = nullptr;
    // Threads are resumed from the last to the first.
    bool reversed = false;
    const Kernel * kernel = nullptr;
    void ** args = nullptr;
};

static thread_local Scheduler scheduler;

#if defined(__x86_64__) && defined(__linux__)
// Saves what a function may not clobber on the stack, and goes on where another stack left off.
extern "C" void quipu_switch_stack(void ** save, void * to);
asm(R"(
.text
.globl quipu_switch_stack
.type quipu_switch_stack, @function
quipu_switch_stack:
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
.size quipu_switch_stack, . - quipu_switch_stack
.section .note.GNU-stack,"",@progbits
.text
)");

static void * prepare(char * stack, void (*entry)()) {
    // Six saved registers, the entry, and a place for a return that never happens; aligned as after a call.
    void ** top = (void **) (((uintptr_t) (stack + kStack)) & ~(uintptr_t) 15);
    *--top = nullptr;
    *--top = (void *) entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    return top;
}
#else
// Anywhere else: contexts of the C library, kept at the stacks' ends.
static void quipu_switch_stack(void ** save, void * to) {
    ucontext_t here;
    *save = &here;
    swapcontext(&here, (ucontext_t *) to);
}
static void * prepare(char * stack, void (*entry)()) {
    ucontext_t * context = (ucontext_t *) stack;
    const size_t room = (sizeof(ucontext_t) + 63) / 64 * 64;
    getcontext(context);
    context->uc_stack.ss_sp = stack + room;
    context->uc_stack.ss_size = kStack - room;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return context;
}
#endif

static void yield() { quipu_switch_stack(&current->stack_pointer, scheduler.home); }

void wait(const unsigned * on, unsigned value) {
    current->waits_on = on;
    current->waits_for = value;
    while (*on == value) yield();
    current->waits_on = nullptr;
}

int barrier(int value) {
    Scheduler & s = scheduler;
    s.gathered |= value;
    if (++s.arrived == s.n) {
        s.arrived = 0;
        s.result = s.gathered;
        s.gathered = 0;
        s.generation++;
    } else {
        wait(&s.generation, s.generation);
    }
    // The next barrier's result cannot be there before this thread has come to it.
    return s.result;
}

static void run_fiber() {
    scheduler.kernel->call(scheduler.kernel->function, scheduler.args);
    current->done = true;
    scheduler.live--;
    for (;;) yield();
}

// Runs one block; false if its threads wait for each other for ever.
static bool run_block() {
    Scheduler & s = scheduler;
    s.live = s.n;
    s.arrived = 0;
    s.gathered = 0;
    for (int i = 0; i < s.n; i++) {
        Fiber & f = s.fibers[i];
        f = Fiber();
        f.thread = {(unsigned) i, 0, 0};
        f.warp = &s.warps[i / 32];
        if (i % 32 == 0) f.warp->arrived = 0, f.warp->turn = 0;
        f.stack_pointer = prepare(s.stacks + i * kStack, run_fiber);
    }
    const int n_warps = s.n / 32;
    while (s.live > 0) {
        bool moved = false;
        // A warp goes as far as it can before the next one does: it comes where others have not been.
        for (int w = 0; w < n_warps; w++) {
            Fiber * lanes = s.fibers + 32 * (s.reversed ? n_warps - 1 - w : w);
            for (bool going = true; going;) {
                going = false;
                for (int i = 0; i < 32; i++) {
                    Fiber & f = lanes[s.reversed ? 31 - i : i];
                    if (f.done || (f.waits_on && *f.waits_on == f.waits_for)) continue;
                    going = moved = true;
                    current = &f;
                    quipu_switch_stack(&s.home, f.stack_pointer);
                }
            }
        }
        if (!moved) return false;
    }
    return true;
}

} // namespace emulation

// 0 = done, 1 = no such kernel, 2 = another block size than the kernel was written for, 3 = no memory,
// 4 = threads waited for each other for ever.
extern "C" int quipu_emulate(const char * name, size_t name_len, const uint32_t grid[3], uint32_t block, void ** args,
                             int reversed) {
    using namespace emulation;
    const Kernel * k = first_kernel();
    while (k && (strlen(k->name) != name_len || memcmp(k->name, name, name_len))) k = k->next;
    if (!k) return 1;
    if (k->block != block || block == 0 || block > kMostThreads || block % 32) return 2;
    Scheduler & s = scheduler;
    s.stacks = (char *) malloc(kStack * block);
    if (!s.stacks) return 3;
    s.n = (int) block;
    s.kernel = k;
    s.reversed = reversed != 0;
    s.args = args;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {block, 1, 1};
    bool whole = true;
    for (unsigned z = 0; z < grid[2] && whole; z++)
        for (unsigned y = 0; y < grid[1] && whole; y++)
            for (unsigned x = 0; x < grid[0] && whole; x++) {
                block_index = {x, y, z};
                whole = run_block();
            }
    free(s.stacks);
    return whole ? 0 : 4;
}
