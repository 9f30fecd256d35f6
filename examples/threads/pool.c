/* Threads that spin for some microseconds, about as long as it takes to wake one, and then sleep. A round is one atomic
   word: its generation in the high bits, the next free index in the low ones, and the generation is odd while the
   caller changes what the round is about. A thread takes an index by exchanging the word that it saw before it read
   those fields, so that who comes late can never take a task of the next round. */
#include "pool.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { INDEX_BITS = 24, SPINS = 4000 };
#define INDEX_MASK ((UINT64_C(1) << INDEX_BITS) - 1)

typedef void task_fn(void *context, int64_t i, int64_t worker);

typedef struct {
    pool *pool;
    pthread_t id;
    int64_t worker;
} helper;

struct pool {
    /* On a line of its own: every worker writes it. */
    _Alignas(64) atomic_uint_fast64_t word;
    _Alignas(64) atomic_uint_fast64_t left;
    _Alignas(64) _Atomic(task_fn *) task;
    _Atomic(void *) context;
    atomic_uint_fast64_t count;
    atomic_bool stop;
    /* How many sleep; held while a generation becomes even, so that nobody misses it. */
    pthread_mutex_t sleepers_lock;
    uint32_t sleepers;
    pthread_cond_t go;
    uint32_t helper_count;
    helper *helpers;
};

static void pause_a_little(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes and runs tasks of the present round until there are none. */
static void work(pool *pool, int64_t worker)
{
    for (;;) {
        uint_fast64_t word = atomic_load(&pool->word);
        task_fn *task = atomic_load(&pool->task);
        void *context = atomic_load(&pool->context);
        uint_fast64_t i = word & INDEX_MASK;
        if ((word >> INDEX_BITS) % 2 == 1 || i >= atomic_load(&pool->count))
            return;
        if (!atomic_compare_exchange_weak(&pool->word, &word, word + 1))
            continue;
        task(context, (int64_t)i, worker);
        atomic_fetch_sub(&pool->left, 1);
    }
}

static bool fresh(pool *pool, uint_fast64_t seen)
{
    return atomic_load(&pool->word) >> INDEX_BITS != seen || atomic_load(&pool->stop);
}

static void *serve(void *argument)
{
    const helper *self = argument;
    pool *pool = self->pool;
    uint_fast64_t seen = 0;
    for (;;) {
        for (int spins = 0; spins < SPINS && !fresh(pool, seen); spins++)
            pause_a_little();
        pthread_mutex_lock(&pool->sleepers_lock);
        while (!fresh(pool, seen)) {
            pool->sleepers++;
            pthread_cond_wait(&pool->go, &pool->sleepers_lock);
            pool->sleepers--;
        }
        pthread_mutex_unlock(&pool->sleepers_lock);
        if (atomic_load(&pool->stop))
            return NULL;
        seen = atomic_load(&pool->word) >> INDEX_BITS;
        work(pool, self->worker);
    }
}

void pool_for(void *argument, int64_t n, task_fn *task, void *context)
{
    pool *pool = argument;
    if (n <= 1 || pool->helper_count == 0) {
        for (int64_t i = 0; i < n; i++)
            task(context, i, 0);
        return;
    }
    uint_fast64_t closed = (atomic_load(&pool->word) >> INDEX_BITS) + 1;
    atomic_store(&pool->word, closed << INDEX_BITS);
    atomic_store(&pool->task, task);
    atomic_store(&pool->context, context);
    atomic_store(&pool->count, (uint_fast64_t)n);
    atomic_store(&pool->left, (uint_fast64_t)n);
    pthread_mutex_lock(&pool->sleepers_lock);
    atomic_store(&pool->word, (closed + 1) << INDEX_BITS);
    if (pool->sleepers > 0)
        pthread_cond_broadcast(&pool->go);
    pthread_mutex_unlock(&pool->sleepers_lock);
    work(pool, 0);
    for (int spins = 0; atomic_load(&pool->left) > 0; spins++) {
        if (spins < SPINS)
            pause_a_little();
        else
            sched_yield();
    }
}

pool *pool_new(uint32_t workers)
{
    uint32_t wanted = workers > 1 ? workers - 1 : 0;
    pool *pool = aligned_alloc(64, sizeof *pool);
    if (!pool)
        return NULL;
    atomic_init(&pool->word, 0);
    atomic_init(&pool->left, 0);
    atomic_init(&pool->task, NULL);
    atomic_init(&pool->context, NULL);
    atomic_init(&pool->count, 0);
    atomic_init(&pool->stop, false);
    pool->sleepers = 0;
    pool->helper_count = 0;
    pool->helpers = calloc(wanted + 1, sizeof *pool->helpers);
    pthread_mutex_init(&pool->sleepers_lock, NULL);
    pthread_cond_init(&pool->go, NULL);
    while (pool->helpers && pool->helper_count < wanted) {
        helper *next = &pool->helpers[pool->helper_count];
        next->pool = pool;
        next->worker = pool->helper_count + 1;
        if (pthread_create(&next->id, NULL, serve, next) != 0)
            break;
        pool->helper_count++;
    }
    if (!pool->helpers || pool->helper_count < wanted) {
        pool_free(pool);
        return NULL;
    }
    return pool;
}

void pool_free(pool *pool)
{
    pthread_mutex_lock(&pool->sleepers_lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->go);
    pthread_mutex_unlock(&pool->sleepers_lock);
    for (uint32_t i = 0; i < pool->helper_count; i++)
        pthread_join(pool->helpers[i].id, NULL);
    pthread_cond_destroy(&pool->go);
    pthread_mutex_destroy(&pool->sleepers_lock);
    free(pool->helpers);
    free(pool);
}
