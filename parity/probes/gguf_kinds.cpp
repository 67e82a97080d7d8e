// The hand-crafted files of the reference's own tests/test-gguf.cpp, each kind with several seeds.
//
//   gguf_kinds SEEDS OUT   writes the container OUT: (u64 length, name) (u64 length, bytes) for each file
//
// The test itself is compiled in, so the files are the ones that revision tests itself with.

#define main test_gguf_main
#include "../../tests/test-gguf.cpp"
#undef main

static void put(FILE * out, const void * data, uint64_t n) {
    fwrite(&n, sizeof(n), 1, out);
    fwrite(data, 1, n, out);
}

int main(int argc, char ** argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: gguf_kinds SEEDS OUT\n");
        return 1;
    }
    FILE * out = fopen(argv[2], "wb");
    if (!out) {
        return 1;
    }
    const handcrafted_file_type kinds[] = {
        HANDCRAFTED_HEADER_BAD_MAGIC, HANDCRAFTED_HEADER_BAD_VERSION_0, HANDCRAFTED_HEADER_BAD_VERSION_1,
        HANDCRAFTED_HEADER_BAD_VERSION_FUTURE, HANDCRAFTED_HEADER_BAD_N_TENSORS, HANDCRAFTED_HEADER_BAD_N_KV,
        HANDCRAFTED_HEADER_EMPTY, HANDCRAFTED_KV_BAD_KEY_SIZE, HANDCRAFTED_KV_EMPTY_KEY, HANDCRAFTED_KV_BAD_TYPE,
        HANDCRAFTED_KV_DUPLICATE_KEY, HANDCRAFTED_KV_BAD_ALIGN, HANDCRAFTED_KV_SUCCESS,
        HANDCRAFTED_TENSORS_BAD_NAME_SIZE, HANDCRAFTED_TENSORS_BAD_N_DIMS, HANDCRAFTED_TENSORS_BAD_SHAPE,
        HANDCRAFTED_TENSORS_NE_TOO_BIG, HANDCRAFTED_TENSORS_NBYTES_TOO_BIG, HANDCRAFTED_TENSORS_BAD_TYPE,
        HANDCRAFTED_TENSORS_BAD_OFFSET, HANDCRAFTED_TENSORS_DUPLICATE_NAME, HANDCRAFTED_TENSORS_BAD_ALIGN,
        HANDCRAFTED_TENSORS_INCONSISTENT_ALIGN, HANDCRAFTED_TENSORS_SUCCESS, HANDCRAFTED_TENSORS_CUSTOM_ALIGN,
        HANDCRAFTED_DATA_NOT_ENOUGH_DATA, HANDCRAFTED_DATA_BAD_ALIGN, HANDCRAFTED_DATA_INCONSISTENT_ALIGN,
        HANDCRAFTED_DATA_MEM_SIZE_OVERFLOW, HANDCRAFTED_DATA_SUCCESS, HANDCRAFTED_DATA_CUSTOM_ALIGN,
    };
    for (int seed = 0; seed < atoi(argv[1]); ++seed) {
        for (const auto kind : kinds) {
            FILE * file = get_handcrafted_file(1000 + seed, kind);
            if (!file) {
                return 1;
            }
            const std::vector<uint8_t> data = read_file_to_buffer(file);
            fclose(file);
            const std::string name = handcrafted_file_type_name(kind) + " " + std::to_string(seed);
            put(out, name.data(), name.size());
            put(out, data.data(), data.size());
        }
    }
    return fclose(out);
}
