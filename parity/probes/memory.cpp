// Probe for quipu-batch and quipu-kv-cache: runs cases from stdin through the private classes of a llama.cpp checkout (batch allocator,
// caches) and prints one line per case. Cases come from `parity/src/memory`, where their format is described.
//
//   memory MODEL [-v]     MODEL: any file with a vocabulary of 256 tokens; -v prints states in full instead of their hashes
//
// The classes' private members are what is compared, so everything is public here.
#include <algorithm>
#include <array>
#include <bitset>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#define private public
#define protected public
#include "llama.h"
#include "llama-batch.h"
#include "llama-hparams.h"
#include "llama-io.h"
#include "llama-kv-cache.h"
#include "llama-kv-cache-iswa.h"
#include "llama-kv-cells.h"
#include "llama-memory-hybrid-iswa.h"
#include "llama-memory-hybrid.h"
#include "llama-memory-recurrent.h"
#include "llama-memory.h"
#include "llama-model.h"
#include "llama-vocab.h"
#undef private
#undef protected

using std::string;
using std::vector;

static bool   verbose = false;
static string last_error;

static void on_log(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) {
        last_error += text;
    }
}

// What the allocator complained about, in a word.
static const char * complaint() {
    const std::pair<const char *, const char *> words[] = {
        { "invalid token", "token" },
        { "invalid seq_id", "seq_id" },
        { "it is required that the position satisfies", "forward" },
        { "remain consecutive", "consecutive" },
        { "not continuous", "continuous" },
        { "divereged", "diverged" },
        { "incompatible sequence sets", "sets" },
        { "decreasing", "decreasing" },
        { "n_seq_max", "n_seq_max" },
    };
    for (auto & [found, word] : words) {
        if (last_error.find(found) != string::npos) {
            return word;
        }
    }
    return "unknown";
}

static uint64_t fnv1a(const string & bytes) {
    uint64_t hash = 0xCBF29CE484222325ull;
    for (unsigned char b : bytes) {
        hash = (hash ^ b) * 0x100000001B3ull;
    }
    return hash;
}

static string shown(const string & text) {
    if (verbose) {
        return "{" + text + "}";
    }
    char out[20];
    snprintf(out, sizeof out, "%016llx", (unsigned long long) fnv1a(text));
    return out;
}

// A memory that only knows which positions it has.
struct ranges : llama_memory_i {
    std::map<llama_seq_id, std::pair<llama_pos, llama_pos>> held;
    llama_memory_context_ptr init_batch(llama_batch_allocr &, uint32_t, bool) override { return nullptr; }
    llama_memory_context_ptr init_full() override { return nullptr; }
    llama_memory_context_ptr init_update(llama_context *, bool) override { return nullptr; }
    bool get_can_shift() const override { return false; }
    void clear(bool) override {}
    bool seq_rm(llama_seq_id, llama_pos, llama_pos) override { return true; }
    void seq_cp(llama_seq_id, llama_seq_id, llama_pos, llama_pos) override {}
    void seq_keep(llama_seq_id) override {}
    void seq_add(llama_seq_id, llama_pos, llama_pos, llama_pos) override {}
    void seq_div(llama_seq_id, llama_pos, llama_pos, int) override {}
    llama_pos seq_pos_min(llama_seq_id s) const override { return held.count(s) ? held.at(s).first : -1; }
    llama_pos seq_pos_max(llama_seq_id s) const override { return held.count(s) ? held.at(s).second : -1; }
    std::map<ggml_backend_buffer_type_t, size_t> memory_breakdown() const override { return {}; }
    void state_write(llama_io_write_i &, llama_seq_id, llama_state_seq_flags) const override {}
    void state_read(llama_io_read_i &, llama_seq_id, llama_state_seq_flags) override {}
};

// A batch as a case has it, with its own memory.
struct owned_batch {
    vector<llama_token> token;
    vector<float> embd;
    vector<llama_pos> pos;
    vector<int32_t> n_seq_id;
    vector<vector<llama_seq_id>> ids;
    vector<llama_seq_id *> seq_id;
    vector<int8_t> logits;
    llama_batch batch{};

