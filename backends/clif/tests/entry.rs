//! The entry point, called from C: results, every status, workers, levels, weights from a file. And what its tables cost.

mod common;

use std::process::Command;

use artifact::Symbol;
use cases::common::{link, piped};
use clif::{Entry, Level, Target, Weights};
use common::ROOM;
use common::model::{self, N};
use ir::program::{Address, Call, Step};

/// `uint64_t cpu(void)` of a CPU with the first level only.
fn cpu(name: &str) -> Symbol {
    Symbol::function(name, 16, vec![0xb8, 3, 0, 0, 0, 0xc3], Vec::new())
}

const SOURCE: &str = r#"
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef void task_fn(void *, int64_t, int64_t);
typedef struct {
    const void *const *inputs; void *const *outputs; const uint64_t *input_bytes; void *arena; uint64_t arena_bytes; void *state;
    const void *weights; int64_t *symbols; void (*parallel_for)(void *, int64_t, task_fn *, void *); void *pool;
    uint32_t workers, reserved; uint64_t cpu;
} call_t;
typedef int32_t run_fn(const call_t *);
run_fn near, far;

static float x[N + 1], y[N + 1];
static int64_t idx[6], z[6];
static _Alignas(64) unsigned char arena[ARENA + 4 * WORKER + 64];
static _Alignas(64) unsigned char weights[WEIGHTS + 64];

static const void *inputs[2];
static void *outputs[2];
static int64_t symbols[1];
static call_t fresh(void) {
    for (int i = 0; i < N; ++i) x[i] = (float)(i % 7) - 3, y[i] = -1;
    for (int i = 0; i < 5; ++i) idx[i] = i * 9, z[i] = -1;
    memset(arena, 0xff, sizeof arena);
    inputs[0] = x, inputs[1] = idx, outputs[0] = y, outputs[1] = z;
    symbols[0] = 3;
    call_t c = {.inputs = inputs, .outputs = outputs, .arena = arena, .arena_bytes = ARENA + WORKER, .symbols = symbols, .cpu = 3};
    return c;
}
/* 0 if the outputs are those of the factor, and nothing lies behind what the arena was said to be */
static int wrong(const call_t *c, float factor) {
    for (int i = 0; i < N; ++i) {
        int from = i % 5 * 8 + i / 5;
        if (y[i] != x[from] * (factor * (float)(from + 1))) return 1;
    }
    for (int i = 0; i < 5; ++i) if (z[i] != idx[i] + 1) return 2;
    for (size_t i = c->arena_bytes; i < sizeof arena; ++i) if (arena[i] != 0xff) return 3;
    return 0;
}

/* threads take the next number until there is none */
struct pool { int started; int64_t most; };
struct job { task_fn *task; void *context; int64_t n; _Atomic int64_t *next; int64_t worker; };
static void *work(void *p) {
    struct job *job = p;
    for (int64_t i; (i = (*job->next)++) < job->n;) job->task(job->context, i, job->worker);
    return 0;
}
static void threads(void *pool, int64_t n, task_fn *task, void *context) {
    struct pool *p = pool;
    ++p->started;
    if (n > p->most) p->most = n;
    pthread_t thread[4];
    struct job job[4];
    _Atomic int64_t next = 0;
    for (int w = 0; w < 4; ++w) {
        job[w] = (struct job){task, context, n, &next, w};
        if (pthread_create(&thread[w], 0, work, &job[w])) abort();
    }
    for (int w = 0; w < 4; ++w) pthread_join(thread[w], 0);
}
static void never(void *pool, int64_t n, task_fn *task, void *context) {
    (void)pool, (void)n, (void)task, (void)context;
    abort();
}
#define SAY(name, expect) do { int s = (expect); if (s) printf("%s: %d\n", name, s), bad = 1; } while (0)
#define STATUS(name, want, change) do { \
    call_t c = fresh(); change; int s = run(&c); \
    if (s != (want)) printf("%s: status %d, not %d\n", name, s, (want)), bad = 1; } while (0)

