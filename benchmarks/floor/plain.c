/* The plain path: the least a program can do for a customer of the case "plain path", as a second yardstick.
 *
 * Poisson customers choose one of the nodes at random, whose one core takes exactly `node_s`, first come first
 * served; then one of the pods at random, whose workers take an exponential time, first come first served.
 * Three events a customer: arrival, node done, pod done. The draws are the engine's, who and why, so customers
 * arrive when the engine's do and ask for the same.
 */

#include "common.h"

enum { ARRIVE, NODE_DONE, POD_DONE };

typedef struct { /* the question and the answer; floor.py holds the same list of fields */
    double duration_s, warmup_s, rate_rps, node_s, service_mean_s;
    int64_t key0, key1, clients, nodes, pods, workers;
    int64_t *latency; /* [bucket] */
    int64_t offered, succeeded, latency_ns, events;
} Plain;

typedef struct {
    double born_s, demand_s;
    int32_t pod, next;
} Customer;

static Customer *customers;
static int32_t slots, free_slot;

static int new_customer(void) {
    if (free_slot < 0) {
        int32_t old = slots;
        slots = old ? 2 * old : 256;
        customers = realloc(customers, slots * sizeof *customers);
        if (!customers) abort();
        for (int32_t k = old; k < slots; k++) customers[k].next = k + 1 < slots ? k + 1 : -1;
        free_slot = old;
    }
    int i = free_slot;
    free_slot = customers[i].next;
    return i;
}

void plain_run(Plain *w) {
    key0 = (uint32_t)w->key0, key1 = (uint32_t)w->key1;
    double *core_free_s = zeros(w->nodes, sizeof *core_free_s);
    double *work_free_s = zeros(w->pods * w->workers, sizeof *work_free_s);
    int64_t *number = zeros(w->clients, sizeof *number), sequence = w->clients;
    double mean_gap_s = w->clients / w->rate_rps, u[2], v[4];
    customers = NULL, slots = 0, free_slot = -1;
    for (int c = 0; c < w->clients; c++) {
        uniform2(ARRIVAL, c, 0, 1, u);
        push(-own_log(u[0]) * mean_gap_s, c, ARRIVE, c);
    }
    while (pending) {
        Event event = pop();
        double t = event.t;
        if (event.kind == ARRIVE) {
            if (t >= w->duration_s) continue;
            int c = event.i, i = new_customer();
            int64_t k = number[c]++;
            uniform2(ARRIVAL, c, k, 0, u);
            uniform4(ATTEMPT, c, k, 0, v);
            push(t - own_log(u[0]) * mean_gap_s, c, ARRIVE, c);
            customers[i] = (Customer){t, -own_log(u[1]) * w->service_mean_s, (int)(v[1] * w->pods), -1};
            w->offered += t >= w->warmup_s;
            double end_s = serve(&core_free_s[(int)(v[0] * w->nodes)], 1, t, w->node_s);
            push(end_s, sequence++, NODE_DONE, i);
        } else if (event.kind == NODE_DONE) {
            Customer *it = &customers[event.i];
            double *free_s = &work_free_s[it->pod * w->workers];
            push(serve(free_s, (int)w->workers, t, it->demand_s), sequence++, POD_DONE, event.i);
        } else {
            Customer *it = &customers[event.i];
            if (it->born_s >= w->warmup_s) {
                w->succeeded++;
                w->latency[bucket(t - it->born_s)]++;
                w->latency_ns += nanoseconds(t - it->born_s);
            }
            it->next = free_slot;
            free_slot = event.i;
        }
        w->events++;
    }
    drop_heap();
    free(customers), free(core_free_s), free(work_free_s), free(number);
}
