/* Runs a compiled model on one thread and on several, says how long each takes, and that the answers are equal to the
   last bit. The model is whatever `model.h` declares; every size comes from its table.
   usage: threads [WORKERS]. Exit 1 when an answer differs, 2 when the model cannot be run. */
#include "model.h"
#include "pool.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 50 };

static void *memory(uint64_t bytes, uint64_t align)
{
    void *start = aligned_alloc(align, (bytes + align) / align * align);
    if (!start) {
        fprintf(stderr, "%llu bytes are not to be had\n", (unsigned long long)bytes);
        exit(2);
    }
    return start;
}

/* Some floats between -1 and 1; zeros for every other type, which are indices as often as not. */
static void fill(void *data, const maquette_tensor *tensor)
{
    uint32_t state = 1;
    memset(data, 0, tensor->bytes);
    for (uint64_t i = 0; tensor->dtype == 1 && i < tensor->bytes / sizeof(float); i++) {
        state = state * 1664525u + 1013904223u;
        ((float *)data)[i] = (float)(state >> 8) / (float)(1 << 23) - 1.0f;
    }
}

static double now(void)
{
    struct timespec time;
    timespec_get(&time, TIME_UTC);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The shortest of RUNS, in microseconds. */
static double shortest(const maquette_call *call)
{
    double best = 1e30;
    for (int run = 0; run < RUNS; run++) {
        double start = now();
        int32_t status = model_model.run(call);
        double took = 1e6 * (now() - start);
        if (status != MAQUETTE_OK) {
            fprintf(stderr, "status %d: %s\n", (int)status, maquette_status_text(status));
            exit(2);
        }
        best = took < best ? took : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    const maquette_model *model = &model_model;
    uint32_t workers = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2;
    pool *threads = pool_new(workers);
    const void **inputs = memory(sizeof *inputs * (model->input_count + 1), 64);
    void **alone = memory(sizeof *alone * (model->output_count + 1), 64);
    void **together = memory(sizeof *together * (model->output_count + 1), 64);
    maquette_call call = { 0 };
    double one, many;
    int different = 0;

    if (!threads || workers == 0 || model->symbol_count > 0 || model->state_bytes > 0) {
        fputs("there are no threads, or the model has sizes or a state of its own to be given\n", stderr);
        return 2;
    }
    for (uint32_t i = 0; i < model->input_count; i++) {
        void *data = memory(model->inputs[i].bytes, 64);
        fill(data, &model->inputs[i]);
        inputs[i] = data;
    }
    for (uint32_t i = 0; i < model->output_count; i++) {
        alone[i] = memory(model->outputs[i].bytes, 64);
        together[i] = memory(model->outputs[i].bytes, 64);
    }
    call.inputs = inputs;
    call.cpu = model->cpu();
    /* every worker has scratch of its own behind the arena */
    call.arena_bytes = model->arena_bytes + workers * model->worker_bytes;
    call.arena = memory(call.arena_bytes, model->arena_align);

    call.outputs = alone;
    one = shortest(&call);
    call.outputs = together;
    call.workers = workers, call.parallel_for = pool_for, call.pool = threads;
    many = shortest(&call);
    pool_free(threads);

    for (uint32_t i = 0; i < model->output_count; i++)
        different += memcmp(alone[i], together[i], model->outputs[i].bytes) != 0;
    printf("1 thread %.1f us, %u threads %.1f us (%.2f times as fast), %s\n", one, workers, many, one / many,
           different ? "answers differ" : "equal answers");
    return different != 0;
}