    // n_tokens is_embd has_pos has_seq has_out, then for each token: id, positions, n and sequences, mark
    void read(std::istream & in, int n_pos, int n_embd) {
        int n, is_embd, has_pos, has_seq, has_out;
        in >> n >> is_embd >> has_pos >> has_seq >> has_out;
        const int planes = is_embd ? n_pos : 1;
        token.resize(n), pos.resize((size_t) n * planes), n_seq_id.resize(n), ids.resize(n), seq_id.resize(n + 1), logits.resize(n);
        embd.assign(is_embd ? (size_t) n * n_embd : 0, 0.0f);
        for (int i = 0; i < n; ++i) {
            in >> token[i];
            for (int p = 0; p < planes && has_pos; ++p) {
                in >> pos[(size_t) p * n + i];
            }
            if (has_seq) {
                in >> n_seq_id[i];
                ids[i].resize(n_seq_id[i]);
                for (auto & s : ids[i]) {
                    in >> s;
                }
                seq_id[i] = ids[i].data();
            }
            int mark = 0;
            if (has_out) {
                in >> mark;
            }
            logits[i] = mark;
        }
        batch.n_tokens = n;
        batch.token    = is_embd ? nullptr : token.data();
        batch.embd     = is_embd ? embd.data() : nullptr;
        batch.pos      = has_pos ? pos.data() : nullptr;
        batch.n_seq_id = has_seq ? n_seq_id.data() : nullptr;
        batch.seq_id   = has_seq ? seq_id.data() : nullptr;
        batch.logits   = has_out ? logits.data() : nullptr;
    }
};

// A sequence list as a set.
static void put_set(std::ostream & out, int n, const llama_seq_id * ids) {
    std::set<llama_seq_id> set(ids, ids + n);
    out << ids[0];
    for (auto s : set) {
        out << ',' << s;
    }
}

static void put_ubatch(std::ostream & out, const llama_ubatch & u) {
    out << "u " << (u.b_equal_seqs ? 1 : 0) << ' ' << u.n_tokens << ' ' << u.n_seq_tokens << ' ' << u.n_seqs << ' ' << u.n_pos << " unq";
    for (uint32_t s = 0; s < u.n_seqs_unq; ++s) {
        out << ' ' << u.seq_id_unq[s];
    }
    out << " idx";
    for (int s = 0; s < LLAMA_MAX_SEQ; ++s) {
        if (u.seq_idx[s] >= 0) {
            out << ' ' << s << ':' << u.seq_idx[s];
        }
    }
    out << " tok";
    for (uint32_t i = 0; i < u.n_tokens; ++i) {
        out << ' ';
        if (u.token) {
            out << u.token[i];
        } else {
            out << 'e';
        }
        for (uint32_t p = 0; p < u.n_pos; ++p) {
            out << ':' << u.pos[(size_t) p * u.n_tokens + i];
        }
        out << ':';
        put_set(out, u.n_seq_id[i], u.seq_id[i]);
        out << ':' << (u.output[i] ? 1 : 0);
    }
    out << '\n';
}

static const llama_model * model = nullptr;

