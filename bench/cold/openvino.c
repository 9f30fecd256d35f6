/* OpenVINO through its C interface. openvino LIBRARY MODEL OUTPUT INPUT... */
#include "common.h"
#include <dlfcn.h>

struct shape {
    int64_t rank;
    int64_t *dims;
};

static void *library;
static void *of(const char *name) {
    void *function = dlsym(library, name);
    if (!function) fail(name);
    return function;
}
static void check(int status, const char *what) {
    if (status) fail(what);
}
#define CALL(name, types, ...) check(((int (*) types)of(#name))(__VA_ARGS__), #name)

int main(int count, char **words) {
    if (count < 4) return 2;
    library = dlopen(words[1], RTLD_NOW);
    if (!library) fail(dlerror());
    void *core, *model, *compiled, *request, *tensor, *data;
    CALL(ov_core_create, (void **), &core);
    CALL(ov_core_read_model, (void *, const char *, const char *, void **), core, words[2], 0, &model);
    /* pairs of names and values follow */
    CALL(ov_core_compile_model, (void *, void *, const char *, size_t, void **, ...), core, model, "CPU", 4, &compiled,
         "INFERENCE_NUM_THREADS", "1", "PERFORMANCE_HINT", "LATENCY");
    CALL(ov_compiled_model_create_infer_request, (void *, void **), compiled, &request);
    for (int i = 4; i < count; i++) {
        struct input in = parse(words[i]);
        CALL(ov_infer_request_get_tensor, (void *, const char *, void **), request, in.name, &tensor);
        CALL(ov_tensor_set_shape, (void *, struct shape), tensor, (struct shape){in.rank, in.dims});
        CALL(ov_tensor_data, (void *, void **), tensor, &data);
        fill(&in, data);
    }
    CALL(ov_infer_request_infer, (void *), request);
    CALL(ov_infer_request_get_tensor, (void *, const char *, void **), request, words[3], &tensor);
    CALL(ov_tensor_data, (void *, void **), tensor, &data);
    tell(data);
    _exit(0);
}
