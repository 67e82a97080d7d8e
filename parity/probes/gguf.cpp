// What the reference's GGUF reader and writer do with given files.
//
//   gguf check IN OUT          reads each file of the container IN and writes to OUT what gguf_init_from_file made of it
//   gguf write SEED COUNT OUT  writes COUNT random files with gguf_write_to_file into the container OUT
//   gguf time FILE             for each line on stdin opens FILE once and prints the nanoseconds
//
// A container is a row of (u64 length, bytes). The answer to each file is: u8 verdict without tensor data, u8 verdict
// with it (0 refused, 1 accepted, 2 crashed), u64 length, dump. Every file is read in a child process, because some
// make the reader divide by zero or abort.

#include "ggml.h"
#include "ggml-backend.h"
#include "gguf.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using bytes = std::vector<uint8_t>;

static bytes read_all(const char * path) {
    FILE * f = fopen(path, "rb");
    if (!f) { perror(path); exit(1); }
    bytes out;
    uint8_t buf[1 << 16];
    for (size_t n; (n = fread(buf, 1, sizeof(buf), f)) > 0;) {
        out.insert(out.end(), buf, buf + n);
    }
    fclose(f);
    return out;
}

static void write_all(const char * path, const void * data, size_t n) {
    FILE * f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) { perror(path); exit(1); }
}

template <typename T> static void put(bytes & out, T v) {
    const uint8_t * p = (const uint8_t *) &v;
    out.insert(out.end(), p, p + sizeof(v));
}

static void put_raw(bytes & out, const void * p, size_t n) {
    out.insert(out.end(), (const uint8_t *) p, (const uint8_t *) p + n);
}

static void put_text(bytes & out, const char * text) {
    put<uint64_t>(out, strlen(text));
    put_raw(out, text, strlen(text));
}

static size_t size_of(gguf_type t) {
    switch (t) {
        case GGUF_TYPE_UINT8: case GGUF_TYPE_INT8: case GGUF_TYPE_BOOL: return 1;
        case GGUF_TYPE_UINT16: case GGUF_TYPE_INT16: return 2;
        case GGUF_TYPE_UINT32: case GGUF_TYPE_INT32: case GGUF_TYPE_FLOAT32: return 4;
        default: return 8;
    }
}

// Everything the public functions tell, then the header as the reference writes it again.
static void dump(bytes & out, const gguf_context * ctx) {
    put<uint32_t>(out, gguf_get_version(ctx));
    put<uint64_t>(out, gguf_get_alignment(ctx));
    put<uint64_t>(out, gguf_get_data_offset(ctx));
    put<uint64_t>(out, gguf_get_n_kv(ctx));
    for (int64_t i = 0; i < gguf_get_n_kv(ctx); ++i) {
        put_text(out, gguf_get_key(ctx, i));
        const gguf_type type = gguf_get_kv_type(ctx, i);
        put<uint32_t>(out, type);
        if (type == GGUF_TYPE_STRING) {
            put_text(out, gguf_get_val_str(ctx, i));
        } else if (type == GGUF_TYPE_ARRAY) {
            const gguf_type element = gguf_get_arr_type(ctx, i);
            const size_t n = gguf_get_arr_n(ctx, i);
            put<uint32_t>(out, element);
            put<uint64_t>(out, n);
            if (element == GGUF_TYPE_STRING) {
                for (size_t j = 0; j < n; ++j) {
                    put_text(out, gguf_get_arr_str(ctx, i, j));
                }
            } else if (n > 0) {
                put_raw(out, gguf_get_arr_data(ctx, i), n * size_of(element));
            }
        } else {
            put_raw(out, gguf_get_val_data(ctx, i), size_of(type));
        }
    }
    put<uint64_t>(out, gguf_get_n_tensors(ctx));
    for (int64_t i = 0; i < gguf_get_n_tensors(ctx); ++i) {
        put_text(out, gguf_get_tensor_name(ctx, i));
        put<uint32_t>(out, gguf_get_tensor_type(ctx, i));
        for (int j = 0; j < GGML_MAX_DIMS; ++j) {
            put<int64_t>(out, gguf_get_tensor_ne(ctx, i)[j]);
        }
        put<uint64_t>(out, gguf_get_tensor_offset(ctx, i));
        put<uint64_t>(out, gguf_get_tensor_size(ctx, i));
    }
    // A huge alignment is legal and would be padded to byte by byte.
    if (gguf_get_alignment(ctx) <= 4096) {
        bytes meta(gguf_get_meta_size(ctx));
        gguf_get_meta_data(ctx, meta.data());
        put_raw(out, meta.data(), meta.size());
    }
}