// B n_seq_max n_pos output_all split n_ubatch keep_tail n_held (seq min max)* batch
static void run_batch(std::istream & in, std::ostream & out) {
    int n_seq_max, n_pos, output_all, split, n_ubatch, keep_tail, n_held;
    in >> n_seq_max >> n_pos >> output_all >> split >> n_ubatch >> keep_tail >> n_held;
    ranges memory;
    for (int i = 0; i < n_held; ++i) {
        int s, lo, hi;
        in >> s >> lo >> hi;
        memory.held[s] = { lo, hi };
    }
    owned_batch b;
    b.read(in, n_pos, 2);
    llama_batch_allocr alloc(n_pos);
    last_error.clear();
    if (!alloc.init(b.batch, model->vocab, n_held < 0 ? nullptr : &memory, 2, n_seq_max, output_all)) {
        out << "refused " << complaint();
        return;
    }
    std::ostringstream all;
    const llama_batch & done = alloc.get_batch();
    all << alloc.get_n_outputs();
    for (int i = 0; i < done.n_tokens; ++i) {
        all << ' ' << done.pos[i] << ':';
        put_set(all, done.n_seq_id[i], done.seq_id[i]);
        all << ':' << (done.logits[i] ? 1 : 0);
    }
    for (int s = 0; s < n_seq_max; ++s) {
        if (alloc.seq_pos_min(s) >= 0) {
            all << " s" << s << ':' << alloc.seq_pos_min(s) << ':' << alloc.seq_pos_max(s);
        }
    }
    all << '\n';
    out << "ok " << shown(all.str());
    all.str("");
    int n = 0;
    while (true) {
        llama_ubatch u = split == 0 ? alloc.split_simple(n_ubatch) : split == 3 ? alloc.split_seq(n_ubatch) : alloc.split_equal(n_ubatch, split == 2, keep_tail);
        if (u.n_tokens == 0) {
            break;
        }
        put_ubatch(all, u);
        ++n;
    }
    out << ' ' << n << ' ' << alloc.get_n_used() << ' ' << shown(all.str());
    for (auto id : alloc.get_out_ids()) {
        out << ' ' << id;
    }
}

struct writer : llama_io_write_i {
    string bytes;
    void write(const void * src, size_t size) override { bytes.append((const char *) src, size); }
    void write_tensor(ggml_tensor * t, size_t offset, size_t size) override { bytes.append((const char *) t->data + offset, size); }
    size_t n_bytes() override { return bytes.size(); }
};

struct reader : llama_io_read_i {
    const string & bytes;
    size_t at = 0;
    reader(const string & bytes) : bytes(bytes) {}
    void read(void * dst, size_t size) override {
        if (at + size > bytes.size()) {
            throw std::runtime_error("cut");
        }
        memcpy(dst, bytes.data() + at, size);
        at += size;
    }
    void read_tensor(ggml_tensor * t, size_t offset, size_t size) override { read((char *) t->data + offset, size); }
    size_t n_bytes() override { return at; }
};

static void put_cells(std::ostream & out, llama_kv_cache & kv) {
    for (uint32_t s = 0; s < kv.n_stream; ++s) {
        auto & cells = kv.v_cells[s];
        out << "h" << kv.v_heads[s] << ' ' << (cells.get_has_shift() ? 1 : 0) << ' ' << cells.get_used() << ' ' << cells.used_min() << ' ' << cells.used_max_p1();
        for (uint32_t i = 0; i < cells.size(); ++i) {
            if (cells.is_empty(i)) {
                continue;
            }
            out << ' ' << i << ':' << cells.pos_get(i) << ':' << cells.get_shift(i);
            if (kv.hparams.n_pos_per_embd() > 1) {
                out << ':' << cells.ext_get(i).x << ':' << cells.ext_get(i).y;
            }
            for (int q = 0; q < LLAMA_MAX_SEQ; ++q) {
                if (cells.seq_has(i, q)) {
                    out << ',' << q;
                }
            }
        }
        out << '\n';
    }
}

static void put_recurrent(std::ostream & out, llama_memory_recurrent & rs) {
    out << "r" << rs.head;
    for (uint32_t i = 0; i < rs.size; ++i) {
        const auto & cell = rs.cells[i];
        out << ' ' << cell.pos << ':' << cell.src << ':' << cell.tail;
        for (auto q : cell.seq_id) {
            out << ',' << q;
        }
    }
    for (auto back : rs.rs_idx) {
        out << " b" << back;
    }
    out << '\n';
}

