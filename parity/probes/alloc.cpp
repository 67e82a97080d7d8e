// Probe for quipu-alloc: runs allocation cases from stdin through ggml-alloc of a llama.cpp checkout and prints
// one result line per case. Cases come from `cargo run -p quipu-alloc --example parity_cases -- gen ...`, where
// the formats of cases and results are described. Two more uses:
//   alloc graph MODEL N_CTX N_TOKENS N_OUTPUTS   prints the graph llama.cpp builds for the model as a case
//   a case line `B n case`                        times ggml on a graph n times and prints nanoseconds for
//                                                 planning (reserve with memory that suffices) and for the realloc check
//
//   g++ -std=c++20 -O1 -DNDEBUG -w -I$LLAMA/ggml/include -I$LLAMA/ggml/src parity/probes/alloc.cpp \
//       -L$LLAMA_BUILD/bin -lllama -lggml-base -Wl,-rpath,$LLAMA_BUILD/bin -o probe-alloc
//
// The chunk allocator is private to ggml-alloc.c, so that file is compiled in here. It is C: the only thing
// that keeps it from being C++ is `void *` from calloc and malloc turning into any pointer by itself.
#pragma GCC optimize("O3") // as the reference's release build has it

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

struct any_pointer {
    void * p;
    template <typename T> operator T *() const { return static_cast<T *>(p); }
};
static any_pointer c_calloc(size_t n, size_t s) { return { std::calloc(n, s) }; }
static any_pointer c_malloc(size_t s) { return { std::malloc(s) }; }
static any_pointer c_realloc(void * p, size_t s) { return { std::realloc(p, s) }; }

#include "ggml-alloc.h"
#include "ggml-backend-impl.h"
#include "ggml-impl.h"
#include "ggml.h"
#include "llama.h"

// llama-ext.h
ggml_cgraph * llama_graph_reserve(llama_context * ctx, uint32_t n_tokens, uint32_t n_seqs, uint32_t n_outputs);

#define calloc(n, s) c_calloc(n, s)
#define malloc(s) c_malloc(s)
#define realloc(p, s) c_realloc(p, s)
extern "C" {
#include "ggml-alloc.c"
}
#undef calloc
#undef malloc
#undef realloc

using std::string;
using std::vector;
using u64 = uint64_t;

// A buffer type that hands out sizes and no memory.

struct fake_type {
    u64 alignment = 1;
    u64 max_size  = 0;
    u64 pad       = 0; // added to the size of every tensor placed here
    vector<ggml_backend_buffer_t> live;
    ggml_backend_buffer_type      buft{};
};

static fake_type * fake(ggml_backend_buffer_type_t t) { return (fake_type *) t->context; }

static void fake_free(ggml_backend_buffer_t b) { std::erase(((fake_type *) b->context)->live, b); }

static ggml_backend_buffer_t fake_alloc(ggml_backend_buffer_type_t t, size_t size) {
    ggml_backend_buffer_i iface{};
    iface.free_buffer = fake_free;
    iface.get_base    = [](ggml_backend_buffer_t) { return (void *) 0x10000; };
    fake(t)->live.push_back(ggml_backend_buffer_init(t, iface, t->context, size));
    return fake(t)->live.back();
}

static std::unique_ptr<fake_type> make_type(u64 alignment, u64 max_size, u64 pad) {
    auto f       = std::make_unique<fake_type>();
    f->alignment = alignment;
    f->max_size  = max_size;
    f->pad       = pad;
    auto & i          = f->buft.iface;
    i.get_name        = [](ggml_backend_buffer_type_t) { return "fake"; };
    i.alloc_buffer    = fake_alloc;
    i.get_alignment   = [](ggml_backend_buffer_type_t t) { return (size_t) fake(t)->alignment; };
    i.get_max_size    = [](ggml_backend_buffer_type_t t) { return (size_t) fake(t)->max_size; };
    i.get_alloc_size  = [](ggml_backend_buffer_type_t t, const ggml_tensor * x) { return (size_t) x->extra + fake(t)->pad; };
    i.is_host         = [](ggml_backend_buffer_type_t) { return false; };
    f->buft.context   = f.get();
    return f;
}

static vector<string> split(const string & s, char by) {
    vector<string>     parts;
    std::istringstream in(s);
    for (string part; std::getline(in, part, by);) {
        parts.push_back(part);
    }
    return parts;
}

