#include <stddef.h>
#include <stdint.h>

#ifndef MAQUETTE_ABI
#define MAQUETTE_ABI 1

#ifdef __cplusplus
extern "C" {
#endif

/* The layouts below are those of machines with 64-bit pointers. */
typedef char maquette_pointers_are_64_bits[sizeof(void *) == 8 ? 1 : -1];

/* For memory that the linker lays out, before all else:
   MAQUETTE_ALIGN(NAME_ARENA_ALIGN) static unsigned char arena[NAME_ARENA_BYTES]; */
#if defined(__cplusplus)
#define MAQUETTE_ALIGN(bytes) alignas(bytes)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define MAQUETTE_ALIGN(bytes) _Alignas(bytes)
#else
#define MAQUETTE_ALIGN(bytes) __attribute__((aligned(bytes)))
#endif

enum maquette_status {
    MAQUETTE_OK = 0,
    MAQUETTE_BAD_POINTER = 1,
    MAQUETTE_ARENA_TOO_SMALL = 2,
    MAQUETTE_BAD_SIZE = 3,
    MAQUETTE_BAD_DATA = 4,
    MAQUETTE_CPU_LACKS_FEATURE = 5
};

static inline const char *maquette_status_text(int32_t status)
{
    switch (status) {
    case MAQUETTE_OK: return "ok";
    case MAQUETTE_BAD_POINTER: return "a pointer is null or misaligned";
    case MAQUETTE_ARENA_TOO_SMALL: return "the arena is too small";
    case MAQUETTE_BAD_SIZE: return "an input has the wrong size, or a symbol is out of its range";
    case MAQUETTE_BAD_DATA: return "the data cannot be computed with: an index out of range";
    case MAQUETTE_CPU_LACKS_FEATURE: return "this CPU lacks a feature that the model was compiled for";
    default: return "unknown status";
    }
}

/* Bits of the word in maquette_call.cpu, which cpu() of a model returns. */
#define MAQUETTE_CPU_KNOWN UINT64_C(1)              /* always set */
#define MAQUETTE_CPU_X86_64_V3 UINT64_C(2)          /* AVX2, FMA, BMI, F16C; the system saves ymm */
#define MAQUETTE_CPU_X86_64_V4 UINT64_C(4)          /* and AVX-512 F BW CD DQ VL; the system saves zmm */
#define MAQUETTE_CPU_X86_64_V4_VNNI UINT64_C(8)     /* and AVX512_VNNI */
#define MAQUETTE_CPU_X86_64_V4_VBMI UINT64_C(16)    /* x86-64-v4 and AVX512_VBMI */
#define MAQUETTE_CPU_ARMV8 UINT64_C(2)              /* NEON */
#define MAQUETTE_CPU_ARMV8_DOTPROD UINT64_C(4)      /* sdot, udot */
#define MAQUETTE_CPU_ARMV8_I8MM UINT64_C(8)         /* smmla */

/* The word on ARM64 under Linux and Android, without asking the model: from getauxval(AT_HWCAP) and getauxval(AT_HWCAP2)
   of <sys/auxv.h>, as variables. */
#define MAQUETTE_CPU_FROM_HWCAP(hwcap, hwcap2) \
    (MAQUETTE_CPU_KNOWN | (((hwcap) >> 1 & 1u) != 0 ? MAQUETTE_CPU_ARMV8 : 0u) | \
     (((hwcap) >> 20 & 1u) != 0 ? MAQUETTE_CPU_ARMV8_DOTPROD : 0u) | \
     (((hwcap2) >> 13 & 1u) != 0 ? MAQUETTE_CPU_ARMV8_I8MM : 0u))

/* An input or output. */
typedef struct maquette_tensor {
    const char *name;          /* as in the ONNX model, UTF-8 */
    const int64_t *dims;       /* upper bounds */
    const int32_t *symbols;    /* per dimension -1 or the index of its symbol; NULL: all are fixed */
    uint64_t bytes;            /* at the upper bounds */
    int32_t dtype;             /* ONNX TensorProto.DataType: 1 float, 7 int64 ... */
    int32_t rank;
} maquette_tensor;

/* A named dimension and its inclusive range. */
typedef struct maquette_symbol {
    const char *name;
    int64_t min, max;
} maquette_symbol;

/* The arguments of one run. */
typedef struct maquette_call {
    const void *const *inputs;
    void *const *outputs;
    const uint64_t *input_bytes;   /* NULL: not checked */
    void *arena;                   /* aligned to arena_align of the model */
    uint64_t arena_bytes;          /* at least arena_bytes + max(workers, 1) * worker_bytes of the model */
    void *state;                   /* state_bytes of the model, aligned to 64; reset before the first run */
    const void *weights;           /* aligned to 64; NULL: embedded */
    int64_t *symbols;              /* free ones are read, the others are written; NULL: there are none */
    /* Calls task(context, i, worker) for all i from 0 to n - 1, in any order, at once at most `workers` of them with different
       `worker` from 0 to workers - 1, and returns when all are done. NULL: the run calls them one after the other. */
    void (*parallel_for)(void *pool, int64_t n, void (*task)(void *context, int64_t i, int64_t worker), void *context);
    void *pool;
    uint32_t workers;              /* 0 means 1 */
    uint32_t reserved;             /* 0 */
    uint64_t cpu;                  /* what cpu() of the model said; 0: ask now */
} maquette_call;

typedef struct maquette_model {
    uint32_t abi, input_count, output_count, symbol_count;
    const char *name, *target, *compiler;
    const maquette_tensor *inputs, *outputs;    /* NULL if there are none */
    const maquette_symbol *symbols;
    uint64_t arena_bytes, arena_align, worker_bytes, state_bytes, weights_bytes;
    uint64_t (*cpu)(void);
    void (*reset)(void *state);                 /* NULL if state_bytes is 0 */
    int32_t (*run)(const maquette_call *call);
} maquette_model;

#ifdef __cplusplus
}
#endif

#elif MAQUETTE_ABI != 1
#error "these headers of compiled models speak different versions of the interface"
#endif