struct subject {
    llama_hparams hparams;
    std::unique_ptr<llama_memory_recurrent> states;
    std::unique_ptr<llama_memory_hybrid> hybrid;
    std::unique_ptr<llama_memory_hybrid_iswa> hybrid_pair;
    llama_memory_recurrent * recurrent = nullptr;
    std::unique_ptr<llama_kv_cache> kv;
    std::unique_ptr<llama_kv_cache_iswa> pair;
    llama_memory_i * memory = nullptr;
    vector<llama_kv_cache *> caches;
    int n_seq = 0;

    string state() {
        std::ostringstream out;
        for (auto * c : caches) {
            put_cells(out, *c);
        }
        if (recurrent) {
            put_recurrent(out, *recurrent);
        }
        for (int s = 0; s < n_seq; ++s) {
            out << memory->seq_pos_min(s) << ':' << memory->seq_pos_max(s) << ' ';
        }
        return out.str();
    }

    // prepare() gives back only the cells of its slots, not those that it purged for windows; ours leaves no trace
    struct snapshot {
        vector<llama_kv_cells> cells;
        vector<uint32_t> heads;
    };
    // what a failed read leaves of states; a failed plan leaves no trace there
    vector<llama_memory_recurrent::mem_cell> saved_states;
    std::array<uint32_t, 2> saved_heads{};
    vector<uint32_t> saved_back;
    vector<snapshot> save() {
        vector<snapshot> all;
        if (recurrent) {
            saved_states = recurrent->cells;
            saved_heads  = { recurrent->head, recurrent->used };
            saved_back   = recurrent->rs_idx;
        }
        for (auto * c : caches) {
            all.push_back({ c->v_cells, c->v_heads });
        }
        return all;
    }
    void restore(const vector<snapshot> & all, bool states) {
        if (recurrent && states) {
            recurrent->cells  = saved_states;
            recurrent->head   = saved_heads[0];
            recurrent->used   = saved_heads[1];
            recurrent->rs_idx = saved_back;
        }
        for (size_t i = 0; i < all.size(); ++i) {
            caches[i]->v_cells = all[i].cells;
            caches[i]->v_heads = all[i].heads;
        }
    }
};

static void put_slot(std::ostream & out, const llama_kv_cache::slot_info & info, uint32_t size) {
    for (uint32_t s = 0; s < info.n_stream(); ++s) {
        for (auto i : info.idxs[s]) {
            out << ' ' << info.strm[s] * size + i;
        }
    }
}

// One batch into the memory, ubatch by ubatch.
static void step_batch(std::istream & in, std::ostream & out, subject & m, int n_pos, int n_seq_max) {
    int n_ubatch;
    in >> n_ubatch;
    owned_batch b;
    b.read(in, n_pos, 2);
    llama_batch_allocr alloc(n_pos);
    last_error.clear();
    if (!alloc.init(b.batch, model->vocab, m.memory, 2, n_seq_max, false)) {
        out << " refused-" << complaint();
        return;
    }
    auto saved = m.save();
    auto ctx = m.memory->init_batch(alloc, n_ubatch, false);
    m.restore(saved, false);
    if (ctx->get_status() != LLAMA_MEMORY_STATUS_SUCCESS) {
        out << " failed";
        return;
    }
    std::ostringstream all;
    do {
        ctx->apply();
        put_ubatch(all, ctx->get_ubatch());
        vector<llama_kv_cache_context *> parts;
        const llama_memory_recurrent_context * states = nullptr;
        llama_memory_context_i * attn = ctx.get();
        if (m.states) {
            states = (const llama_memory_recurrent_context *) ctx.get();
        } else if (m.hybrid) {
            auto * h = (llama_memory_hybrid_context *) ctx.get();
            states = h->get_recr();
            attn   = h->ctx_attn.get();
        } else if (m.hybrid_pair) {
            auto * h = (llama_memory_hybrid_iswa_context *) ctx.get();
            states = h->get_recr();
            attn   = h->ctx_attn.get();
        }
        if (states) {
            all << "states " << states->get_head() << ' ' << states->get_n_rs() << ' ' << states->get_rs_z() << " from";
            for (uint32_t i = 0; i < states->get_n_rs(); ++i) {
                all << ' ' << states->s_copy(i);
            }
            all << '\n';
        }
        if (m.pair || m.hybrid_pair) {
            auto * p = (llama_kv_cache_iswa_context *) attn;
            parts = { (llama_kv_cache_context *) p->ctx_base.get(), (llama_kv_cache_context *) p->ctx_swa.get() };
        } else if (m.states) {
        } else {
            parts = { (llama_kv_cache_context *) attn };
        }
        for (size_t i = 0; i < parts.size(); ++i) {
            all << "slot";
            put_slot(all, parts[i]->sinfos[parts[i]->i_cur], m.caches[i]->get_size());
            all << " n_kv " << parts[i]->n_kv << '\n';
        }
        all << m.state();
    } while (ctx->next());
    out << " batch-" << shown(all.str());
}

