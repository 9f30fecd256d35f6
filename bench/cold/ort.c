/* onnxruntime through its C interface. Its table of functions grows at the end only: what is called here is called by number.
   ort LIBRARY MODEL OUTPUT INPUT... */
#include "common.h"
#include <dlfcn.h>

typedef void *(*function)(void);
struct base {
    const function *(*get_api)(uint32_t version);
    const char *(*version)(void);
};
enum { MESSAGE = 2, ENV = 3, SESSION = 7, RUN = 9, OPTIONS = 10, INTRA = 24, INTER = 25, WITH_DATA = 49, DATA = 51, CPU = 69 };

static const function *api;
static void check(void *status) {
    if (status) fail(((const char *(*)(void *))api[MESSAGE])(status));
}
#define CALL(number, types) ((void *(*) types)api[number])

int main(int count, char **words) {
    if (count < 4) return 2;
    void *library = dlopen(words[1], RTLD_NOW);
    if (!library) fail(dlerror());
    const struct base *(*get)(void) = (const struct base *(*)(void))dlsym(library, "OrtGetApiBase");
    api = get()->get_api(16);
    void *env, *options, *session, *cpu, *values[MOST], *output = 0;
    const char *names[MOST], *outputs[1] = {words[3]};
    check(CALL(ENV, (int, const char *, void **))(3, "cold", &env));
    check(CALL(OPTIONS, (void **))(&options));
    check(CALL(INTRA, (void *, int))(options, 1));
    check(CALL(INTER, (void *, int))(options, 1));
    check(CALL(SESSION, (void *, const char *, void *, void **))(env, words[2], options, &session));
    check(CALL(CPU, (int, int, void **))(0, 0, &cpu));
    for (int i = 4; i < count; i++) {
        struct input in = parse(words[i]);
        void *memory = malloc(in.bytes + 1);
        fill(&in, memory);
        names[i - 4] = in.name;
        check(CALL(WITH_DATA, (void *, void *, size_t, const int64_t *, size_t, int, void **))(
            cpu, memory, in.bytes, in.dims, (size_t)in.rank, in.type, &values[i - 4]));
    }
    check(CALL(RUN, (void *, void *, const char **, void **, size_t, const char **, size_t, void **))(
        session, 0, names, values, (size_t)(count - 4), outputs, 1, &output));
    void *data;
    check(CALL(DATA, (void *, void **))(output, &data));
    tell(data);
    _exit(0);
}
