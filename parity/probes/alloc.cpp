// Probe for quipu-alloc: runs allocation cases from stdin through ggml-alloc of a llama.cpp checkout and prints
// one result line per case. Cases come from `cargo run -p quipu-alloc --example parity_cases -- gen ...`, where
// the formats of cases and results are described.
//
//   g++ -std=c++20 -O1 -DNDEBUG -w -I$LLAMA/ggml/include -I$LLAMA/ggml/src parity/probes/alloc.cpp \
//       -L$LLAMA_BUILD/bin -lggml-base -Wl,-rpath,$LLAMA_BUILD/bin -o probe-alloc
//
// The chunk allocator is private to ggml-alloc.c, so that file is compiled in here. It is C: the only thing
// that keeps it from being C++ is `void *` from calloc and malloc turning into any pointer by itself.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
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

static void graph(std::istringstream & in, std::ostringstream & out) {
    int n_buffers;
    in >> n_buffers;
    vector<std::unique_ptr<fake_type>> types;
    vector<u64>                        ids;
    vector<ggml_backend_buffer_type_t> bufts;
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
    vector<ggml_tensor>   tensors(n);
    vector<ggml_tensor *> nodes, leafs;
    vector<int>           node_ids, leaf_ids, n_sources;
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
    ggml_cgraph g{};
    g.n_nodes = nodes.size();
    g.n_leafs = leafs.size();
    g.nodes   = nodes.data();
    g.leafs   = leafs.data();

    ggml_gallocr_t galloc = ggml_gallocr_new_n(bufts.data(), n_buffers);
    ggml_gallocr_reserve_n(galloc, &g, node_ids.data(), leaf_ids.data());
    for (int i = 0; i < g.n_leafs; i++) {
        put(out, galloc->leaf_allocs[i].leaf);
        out << ' ';
    }
    for (int i = 0; i < g.n_nodes; i++) {
        put(out, galloc->node_allocs[i].dst);
        for (int j = 0; j < n_sources[i]; j++) {
            out << ',';
            put(out, galloc->node_allocs[i].src[j]);
        }
        out << ' ';
    }
    put_sizes(out, galloc);
    for (auto & t : tensors) {
        u64 size;
        in >> size;
        t.extra = (void *) size;
    }
    out << " ; " << ggml_gallocr_needs_realloc(galloc, &g);
    ggml_gallocr_reserve_n(galloc, &g, node_ids.data(), leaf_ids.data());
    put_sizes(out, galloc);
    ggml_gallocr_free(galloc);
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

int main() {
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
        } else {
            fprintf(stderr, "unknown case: %s\n", line.c_str());
            return 1;
        }
        puts(out.str().c_str());
    }
}