// M kind n_cells unified n_seq_max n_swa swa_type n_pos n_ubatch ops..., each a letter and numbers
static void run_memory(std::istream & in, std::ostream & out) {
    int kind, n_cells, unified, n_seq_max, n_swa, swa_type, n_pos, n_ubatch;
    in >> kind >> n_cells >> unified >> n_seq_max >> n_swa >> swa_type >> n_pos >> n_ubatch;
    subject m;
    m.hparams = model->hparams;
    m.hparams.rope_type = n_pos > 1 ? LLAMA_ROPE_TYPE_MROPE : LLAMA_ROPE_TYPE_NORM;
    m.hparams.n_swa     = n_swa;
    m.hparams.swa_type  = (llama_swa_type) swa_type;
    m.n_seq             = unified ? 8 : n_seq_max;
    const auto filter = [](int32_t il) { return il == 0; };
    if (kind >= 3) {
        // these classes keep a reference to the model's own
        auto & shared = const_cast<llama_hparams &>(model->hparams);
        shared.ssm_d_conv = 4, shared.ssm_d_inner = 6, shared.ssm_d_state = 2, shared.ssm_n_group = 1;
        shared.n_swa    = kind == 5 ? n_swa : 0;
        shared.swa_type = kind == 5 ? (llama_swa_type) swa_type : LLAMA_SWA_TYPE_NONE;
    }
    if (kind == 3) {
        // the window's place in the case holds the number of snapshots
        m.states = std::make_unique<llama_memory_recurrent>(*model, GGML_TYPE_F32, GGML_TYPE_F32, false, std::max(1, n_seq_max), n_seq_max, n_swa, filter);
        m.recurrent = m.states.get();
        m.memory = m.states.get();
    } else if (kind == 4) {
        m.hybrid = std::make_unique<llama_memory_hybrid>(*model, GGML_TYPE_F16, GGML_TYPE_F16, false, n_cells, 1, 0, LLAMA_SWA_TYPE_NONE, GGML_TYPE_F32,
                GGML_TYPE_F32, std::max(1, n_seq_max), n_seq_max, 0, false, unified, filter, filter);
        m.recurrent = m.hybrid->get_mem_recr();
        m.memory = m.hybrid.get();
        m.caches = { m.hybrid->get_mem_attn() };
    } else if (kind == 5) {
        m.hybrid_pair = std::make_unique<llama_memory_hybrid_iswa>(*model, GGML_TYPE_F16, GGML_TYPE_F16, false, true, n_cells, n_ubatch, 1, GGML_TYPE_F32,
                GGML_TYPE_F32, std::max(1, n_seq_max), n_seq_max, 0, false, unified, filter, filter);
        m.recurrent = m.hybrid_pair->get_mem_recr();
        m.memory = m.hybrid_pair.get();
        m.caches = { m.hybrid_pair->get_mem_attn()->get_base(), m.hybrid_pair->get_mem_attn()->get_swa() };
    } else if (kind == 0) {
        m.kv = std::make_unique<llama_kv_cache>(*model, m.hparams, GGML_TYPE_F16, GGML_TYPE_F16, false, false, unified, n_cells, n_seq_max, 1,
                n_swa, (llama_swa_type) swa_type, nullptr, filter, nullptr, nullptr);
        m.memory = m.kv.get();
        m.caches = { m.kv.get() };
    } else {
        m.pair = std::make_unique<llama_kv_cache_iswa>(*model, m.hparams, GGML_TYPE_F16, GGML_TYPE_F16, false, false, kind == 2, unified, n_cells,
                n_seq_max, n_ubatch, 1, nullptr, filter, nullptr, nullptr);
        m.memory = m.pair.get();
        m.caches = { m.pair->get_base(), m.pair->get_swa() };
    }
    string blob;
    for (string op; in >> op;) {
        int a, b, c, d;
        switch (op[0]) {
            case 'b':
                step_batch(in, out, m, n_pos, n_seq_max);
                continue;
            case 'r':
                in >> a >> b >> c;
                out << ' ' << m.memory->seq_rm(a, b, c);
                break;
            case 'c':
                in >> a >> b >> c >> d;
                m.memory->seq_cp(a, b, c, d);
                break;
            case 'k':
                in >> a;
                m.memory->seq_keep(a);
                break;
            case 'a':
                in >> a >> b >> c >> d;
                m.memory->seq_add(a, b, c, d);
                break;
            case 'd':
                in >> a >> b >> c >> d;
                m.memory->seq_div(a, b, c, d);
                break;
            case 'x':
                m.memory->clear(false);
                break;
            case 'u': // what update() does to the cells
                for (auto * c : m.caches) {
                    c->sc_info = {};
                    for (auto & cells : c->v_cells) {
                        cells.reset_shift();
                    }
                }
                break;
            case 's': {
                in >> a;
                writer io;
                m.memory->state_write(io, a, 0);
                blob = io.bytes;
                out << ' ' << blob.size() << '-' << shown(blob);
                break;
            }
            case 'l': {
                in >> a;
                auto saved = m.save();
                // a state without cells empties here; the reference leaves what was there
                for (auto * c : m.caches) {
                    if (a < 0) {
                        c->clear(false);
                    } else {
                        c->seq_rm(a, -1, -1);
                    }
                }
                reader io(blob);
                try {
                    m.memory->state_read(io, a, 0);
                    out << " read" << io.at;
                } catch (const std::exception &) {
                    m.restore(saved, true);
                    out << " unread";
                }
                break;
            }
            default:
                throw std::runtime_error("an unknown operation");
        }
        out << ' ' << shown(m.state());
    }
}

