/* A thread pool for compiled models: hand `pool_for` and a pool to a call's `parallel_for`, `pool` and `workers`.
   It knows nothing of models; a task is an index. One caller at a time. C11 and POSIX threads. */
#ifndef POOL_H
#define POOL_H

#include <stdint.h>

typedef struct pool pool;

/* `workers` counts the calling thread: 1 starts no thread. NULL when the system gives no memory or no thread. */
pool *pool_new(uint32_t workers);

/* Ends the threads. No loop may run. */
void pool_free(pool *pool);

/* Calls task(context, i, worker) once for every i from 0 to n - 1 and returns when all are done; the calling thread is
   worker 0. At most 2^24 - 1 tasks. */
void pool_for(void *pool, int64_t n, void (*task)(void *context, int64_t i, int64_t worker), void *context);

#endif