int main(void) {
    int bad = 0;
    run_fn *run = near;
    struct pool pool = {0, 0};
    STATUS("plain", 0, );
    { call_t c = fresh(); SAY("status", near(&c)); SAY("plain result", wrong(&c, 1)); }
    { call_t c = fresh(); c.cpu = 7; SAY("status", near(&c)); SAY("best level", wrong(&c, 2)); }
    { call_t c = fresh(); c.cpu = 5; SAY("status", near(&c)); SAY("only the other level", wrong(&c, 2)); }
    { call_t c = fresh(); c.cpu = 0; SAY("status", near(&c)); SAY("asks the cpu", wrong(&c, 1)); }
    STATUS("cpu", 5, c.cpu = 1);
    for (int round = 0; round < 50; ++round) {
        call_t c = fresh();
        c.workers = 4, c.parallel_for = threads, c.pool = &pool, c.arena_bytes = ARENA + 4 * WORKER;
        SAY("status", near(&c));
        SAY("parallel result", wrong(&c, 1));
    }
    if (pool.started != 150 || pool.most != 43) printf("%d starts, %d calls\n", pool.started, (int)pool.most), bad = 1;
    STATUS("one worker", 0, (c.workers = 1, c.parallel_for = never));
    STATUS("no worker", 0, (c.workers = 0, c.parallel_for = never));
    STATUS("no parallel_for", 0, (c.workers = 4, c.arena_bytes = ARENA + 4 * WORKER));
    if (near(0) != 1) printf("null call\n"), bad = 1;
    STATUS("null inputs", 1, c.inputs = 0);
    STATUS("misaligned inputs", 1, c.inputs = (void *)((char *)inputs + 4));
    STATUS("null outputs", 1, c.outputs = 0);
    STATUS("null input", 1, inputs[1] = 0);
    STATUS("misaligned input", 1, inputs[0] = (char *)x + 2);
    STATUS("aligned input", 0, inputs[0] = x + 1);
    STATUS("misaligned index", 1, inputs[1] = (char *)idx + 4);
    STATUS("null output", 1, outputs[0] = 0);
    STATUS("misaligned output", 1, outputs[1] = (char *)z + 4);
    STATUS("null arena", 1, c.arena = 0);
    STATUS("misaligned arena", 1, c.arena = arena + 32);
    STATUS("null symbols", 1, c.symbols = 0);
    STATUS("misaligned symbols", 1, c.symbols = (void *)((char *)symbols + 1));
    STATUS("short arena", 2, --c.arena_bytes);
    STATUS("short arena for workers", 2, (c.workers = 4, c.arena_bytes = ARENA + 4 * WORKER - 1));
    STATUS("many workers", 2, (c.workers = UINT32_MAX, c.arena_bytes = UINT32_MAX));
    uint64_t right[2] = {4 * N, 40}, first[2] = {4 * N - 4, 40}, second[2] = {4 * N, 48};
    STATUS("right sizes", 0, c.input_bytes = right);
    STATUS("first size", 3, c.input_bytes = first);
    STATUS("second size", 3, c.input_bytes = second);
    STATUS("low symbol", 3, symbols[0] = 1);
    STATUS("least symbol", 0, symbols[0] = 2);
    STATUS("most symbol", 0, symbols[0] = 8);
    STATUS("high symbol", 3, symbols[0] = 9);
    STATUS("high index", 4, idx[3] = 40);
    STATUS("negative index", 4, idx[0] = -1);
    STATUS("index at once", 4, (idx[2] = 99, c.workers = 4, c.parallel_for = threads, c.pool = &pool,
                                c.arena_bytes = ARENA + 4 * WORKER));
    run = far;
    if (fread(weights, 1, WEIGHTS, stdin) != WEIGHTS) abort();
    STATUS("no weights", 1, );
    STATUS("misaligned weights", 1, c.weights = weights + 32);
    { call_t c = fresh(); c.weights = weights; SAY("status", far(&c)); SAY("weights", wrong(&c, 1)); }
    { call_t c = fresh(); c.weights = weights; c.cpu = 7; SAY("status", far(&c)); SAY("other weights", wrong(&c, 2)); }
    return bad;
}
"#;

#[test]
fn the_entry_checks_runs_and_reports() {
    if !common::native("entry") {
        return;
    }
    let object = |name: &str, file| {
        let stub = format!("{name}.cpu");
        let (mut symbols, memory, pool) = model::symbols(artifact::Machine::X86_64, &[0, 1], name, &stub, file, &[(2, 8)]);
        symbols.push(cpu(&stub));
        let run = symbols.iter_mut().find(|s| s.name == format!("{name}.run")).expect("the entry");
        *run = Symbol { name: name.into(), ..run.clone() }.global();
        (symbols, memory, pool)
    };
    let (near, memory, pool) = object("near", false);
    let (far, ..) = object("far", true);
    // the scratch of a worker starts aligned as the arena is
    assert_eq!((memory.arena_bytes, memory.arena_align, memory.worker_bytes), (256, 64, 128));
    let defines = [("N", N as u64), ("ARENA", memory.arena_bytes), ("WORKER", memory.worker_bytes), ("WEIGHTS", pool.bytes)];
    let defines: String = defines.iter().map(|(name, value)| format!("#define {name} {value}\n")).collect();
    let program = link(&ROOM.folder("entry"), &(defines + SOURCE), vec![near, far]);
    let output = piped(&mut Command::new(program), &model::weights(&pool));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{:?}\n{said}", output.status);
}

/// A model with as many calls as a large network has: 60 steps of 16 x 7 x 4 tiles and a row of smaller ones.
#[test]
fn thousands_of_calls_take_a_small_table() {
    let mut program = model::program(1.0);
    let copy = |from, to| Call::new(2, vec![Address::Arena { offset: from }, Address::Arena { offset: to }]);
    let mut calls = Vec::new();
    for panel in 0..16 {
        for y in 0..7 {
            calls.extend((0..4).map(|x| copy(x * 64 + y * 4096, panel * 128 + x * 2048 + y * 65536)));
        }
    }
    calls.extend((0..7).map(|y| copy(256 + y * 4096, 9000 + y * 65536)));
    program.steps =
        (0..60).map(|_| Step { calls: calls.clone(), what: "dot".into(), names: Vec::new(), macs: 0, when: Vec::new() }).collect();
    for machine in [artifact::Machine::X86_64, artifact::Machine::Aarch64] {
        let target = Target::new(machine);
        let names = ["a", "b", "c"].map(String::from);
        let level = Level { program: &program, name: "level", mask: 1, kernels: &names, constants: &[0, 32] };
        let entry = Entry { name: "net", cpu: "cpu", levels: &[level], weights: Weights::Symbol("w"), times: None };
        let symbols = clif::entry(&target, &entry).expect("small enough");
        let bytes = |name: &str| symbols.iter().find(|s| s.name == name).expect("it is made").content.size();
        let table = bytes("net.level.steps");
        assert!(table <= 60 * (12 + 2 * 56) + 8, "27 300 calls take {table} bytes");
        let code = bytes("net.run") + bytes("net.task") + bytes("net.level.execute");
        assert!(code < 2500, "{machine:?}: {code} bytes of code");
    }
}