using clock_type = std::chrono::steady_clock;

static long long since(clock_type::time_point start) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(clock_type::now() - start).count();
}

static std::unique_ptr<llama_kv_cache> plain_cache(uint32_t n_cells, uint32_t n_seq_max) {
    const auto filter = [](int32_t il) { return il == 0; };
    return std::make_unique<llama_kv_cache>(*model, model->hparams, GGML_TYPE_F16, GGML_TYPE_F16, false, false, true, n_cells, n_seq_max, 1,
            0, LLAMA_SWA_TYPE_NONE, nullptr, filter, nullptr, nullptr);
}

// Tokens at positions from `first` on, one for each of `n_seqs` sequences at every position.
static owned_batch rows_of(int first, int n_rows, int n_seqs) {
    owned_batch b;
    std::ostringstream text;
    text << n_rows * n_seqs << " 0 1 1 0";
    for (int i = 0; i < n_rows; ++i) {
        for (int s = 0; s < n_seqs; ++s) {
            text << " 1 " << first + i << " 1 " << s;
        }
    }
    std::istringstream in(text.str());
    b.read(in, 1, 2);
    return b;
}

// What a writer into memory that is there does (`llama_io_write_host`).
struct host_writer : llama_io_write_i {
    vector<char> & bytes;
    size_t at = 0;
    host_writer(vector<char> & bytes) : bytes(bytes) {}
    void write(const void * src, size_t size) override {
        memcpy(bytes.data() + at, src, size);
        at += size;
    }
    void write_tensor(ggml_tensor * t, size_t offset, size_t size) override {
        ggml_backend_tensor_get(t, bytes.data() + at, offset, size);
        at += size;
    }
    size_t n_bytes() override { return at; }
};

