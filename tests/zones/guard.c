/* A program around a model that runs it twice with every buffer against a page that traps: inputs (which cannot be written),
 * outputs, arena and scratch end where the page begins, then they begin where it ends. What lies between a buffer and its
 * page must stay as it was, both runs must give the same bytes, whatever the memory held. Speaks the protocol of our
 * executables: inputs from standard input, sizes that the data gave and outputs to standard output, the status as exit code; 40 and more: see FAULTS.
 * Needs no C library, so that it is built for a machine that is not here. */
#include "model.h"

enum { OUT_OF_MEMORY = 40, WRONG_INPUT, BESIDE_AN_OUTPUT, BESIDE_THE_ARENA, BESIDE_THE_STATE, TWO_ANSWERS };
enum { PAGE = 65536 };

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, MMAP = 9, MPROTECT = 10, EXIT = 231 };
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n and $-16, %rsp\n call start\n hlt\n");
#else
enum { READ = 63, WRITE = 64, MMAP = 222, MPROTECT = 226, EXIT = 94 };
static long call6(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
__asm__(".globl _start\n_start:\n mov x29, #0\n bl start\n brk #0\n");
#endif

typedef struct {
    unsigned char *begin, *end; /* between the two pages */
    unsigned char *at;
    uint64_t bytes;
    unsigned char pattern;
} zone;

static void stop(int code)
{
    call6(EXIT, code, 0, 0, 0, 0, 0);
    for (;;) {
    }
}

/* memset and memcpy may be asked for by the compiler */
void *memset(void *to, int value, size_t n)
{
    unsigned char *p = to;
    while (n-- > 0) {
        *p++ = (unsigned char)value;
        __asm__ volatile("" ::: "memory");
    }
    return to;
}

static zone place(uint64_t bytes, uint64_t align, int at_end, unsigned char pattern)
{
    uint64_t room = (bytes + align + PAGE) / PAGE * PAGE;
    long all = call6(MMAP, 0, (long)(room + 2 * PAGE), 0, 0x22, -1, 0);
    zone z;
    if (all < 0 && all > -4096) {
        stop(OUT_OF_MEMORY);
    }
    z.begin = (unsigned char *)all + PAGE;
    z.end = z.begin + room;
    z.bytes = bytes;
    z.pattern = pattern;
    if (call6(MPROTECT, (long)z.begin, (long)room, 3, 0, 0, 0) != 0) {
        stop(OUT_OF_MEMORY);
    }
    z.at = at_end ? (unsigned char *)((uint64_t)(z.end - bytes) & ~(align - 1)) : z.begin;
    memset(z.begin, pattern, room);
    return z;
}

static int untouched(const zone *z)
{
    const unsigned char *p;
    for (p = z->begin; p < z->at; p++) {
        if (*p != z->pattern) {
            return 0;
        }
    }
    for (p = z->at + z->bytes; p < z->end; p++) {
        if (*p != z->pattern) {
            return 0;
        }
    }
    return 1;
}

static void whole(long what, long file, unsigned char *at, uint64_t bytes)
{
    while (bytes > 0) {
        long n = call6(what, file, (long)at, (long)bytes, 0, 0, 0);
        if (n <= 0) {
            stop(WRONG_INPUT);
        }
        at += n;
        bytes -= (uint64_t)n;
    }
}

enum { MOST = 64 };
static zone inputs[MOST], again[MOST], outputs[2][MOST], sizes[2];

/* the bytes of a tensor whose sizes are known by now */
static uint64_t actual(const maquette_tensor *tensor, const int64_t *values)
{
    uint64_t most = 1, count = 1;
    int32_t i;
    for (i = 0; i < tensor->rank; i++) {
        int32_t symbol = tensor->symbols ? tensor->symbols[i] : -1;
        most *= (uint64_t)tensor->dims[i];
        count *= (uint64_t)(symbol < 0 ? tensor->dims[i] : values[symbol]);
    }
    return most == 0 ? 0 : tensor->bytes / most * count;
}

void start(void);
void start(void)
{
    const maquette_model *model = &model_model;
    uint32_t i, turn;
    uint64_t k;
    if (model->input_count > MOST || model->output_count > MOST) {
        stop(WRONG_INPUT);
    }
    for (i = 0; i < model->input_count; i++) {
        inputs[i] = place(model->inputs[i].bytes, 1, 1, 0x3c);
        again[i] = place(model->inputs[i].bytes, 1, 0, 0x3c);
        whole(READ, 0, inputs[i].at, inputs[i].bytes);
        for (k = 0; k < inputs[i].bytes; k++) {
            again[i].at[k] = inputs[i].at[k];
        }
        call6(MPROTECT, (long)inputs[i].begin, inputs[i].end - inputs[i].begin, 1, 0, 0, 0);
        call6(MPROTECT, (long)again[i].begin, again[i].end - again[i].begin, 1, 0, 0, 0);
    }
    for (turn = 0; turn < 2; turn++) {
        const void *in[MOST];
        void *out[MOST];
        uint64_t bytes[MOST];
        zone arena, state;
        maquette_call call;
        int32_t status;
        /* as words: a number that is no number, and one that is */
        unsigned char pattern = turn == 0 ? 0xff : 0x5a;
        memset(&call, 0, sizeof call);
        for (i = 0; i < model->input_count; i++) {
            in[i] = turn == 0 ? inputs[i].at : again[i].at;
            bytes[i] = inputs[i].bytes;
        }
        for (i = 0; i < model->output_count; i++) {
            outputs[turn][i] = place(model->outputs[i].bytes, 1, turn == 0, pattern);
            out[i] = outputs[turn][i].at;
        }
        sizes[turn] = place(8 * (uint64_t)model->symbol_count, 8, turn == 0, pattern);
        call.symbols = (int64_t *)(void *)sizes[turn].at;
        arena = place(model->arena_bytes + model->worker_bytes, model->arena_align, turn == 0, pattern);
        state = place(model->state_bytes, 64, turn == 0, pattern);
        call.inputs = in, call.outputs = out, call.input_bytes = bytes;
        call.arena = arena.at, call.arena_bytes = arena.bytes;
        if (model->state_bytes > 0) {
            call.state = state.at;
            model->reset(state.at);
        }
        status = model->run(&call);
        if (status != 0) {
            stop(status);
        }
        for (i = 0; i < model->output_count; i++) {
            outputs[turn][i].bytes = actual(&model->outputs[i], call.symbols);
            if (!untouched(&outputs[turn][i])) {
                stop(BESIDE_AN_OUTPUT);
            }
        }
        if (!untouched(&sizes[turn])) {
            stop(BESIDE_AN_OUTPUT);
        }
        if (!untouched(&arena)) {
            stop(BESIDE_THE_ARENA);
        }
        if (!untouched(&state)) {
            stop(BESIDE_THE_STATE);
        }
    }
    for (k = 0; k < sizes[0].bytes; k++) {
        if (sizes[0].at[k] != sizes[1].at[k]) {
            stop(TWO_ANSWERS);
        }
    }
    whole(WRITE, 1, sizes[0].at, sizes[0].bytes);
    for (i = 0; i < model->output_count; i++) {
        for (k = 0; k < outputs[0][i].bytes; k++) {
            if (outputs[0][i].at[k] != outputs[1][i].at[k]) {
                stop(TWO_ANSWERS);
            }
        }
        whole(WRITE, 1, outputs[0][i].at, outputs[0][i].bytes);
    }
    stop(0);
}