static u64 number(const string & s) { return std::stoull(s); }

static void trace(std::istringstream & in, std::ostringstream & out) {
    u64 alignment, max_size;
    in >> alignment >> max_size;
    ggml_dyn_tallocr * a = ggml_dyn_tallocr_new(alignment, max_size);
    vector<std::pair<buffer_address, u64>> ranges;
    for (string op; in >> op;) {
        if (op[0] == 'a') {
            u64 size = number(op.substr(1));
            ranges.push_back({ ggml_dyn_tallocr_alloc(a, size, nullptr), size });
            out << ranges.back().first.chunk << ':' << ranges.back().first.offset << ' ';
        } else if (op[0] == 'f') {
            auto & r = ranges[number(op.substr(1))];
            ggml_dyn_tallocr_free_bytes(a, r.first, r.second);
        } else { // keep the first bytes of a range, free the rest
            auto   parts = split(op.substr(1), ':');
            auto & r     = ranges[number(parts[0])];
            u64    keep  = aligned_offset(nullptr, number(parts[1]), alignment);
            buffer_address tail = r.first;
            tail.offset += keep;
            ggml_dyn_tallocr_free_bytes(a, tail, aligned_offset(nullptr, r.second, alignment) - keep);
            r.second = keep;
        }
    }
    for (int c = 0; c < a->n_chunks; c++) {
        out << '|' << a->chunks[c]->max_size;
        for (int i = 0; i < a->chunks[c]->n_free_blocks; i++) {
            out << ' ' << a->chunks[c]->free_blocks[i].offset << '+' << a->chunks[c]->free_blocks[i].size;
        }
    }
    ggml_dyn_tallocr_free(a);
}

static void put(std::ostringstream & out, const tensor_alloc & t) {
    if (t.buffer_id < 0) {
        out << '-';
    } else {
        out << t.buffer_id << ':' << t.addr.chunk << ':' << t.addr.offset;
    }
}

static void put_sizes(std::ostringstream & out, ggml_gallocr_t g) {
    for (int i = 0; i < g->n_buffers; i++) {
        out << " |";
        for (int c = 0; g->buffers[i] && c < GGML_VBUFFER_MAX_CHUNKS && g->buffers[i]->chunks[c]; c++) {
            out << ' ' << ggml_vbuffer_chunk_size(g->buffers[i], c);
        }
    }
}

// A graph as a case describes it, made of tensors that never had a context.
struct graph_case {
    vector<std::unique_ptr<fake_type>> types;
    vector<ggml_backend_buffer_type_t> bufts;
    vector<ggml_tensor>                tensors;
    vector<ggml_tensor *>              nodes, leafs;
    vector<int>                        node_ids, leaf_ids, n_sources;
    ggml_cgraph                        g{};

    explicit graph_case(std::istringstream & in) {
        int n_buffers;
        in >> n_buffers;
        vector<u64> ids;
        for (int i = 0; i < n_buffers; i++) {
            string s;
            in >> s;
            auto p = split(s, ':');
            types.push_back(make_type(number(p[1]), number(p[2]), number(p[3])));
            ids.push_back(number(p[0]));
            int first = 0;
            while (ids[first] != ids[i]) {
                first++;
            }
            bufts.push_back(&types[first]->buft);
        }
        int n;
        in >> n;
        tensors.resize(n);
        for (int i = 0; i < n; i++) {
            string s;
            in >> s;
            auto p = split(s, ':'); // kind, op, flags, layout, size, view root + 1, buffer, sources
            ggml_tensor & t = tensors[i];
            t       = {};
            t.type  = GGML_TYPE_F32;
            t.op    = p[1] == "i" ? GGML_OP_ADD : p[1] == "n" ? GGML_OP_MUL_MAT : GGML_OP_NONE;
            t.ne[0] = number(p[3]);
            t.ne[1] = t.ne[2] = t.ne[3] = 1;
            t.nb[0]                     = 4;
            t.nb[1] = t.nb[2] = t.nb[3] = 4 * t.ne[0];
            t.extra                     = (void *) number(p[4]);
            u64 flags                   = number(p[2]);
            t.flags = (flags & 1 ? GGML_TENSOR_FLAG_INPUT : 0) | (flags & 2 ? GGML_TENSOR_FLAG_OUTPUT : 0);
            t.data  = flags & 4 ? (void *) 0x10000 : nullptr;
            if (u64 root = number(p[5])) {
                t.view_src = &tensors[root - 1];
            }
            auto sources = p[7] == "-" ? vector<string>() : split(p[7], ',');
            for (size_t j = 0; j < sources.size(); j++) {
                t.src[j] = sources[j] == "_" ? nullptr : &tensors[number(sources[j])];
            }
            if (p[0] == "N") {
                nodes.push_back(&t);
                node_ids.push_back(number(p[6]));
                n_sources.push_back(sources.size());
            } else if (p[0] == "L") {
                leafs.push_back(&t);
                leaf_ids.push_back(number(p[6]));
            }
        }
        g.n_nodes = nodes.size();
        g.n_leafs = leafs.size();
        g.nodes   = nodes.data();
        g.leafs   = leafs.data();
    }
};