// T what rounds: nanoseconds of all rounds, and a number that tells whether it did what it should
//   slots: finding and taking cells for 256 ubatches of 64 tokens, one of each sequence, in 32768 cells of which half are in use
//   split: completing a batch of 4096 tokens and cutting it into ubatches of 512
//   state: writing the state of 2^21 cells of 512 bytes
static void run_time(std::istream & in, std::ostream & out) {
    string what;
    int rounds;
    in >> what >> rounds;
    long long ns = 0;
    size_t sum = 0;
    if (what == "slots") {
        const int n_seqs = 64;
        llama_batch_allocr alloc(1);
        for (int round = 0; round < rounds; ++round) {
            auto kv = plain_cache(32768, n_seqs);
            vector<llama_ubatch> ubatches;
            vector<owned_batch> batches;
            batches.reserve(512);
            for (int i = 0; i < 512; ++i) {
                batches.push_back(rows_of(i, 1, n_seqs));
                alloc.init(batches.back().batch, model->vocab, nullptr, 2, n_seqs, false);
                ubatches.push_back(alloc.split_simple(n_seqs));
            }
            for (int i = 0; i < 256; ++i) {
                kv->apply_ubatch(kv->prepare({ ubatches[i] })[0], ubatches[i]);
            }
            const auto start = clock_type::now();
            for (int i = 256; i < 512; ++i) {
                auto slots = kv->prepare({ ubatches[i] });
                kv->apply_ubatch(slots[0], ubatches[i]);
            }
            ns += since(start);
            sum = kv->v_cells[0].get_used();
        }
    } else if (what == "split") {
        owned_batch b;
        std::ostringstream text;
        text << "4096 0 0 0 0";
        for (int i = 0; i < 4096; ++i) {
            text << " " << i % 256;
        }
        std::istringstream tokens(text.str());
        b.read(tokens, 1, 2);
        llama_batch_allocr alloc(1);
        const auto start = clock_type::now();
        for (int round = 0; round < rounds; ++round) {
            alloc.init(b.batch, model->vocab, nullptr, 2, 1, false);
            sum = 0;
            for (llama_ubatch u = alloc.split_simple(512); u.n_tokens > 0; u = alloc.split_simple(512)) {
                sum += u.n_tokens;
            }
        }
        ns = since(start);
    } else {
        const int n_cells = 1 << 21;
        auto kv = plain_cache(n_cells, 1);
        for (int i = 0; i < n_cells; ++i) {
            kv->v_cells[0].pos_set(i, i);
            kv->v_cells[0].seq_add(i, 0);
        }
        vector<char> bytes((size_t) n_cells * 600);
        const auto start = clock_type::now();
        for (int round = 0; round < rounds; ++round) {
            host_writer io(bytes);
            kv->state_write(io, -1, 0);
            sum = io.at;
        }
        ns = since(start);
    }
    out << ns << ' ' << sum;
}

int main(int argc, char ** argv) {
    verbose = argc > 2 && string(argv[2]) == "-v";
    llama_log_set(on_log, nullptr);
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    model = argc > 1 ? llama_model_load_from_file(argv[1], params) : nullptr;
    if (!model) {
        fprintf(stderr, "no model: %s\n", last_error.c_str());
        return 1;
    }
    std::ios::sync_with_stdio(false);
    for (string line; std::getline(std::cin, line);) {
        std::istringstream in(line);
        std::ostringstream out;
        string kind;
        in >> kind;
        if (kind == "B") {
            run_batch(in, out);
        } else if (kind == "T") {
            run_time(in, out);
        } else {
            run_memory(in, out);
        }
        // Whoever asks for times waits for each answer.
        std::cout << out.str() << '\n';
        if (kind == "T") {
            std::cout << std::flush; // whoever asks for times waits for each answer
        }
    }
    return 0;
}
