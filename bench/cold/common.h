/* What the contenders share: how an input is said on the command line, how it is filled, and how the answer is told. */
#ifndef COLD_COMMON_H
#define COLD_COMMON_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 64, RANK = 8 };

/* NAME=f32:1,3,224,224 */
struct input {
    const char *name;
    int type; /* as ONNX counts: 1 f32, 7 i64, 6 i32, 2 u8, 3 i8 */
    int64_t dims[RANK];
    int64_t rank;
    size_t bytes;
};

static inline void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static inline struct input parse(char *text) {
    struct input in = {0};
    char *equals = strrchr(text, '='), *colon = strrchr(text, ':');
    if (!equals || !colon) fail("NAME=TYPE:DIMS is wanted");
    *equals = 0;
    *colon = 0;
    in.name = text;
    const char *type = equals + 1;
    in.type = !strcmp(type, "f32") ? 1 : !strcmp(type, "i64") ? 7 : !strcmp(type, "i32") ? 6 : !strcmp(type, "u8") ? 2 : 3;
    in.bytes = in.type == 7 ? 8 : in.type == 1 || in.type == 6 ? 4 : 1;
    for (char *at = colon + 1; *at && in.rank < RANK;) {
        in.dims[in.rank] = strtoll(at, &at, 10);
        in.bytes *= (size_t)in.dims[in.rank++];
        if (*at) at++;
    }
    return in;
}

/* Halves in floats, ones in integers. */
static inline void fill(const struct input *in, void *memory) {
    if (in->type == 1) for (size_t i = 0; i < in->bytes / 4; i++) ((float *)memory)[i] = 0.5f;
    else if (in->type == 7) for (size_t i = 0; i < in->bytes / 8; i++) ((int64_t *)memory)[i] = 1;
    else if (in->type == 6) for (size_t i = 0; i < in->bytes / 4; i++) ((int32_t *)memory)[i] = 1;
    else memset(memory, 1, in->bytes);
}

/* The first four bytes of the first output: the answer is there, and others can be compared with it. */
static inline void tell(const void *output) {
    uint32_t word;
    memcpy(&word, output, 4);
    char line[16];
    int n = snprintf(line, sizeof line, "%08x\n", word);
    if (write(1, line, (size_t)n) != n) exit(1);
}
#endif
