/* A compiled model, linked in. -DMODEL=NAME_model -DHEADER="NAME.h" */
#include HEADER
#include "common.h"
#include <sys/mman.h>

static void *memory(size_t bytes) {
    void *at = mmap(0, bytes + 64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) fail("no memory");
    return at;
}

int main(int count, char **words) {
    const maquette_model *model = &MODEL;
    void *inputs[MOST], *outputs[MOST];
    int64_t symbols[MOST] = {0};
    for (int i = 1; i < count; i++) {
        struct input in = parse(words[i]);
        for (uint32_t j = 0; j < model->input_count; j++)
            if (!strcmp(model->inputs[j].name, in.name)) fill(&in, inputs[j] = memory(in.bytes));
    }
    for (uint32_t j = 0; j < model->output_count; j++) outputs[j] = memory(model->outputs[j].bytes);
    maquette_call call = {0};
    call.inputs = (const void *const *)inputs;
    call.outputs = outputs;
    call.arena_bytes = model->arena_bytes + model->worker_bytes;
    call.arena = memory(call.arena_bytes);
    call.state = model->state_bytes ? memory(model->state_bytes) : 0;
    call.symbols = symbols;
    call.cpu = model->cpu();
    if (model->run(&call)) fail("the model returned a status");
    tell(outputs[0]);
    return 0;
}