static void graph(std::istringstream & in, std::ostringstream & out) {
    graph_case    c(in);
    ggml_cgraph & g = c.g;

    ggml_gallocr_t galloc = ggml_gallocr_new_n(c.bufts.data(), c.bufts.size());
    ggml_gallocr_reserve_n(galloc, &g, c.node_ids.data(), c.leaf_ids.data());
    for (int i = 0; i < g.n_leafs; i++) {
        put(out, galloc->leaf_allocs[i].leaf);
        out << ' ';
    }
    for (int i = 0; i < g.n_nodes; i++) {
        put(out, galloc->node_allocs[i].dst);
        for (int j = 0; j < c.n_sources[i]; j++) {
            out << ',';
            put(out, galloc->node_allocs[i].src[j]);
        }
        out << ' ';
    }
    put_sizes(out, galloc);
    for (auto & t : c.tensors) {
        u64 size = (u64) t.extra;
        in >> size; // without second sizes the same graph is reserved again
        t.extra = (void *) size;
    }
    out << " ; " << ggml_gallocr_needs_realloc(galloc, &g);
    ggml_gallocr_reserve_n(galloc, &g, c.node_ids.data(), c.leaf_ids.data());
    put_sizes(out, galloc);
    ggml_gallocr_free(galloc);
}

static double nanoseconds(int n, auto && f) {
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < n; i++) {
        f();
    }
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / n;
}

static void timing(std::istringstream & in, std::ostringstream & out) {
    int    n;
    string kind;
    in >> n >> kind;
    graph_case     c(in);
    ggml_gallocr_t galloc  = ggml_gallocr_new_n(c.bufts.data(), c.bufts.size());
    auto           reserve = [&] { ggml_gallocr_reserve_n(galloc, &c.g, c.node_ids.data(), c.leaf_ids.data()); };
    volatile bool  verdict = false;
    reserve();
    reserve();
    out << nanoseconds(n, reserve) << ' ';
    out << nanoseconds(n, [&] { verdict = ggml_gallocr_needs_realloc(galloc, &c.g); });
    ggml_gallocr_free(galloc);
}