static bool open_once(const char * path, bool no_alloc, const char * dump_to) {
    ggml_context * data = nullptr;
    gguf_context * ctx = gguf_init_from_file(path, { no_alloc, &data });
    if (!ctx) {
        return false;
    }
    if (dump_to) {
        bytes out;
        dump(out, ctx);
        write_all(dump_to, out.data(), out.size());
    }
    ggml_free(data);
    gguf_free(ctx);
    return true;
}

static int check(const char * in, const char * out_path) {
    const bytes all = read_all(in);
    const std::string file = std::string(out_path) + ".file";
    const std::string dumped = std::string(out_path) + ".dump";
    auto * verdict = (volatile uint8_t *) mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bytes out;
    for (size_t at = 0; at + 8 <= all.size();) {
        uint64_t n;
        memcpy(&n, all.data() + at, 8);
        write_all(file.c_str(), all.data() + at + 8, n);
        at += 8 + n;
        verdict[0] = verdict[1] = 2;
        const pid_t child = fork();
        if (child == 0) {
            const rlimit memory = { 8ull << 30, 8ull << 30 };
            setrlimit(RLIMIT_AS, &memory);
            const rlimit core = { 0, 0 };
            setrlimit(RLIMIT_CORE, &core);
            freopen("/dev/null", "w", stderr);
            verdict[0] = open_once(file.c_str(), true, dumped.c_str());
            verdict[1] = open_once(file.c_str(), false, nullptr);
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        out.push_back(uint8_t(verdict[0]));
        out.push_back(uint8_t(verdict[1]));
        const bytes text = verdict[0] == 1 ? read_all(dumped.c_str()) : bytes();
        put<uint64_t>(out, text.size());
        put_raw(out, text.data(), text.size());
    }
    unlink(file.c_str());
    unlink(dumped.c_str());
    write_all(out_path, out.data(), out.size());
    return 0;
}

static std::string random_text(std::mt19937_64 & rng, size_t max) {
    std::string text(rng() % (max + 1), 'x');
    for (char & c : text) {
        c = 1 + rng() % 126;
    }
    return text;
}

static void random_keys(std::mt19937_64 & rng, gguf_context * ctx) {
    const int n_keys = rng() % 12;
    for (int i = 0; i < n_keys; ++i) {
        const std::string name = "key." + std::to_string(rng() % 30);
        const char * key = name.c_str();
        const uint64_t r = rng();
        switch (rng() % 14) {
            case 0:  gguf_set_val_u8  (ctx, key, r); break;
            case 1:  gguf_set_val_i8  (ctx, key, r); break;
            case 2:  gguf_set_val_u16 (ctx, key, r); break;
            case 3:  gguf_set_val_i16 (ctx, key, r); break;
            case 4:  gguf_set_val_u32 (ctx, key, r); break;
            case 5:  gguf_set_val_i32 (ctx, key, r); break;
            case 6:  gguf_set_val_f32 (ctx, key, float(r) / 3); break;
            case 7:  gguf_set_val_u64 (ctx, key, r); break;
            case 8:  gguf_set_val_i64 (ctx, key, r); break;
            case 9:  gguf_set_val_f64 (ctx, key, double(r) / 3); break;
            case 10: gguf_set_val_bool(ctx, key, r & 1); break;
            case 11: gguf_set_val_str (ctx, key, random_text(rng, 40).c_str()); break;
            case 12: {
                std::vector<std::string> texts(rng() % 8);
                std::vector<const char *> pointers;
                for (auto & text : texts) {
                    text = random_text(rng, 12);
                    pointers.push_back(text.c_str());
                }
                gguf_set_arr_str(ctx, key, pointers.data(), pointers.size());
            } break;
            case 13: {
                gguf_type type = gguf_type(rng() % GGUF_TYPE_COUNT);
                if (type == GGUF_TYPE_STRING || type == GGUF_TYPE_ARRAY) {
                    type = GGUF_TYPE_UINT32;
                }
                const size_t n = rng() % 20;
                bytes data(n * size_of(type));
                for (auto & b : data) {
                    b = type == GGUF_TYPE_BOOL ? rng() & 1 : rng();
                }
                gguf_set_arr_data(ctx, key, type, data.data(), n);
            } break;
        }
    }
}

static int write_random(uint64_t seed, int count, const char * out_path) {
    const std::string file = std::string(out_path) + ".file";
    std::mt19937_64 rng(seed);
    bytes out;
    for (int i = 0; i < count; ++i) {
        gguf_context * ctx = gguf_init_empty();
        random_keys(rng, ctx);
        ggml_context * tensors = ggml_init({ 1 << 22, nullptr, false });
        const int n_tensors = rng() % 10;
        for (int j = 0; j < n_tensors; ++j) {
            const ggml_type type = ggml_type(rng() % GGML_TYPE_COUNT);
            if (ggml_blck_size(type) == 0) {
                continue;
            }
            int64_t ne[GGML_MAX_DIMS] = { 1, 1, 1, 1 };
            const int n_dims = 1 + rng() % GGML_MAX_DIMS;
            for (int k = 0; k < n_dims; ++k) {
                ne[k] = 1 + rng() % 4;
            }
            ne[0] *= ggml_blck_size(type);
            ggml_tensor * t = ggml_new_tensor(tensors, type, n_dims, ne);
            for (size_t k = 0; k < ggml_nbytes(t); ++k) {
                ((uint8_t *) t->data)[k] = rng();
            }
            ggml_set_name(t, ("tensor." + std::to_string(j) + "." + std::to_string(rng() % 1000)).c_str());
            gguf_add_tensor(ctx, t);
        }
        if (!gguf_write_to_file(ctx, file.c_str(), rng() % 8 == 0)) {
            return 1;
        }
        const bytes written = read_all(file.c_str());
        put<uint64_t>(out, written.size());
        put_raw(out, written.data(), written.size());
        ggml_free(tensors);
        gguf_free(ctx);
    }
    unlink(file.c_str());
    write_all(out_path, out.data(), out.size());
    return 0;
}

static int time_opens(const char * path) {
    std::string line;
    while (std::getline(std::cin, line)) {
        const auto start = std::chrono::steady_clock::now();
        ggml_context * data = nullptr;
        gguf_context * ctx = gguf_init_from_file(path, { true, &data });
        const auto end = std::chrono::steady_clock::now();
        if (!ctx) {
            return 1;
        }
        ggml_free(data);
        gguf_free(ctx);
        std::cout << std::chrono::duration_cast<std::chrono::nanoseconds>(end - start).count() << std::endl;
    }
    return 0;
}

int main(int argc, char ** argv) {
    setenv("GGML_NO_BACKTRACE", "1", 1);
    ggml_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "check" && argc == 4) {
        return check(argv[2], argv[3]);
    }
    if (mode == "write" && argc == 5) {
        return write_random(std::stoull(argv[2]), std::stoi(argv[3]), argv[4]);
    }
    if (mode == "time" && argc == 3) {
        return time_opens(argv[2]);
    }
    fprintf(stderr, "usage: gguf check IN OUT | write SEED COUNT OUT | time FILE\n");
    return 1;
}
