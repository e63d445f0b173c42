/* What both programs share: the draws of engine/draws.py, the histogram's buckets, one binary heap. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ARRIVAL = 1, ATTEMPT = 2, BACKOFF = 3 }; /* purposes of draws: ARCHITECTURE.md, "Randomness" */
enum { SUB = 8, BASE = (1023 - 24) << SUB, BUCKETS = 36 << SUB };

static uint32_t key0, key1; /* seed, replication */

static inline void philox(uint32_t x[4]) {
    uint32_t k0 = key0, k1 = key1;
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * x[0], p1 = (uint64_t)0xCD9E8D57u * x[2];
        x[0] = (uint32_t)(p1 >> 32) ^ x[1] ^ k0, x[1] = (uint32_t)p1;
        x[2] = (uint32_t)(p0 >> 32) ^ x[3] ^ k1, x[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
}

static inline void uniform2(int purpose, int64_t entity, int64_t number, int attempt, double u[2]) {
    uint32_t x[4] = {purpose, (uint32_t)entity, (uint32_t)number, attempt};
    philox(x);
    u[0] = ((x[0] >> 6) * 67108864.0 + (x[1] >> 6) + 0.5) * 0x1p-52;
    u[1] = ((x[2] >> 6) * 67108864.0 + (x[3] >> 6) + 0.5) * 0x1p-52;
}

static inline void uniform4(int purpose, int64_t entity, int64_t number, int attempt, double u[4]) {
    uint32_t x[4] = {purpose, (uint32_t)entity, (uint32_t)number, attempt};
    philox(x);
    for (int k = 0; k < 4; k++) u[k] = (x[k] + 0.5) * 0x1p-32;
}

/* fdlibm's logarithm as engine/draws.py writes it: the C library's differs in the last bit. */
static inline double own_log(double x) {
    int e;
    double m = frexp(x, &e);
    if (m < 0.7071067811865476) m = m * 2.0, e = e - 1;
    double f = m - 1.0, s = f / (2.0 + f), z = s * s, q = z * z;
    double t1 = q * (0.3999999999940941908 + q * (0.2222219843214978396 + q * 0.1531383769920937332));
    double t2 = z * (0.6666666666666735130
                     + q * (0.2857142874366239149 + q * (0.1818357216161805012 + q * 0.1479819860510651658591)));
    double half = 0.5 * f * f;
    return e * 6.93147180369123816490e-01 - ((half - (s * (half + t1 + t2) + e * 1.90821492927058770002e-10)) - f);
}

static inline int bucket(double x_s) {
    int64_t bits;
    memcpy(&bits, &x_s, sizeof bits);
    bits = (bits >> (52 - SUB)) - BASE;
    return bits < 0 ? 0 : bits >= BUCKETS ? BUCKETS - 1 : (int)bits;
}

static inline int64_t nanoseconds(double x_s) { return (int64_t)(x_s * 1e9 + 0.5); }

static inline double latest(double a, double b) { return a > b ? a : b; }

/* All memory of a run; without it there is no result, so nobody asks whether it came. */
static void *zeros(int64_t count, size_t bytes) {
    void *p = calloc(count ? count : 1, bytes);
    if (!p) abort();
    return p;
}

/* One binary heap for everything that will happen, ordered by instant, then by number. */
typedef struct {
    double t;
    int64_t number;
    int32_t kind, i;
} Event;

static Event *heap;
static int64_t pending, heap_room;

static inline int earlier(const Event *a, const Event *b) {
    return a->t < b->t || (a->t == b->t && a->number < b->number);
}

static void push(double t, int64_t number, int kind, int i) {
    if (pending == heap_room) {
        heap_room = heap_room ? 2 * heap_room : 1024;
        heap = realloc(heap, heap_room * sizeof *heap);
        if (!heap) abort();
    }
    Event event = {t, number, kind, i};
    int64_t n = pending++;
    for (; n > 0 && earlier(&event, &heap[(n - 1) / 2]); n = (n - 1) / 2) heap[n] = heap[(n - 1) / 2];
    heap[n] = event;
}

static Event pop(void) {
    Event top = heap[0], last = heap[--pending];
    int64_t hole = 0, child = 1;
    for (; child < pending; hole = child, child = 2 * hole + 1) {
        if (child + 1 < pending && earlier(&heap[child + 1], &heap[child])) child++;
        if (earlier(&last, &heap[child])) break;
        heap[hole] = heap[child];
    }
    heap[hole] = last;
    return top;
}

static void drop_heap(void) {
    free(heap);
    heap = NULL, pending = heap_room = 0;
}

/* First come first served: a departure from the server of a group that is free first. */
static inline double serve(double *free_s, int servers, double t, double demand_s) {
    int best = 0;
    for (int k = 1; k < servers; k++)
        if (free_s[k] < free_s[best]) best = k;
    free_s[best] = latest(t, free_s[best]) + demand_s;
    return free_s[best];
}