// The graph llama.cpp builds for a model, as a case. Weights and cache are external; everything is in one buffer.
static int print_graph(const char * model_path, int n_ctx, int n_tokens, int n_outputs) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params mp = llama_model_default_params();
    mp.use_extra_bufts    = false; // the file stays mapped: its weights are never read
    llama_model * model   = llama_model_load_from_file(model_path, mp);
    if (!model) {
        fprintf(stderr, "cannot load %s\n", model_path);
        return 1;
    }
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx                = n_ctx;
    cp.n_batch = cp.n_ubatch = n_tokens;
    llama_context * ctx      = llama_init_from_model(model, cp);
    ggml_cgraph *   g        = ctx ? llama_graph_reserve(ctx, n_tokens, 1, n_outputs) : nullptr;
    if (!g) {
        fprintf(stderr, "no graph for %s\n", model_path);
        return 1;
    }
    std::map<ggml_tensor *, int> ids;
    vector<ggml_tensor *>        order;
    auto add = [&](ggml_tensor * t) {
        if (t && ids.emplace(t, (int) order.size()).second) {
            order.push_back(t);
        }
    };
    for (int i = 0; i < g->n_leafs; i++) {
        add(g->leafs[i]);
    }
    for (int i = 0; i < g->n_nodes; i++) {
        add(g->nodes[i]);
    }
    int n_listed = order.size();
    for (int i = 0; i < (int) order.size(); i++) {
        for (auto * s : order[i]->src) {
            add(s);
        }
        add(order[i]->view_src);
    }
    ggml_backend_buffer_type_t buft = ggml_backend_cpu_buffer_type();
    vector<ggml_tensor *>      layouts;
    printf("G 1 0:%zu:%zu:0 %zu", ggml_backend_buft_get_alignment(buft), ggml_backend_buft_get_max_size(buft), order.size());
    for (int i = 0; i < (int) order.size(); i++) {
        ggml_tensor * t      = order[i];
        size_t        layout = 0;
        while (layout < layouts.size() && !ggml_are_same_layout(layouts[layout], t)) {
            layout++;
        }
        if (layout == layouts.size()) {
            layouts.push_back(t);
        }
        char kind  = i < g->n_leafs ? 'L' : i < n_listed ? 'N' : 'S';
        char op    = t->op == GGML_OP_NONE ? '0' : ggml_op_can_inplace(t->op) ? 'i' : 'n';
        int  flags = (t->flags & GGML_TENSOR_FLAG_INPUT ? 1 : 0) | (t->flags & GGML_TENSOR_FLAG_OUTPUT ? 2 : 0) |
                    (!t->view_src && (t->data || t->buffer) ? 4 : 0);
        printf(" %c:%c:%d:%zu:%zu:%d:0:", kind, op, flags, layout + 1, flags & 4 || t->view_src ? (size_t) 0 : ggml_backend_buft_get_alloc_size(buft, t),
               t->view_src ? ids[t->view_src] + 1 : 0);
        int n_src = GGML_MAX_SRC;
        while (n_src > 0 && !t->src[n_src - 1]) {
            n_src--;
        }
        printf(n_src == 0 ? "-" : "");
        for (int j = 0; j < n_src; j++) {
            if (t->src[j]) {
                printf(j ? ",%d" : "%d", ids[t->src[j]]);
            } else {
                printf(j ? ",_" : "_");
            }
        }
    }
    puts("");
    llama_free(ctx);
    llama_model_free(model);
    return 0;
}

static void context(std::istringstream & in, std::ostringstream & out) {
    u64 alignment, max_size;
    in >> alignment >> max_size;
    auto type = make_type(alignment, max_size, 0);
    ggml_init_params params{ 64 * (ggml_tensor_overhead() + 64), nullptr, true };
    ggml_context *   ctx = ggml_init(params);
    for (string s; in >> s;) {
        ggml_tensor * t = ggml_new_tensor_1d(ctx, GGML_TYPE_I8, 1);
        if (s == "-") {
            t->data = (void *) 0x10000;
        } else {
            t->extra = (void *) number(s);
        }
    }
    out << ggml_backend_alloc_ctx_tensors_from_buft_size(ctx, &type->buft);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(ctx, &type->buft);
    for (auto b : type->live) {
        out << ' ' << b->size;
    }
    out << " |";
    for (ggml_tensor * t = ggml_get_first_tensor(ctx); t; t = ggml_get_next_tensor(ctx, t)) {
        size_t b = 0;
        while (b < type->live.size() && type->live[b] != t->buffer) {
            b++;
        }
        if (t->buffer) {
            out << ' ' << b << ':' << (u64) t->data - 0x10000;
        } else {
            out << " -";
        }
    }
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
}

int main(int argc, char ** argv) {
    if (argc == 6 && string(argv[1]) == "graph") {
        return print_graph(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
    }
    std::ios::sync_with_stdio(false);
    for (string line; std::getline(std::cin, line);) {
        std::istringstream in(line);
        std::ostringstream out;
        string             kind;
        in >> kind;
        if (kind == "T") {
            trace(in, out);
        } else if (kind == "G") {
            graph(in, out);
        } else if (kind == "C") {
            context(in, out);
        } else if (kind == "B") {
            timing(in, out);
        } else {
            fprintf(stderr, "unknown case: %s\n", line.c_str());
            return 1;
        }
        puts(out.str().c_str());
        if (kind == "B") {
            fflush(stdout);
        }
    }
}
