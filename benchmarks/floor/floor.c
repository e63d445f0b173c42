/* The floor: the engine's model as a competent C programmer would write it in an afternoon.
 *
 * One binary heap for every event, voided timers too; records in slots with free lists; one switch. No lanes,
 * no rings, no tricks. The steps are those of sim/nodeportsim/engine/{client,connections,wire,node,pod,tally}.py
 * in the same order, with the same names; whatever only faults, closed loops, jitter, loss, affinity, ipvs or
 * HTTP/2 bring is left out. Floating point is written operation by operation as the engine writes it, and must
 * be compiled without contraction: the traces are equal bit for bit.
 */

#include "common.h"

enum { /* what can happen, and to what: c client, r request, f flight */
    ARRIVE, RETRY, TIMER, SYN_AT_NODE, SYN_AT_PEER, SYN_AT_POD, ESTABLISHED, DATA_AT_NODE, DATA_AT_PEER,
    DATA_AT_POD, POD_START, POD_DONE, REPLY, REJECTED, SYN_AGAIN
};
enum { FREE, POOL_WAIT, CONNECTING, WAITING, BACKING_OFF };             /* request states */
enum { DNS_ROUND_ROBIN = 0, PINNED = 2, RANDOM = 3 };                   /* entry policies */
enum { JITTER_NONE, JITTER_EQUAL, JITTER_FULL };
enum { CONNECT_TIMEOUT = 0, REQUEST_TIMEOUT = 4, OVERLOADED = 6 }; /* of failure; floor.py says how many CAUSES there are */
enum { SUCCEEDED = -1, STAGES = 9, EXPIRY_SLOTS = 256, FIRST_SLOTS = 256 };
#define NEVER_S 1e200

typedef struct { /* what a connection's packets cost at a node: floor.py fills it from the engine's own build */
    double walk_s, endpoint_s, transit_s, packet_s, transit_packet_s;
} Price;

typedef struct {
    double born_s, ended_s;
    int64_t number;
    int32_t client, node, pod, attempts, cause;
} Trace;

typedef struct { /* the question, and where the answer goes; floor.py holds the same list of fields */
    double duration_s, warmup_s, drain_s, client_path_s, node_path_s;
    double accept_s, accept_packet_s, overlay_s, overlay_packet_s, time_wait_s;
    double rate_rps, service_mean_s, idle_timeout_s, connect_s, request_s;
    double backoff_s, backoff_factor, backoff_max_s;
    int64_t key0, key1, clients, entries, nodes, pods, cores, workers, seconds, endpoints;
    int64_t constant, backlog, reject, queue_limit, conntrack_max;
    int64_t policy, reuse, pool_size, max_requests, attempts, retry_next, jitter, trace_room;
    const Price *price;       /* [node] */
    const int32_t *endpoint;  /* pods the nodes' rules know, the same for all */
    const int32_t *pod_node;  /* [pod] */
    const double *syn_at_s;   /* instant of the k-th SYN; beyond NEVER_S the kernel gives up */
    int64_t *latency, *first_packet;            /* [bucket] */
    int64_t (*stage_ns)[STAGES];                /* [bucket] */
    int64_t (*series)[3 + CAUSES];              /* [second]: offered, succeeded, failed by cause, latency in ns */
    int64_t (*errors)[CAUSES];                  /* requests, attempts */
    int64_t (*node_counts)[2], (*pod_counts)[2]; /* connections, requests */
    int64_t *conntrack_peak;                    /* [node] */
    double *node_busy_s, *pod_busy_s;
    Trace *trace;
    int64_t offered, succeeded, failed, tries, orphans, conntrack_drops, backlog_drops, retransmissions;
    int64_t latency_ns, events, voided, traced;
} Floor;

typedef struct {
    int64_t number;
    int32_t open, idle_head, wait_head, wait_tail;
} Client;

typedef struct {
    int32_t next; /* first in every slot: the free list, or the pool's queue */
    int32_t client, connection, node, attempt, syn, state;
    int64_t number, timer, life; /* number of the one live timer; grows when an attempt ends */
    double born_s, attempt_s, wait_s, syn_s, demand_s, u_node, u_pod, u_core, u_peer;
    double pool_wait_s, syn_backoff_s, rules_s, node_queue_s, failed_s, backoff_s;
} Request;

typedef struct {
    int32_t next;
    int32_t client, node, pod, peer, core, peer_core, requests, tracked; /* pod: the pin, -1 until the rules */
    int64_t life;
    double idle_s;
} Connection;

typedef struct { /* a packet's journey: outlives an attempt its client gave up */
    int32_t next;
    int32_t request, connection, node, pod, peer, core, peer_core;
    int64_t life, connection_life;
    double sent_s, demand_s, rules_s, node_queue_s, pod_queue_s;
    int32_t first; /* its connection's first request, which waits in the accept queue */
} Flight;

typedef struct {
    Price price;
    double busy_s;
    int64_t conntrack, conntrack_peak, drained, connections, requests;
    int32_t expiry[EXPIRY_SLOTS]; /* entries that end in a second to come */
} Node;

typedef struct {
    double busy_s;
    int64_t connections, requests;
    int32_t node, inside, queued;
} Pod;

typedef struct {
    int32_t size, free;
} Slots;

static Floor w;
static Client *clients;
static Request *requests;
static Connection *connections;
static Flight *flights;
static Node *nodes;
static Pod *pods;
static double *cpu_free_s, *work_free_s; /* [node][core], [pod][worker] */
static Slots request_slots, connection_slots, flight_slots;
static int64_t sequence, open_requests, dns_turn;

/* An arrival's number is its client's, all others count on from there: at one instant arrivals go first. */
static int64_t at(double t, int kind, int i) {
    push(t, sequence, kind, i);
    return sequence++;
}

/* ---- slots ---- */

/* Twice the slots, the new ones in front of the free list. */
static void *doubled(void *pool, size_t bytes, Slots *slots) {
    int32_t old = slots->size, size = old ? 2 * old : FIRST_SLOTS;
    char *bigger = realloc(pool, size * bytes);
    if (!bigger) abort();
    memset(bigger + old * bytes, 0, (size - old) * bytes);
    for (int32_t k = old; k < size; k++) *(int32_t *)(bigger + k * bytes) = k + 1;
    *(int32_t *)(bigger + (size - 1) * bytes) = old ? slots->free : -1;
    *slots = (Slots){size, old};
    return bigger;
}

/* A step takes at most two slots of a kind. */
static inline void make_room(void) {
    if (request_slots.free < 0 || requests[request_slots.free].next < 0)
        requests = doubled(requests, sizeof *requests, &request_slots);
    if (connection_slots.free < 0 || connections[connection_slots.free].next < 0)
        connections = doubled(connections, sizeof *connections, &connection_slots);
    if (flight_slots.free < 0 || flights[flight_slots.free].next < 0)
        flights = doubled(flights, sizeof *flights, &flight_slots);
}

static int new_flight(double t, int r) {
    int f = flight_slots.free;
    Request *q = &requests[r];
    Connection *k = &connections[q->connection];
    flight_slots.free = flights[f].next;
    flights[f] = (Flight){
        .request = r, .connection = q->connection, .node = k->node, .pod = k->pod, .peer = k->peer,
        .core = k->core, .peer_core = k->peer_core, .life = q->life, .connection_life = k->life,
        .sent_s = t, .demand_s = q->demand_s,
    };
    return f;
}

static void free_flight(int f) {
    flights[f].next = flight_slots.free;
    flight_slots.free = f;
}

/* Does the client still wait for what this packet belongs to? */
static inline int meant(int f, int state) {
    Request *q = &requests[flights[f].request];
    return q->life == flights[f].life && q->state == state;
}

/* ---- what is counted ---- */

static inline int64_t *series_of(Request *q) {
    int64_t second = (int64_t)q->born_s;
    return w.series[second < w.seconds ? second : w.seconds - 1];
}

static void count_success(double t, int r, int f) {
    Request *q = &requests[r];
    Flight *p = &flights[f];
    if (q->born_s < w.warmup_s) return;
    int64_t total = nanoseconds(t - q->born_s), rest = total;
    int b = bucket(t - q->born_s);
    w.succeeded++;
    w.latency[b]++;
    w.latency_ns += total;
    nodes[p->node].requests++;
    pods[p->pod].requests++;
    series_of(q)[1]++;
    series_of(q)[2 + CAUSES] += total;
    int64_t stage[STAGES] = {
        nanoseconds(q->pool_wait_s), nanoseconds(q->syn_backoff_s), 0, nanoseconds(q->rules_s),
        nanoseconds(q->node_queue_s + p->node_queue_s), nanoseconds(p->pod_queue_s), nanoseconds(p->demand_s),
        nanoseconds(q->failed_s), nanoseconds(q->backoff_s),
    };
    for (int s = 0; s < STAGES; s++) rest -= stage[s];
    stage[2] = rest; /* the wire is what remains */
    for (int s = 0; s < STAGES; s++) w.stage_ns[b][s] += stage[s];
}

static void note_end(double t, int r, int pod, int cause) {
    Request *q = &requests[r];
    if (w.traced >= w.trace_room) return;
    w.trace[w.traced++] = (Trace){q->born_s, t, q->number, q->client, q->node, pod, q->attempt + 1, cause};
}

/* ---- conntrack and CPU of a node ---- */

static void drain_conntrack(double t, Node *node) {
    int64_t now = (int64_t)t;
    if (node->drained >= now) return;
    int64_t first = node->drained + 1, oldest = now - EXPIRY_SLOTS + 1;
    for (int64_t second = first > oldest ? first : oldest; second <= now; second++) {
        node->conntrack -= node->expiry[second % EXPIRY_SLOTS];
        node->expiry[second % EXPIRY_SLOTS] = 0;
    }
    node->drained = now;
}

/* A full table drops the packet. */
static int track(double t, int n) {
    Node *node = &nodes[n];
    drain_conntrack(t, node);
    if (node->conntrack >= w.conntrack_max) {
        w.conntrack_drops++;
        return 0;
    }
    if (++node->conntrack > node->conntrack_peak) node->conntrack_peak = node->conntrack;
    return 1;
}

static void untrack(double t, int n, double end_s) {
    drain_conntrack(t, &nodes[n]);
    nodes[n].expiry[((int64_t)latest(t, end_s) + 1) % EXPIRY_SLOTS]++;
}

/* A packet on its core; when it is through. */
static double spend(int n, int core, double t, double cost_s, Flight *p) {
    double end = serve(&cpu_free_s[n * w.cores + core], 1, t, cost_s);
    nodes[n].busy_s += cost_s;
    p->node_queue_s += end - t - cost_s;
    return end;
}

/* ---- a client's connections ---- */

static void limit(double t, int r, double limit_s) {
    requests[r].timer = limit_s > 0.0 ? at(t + limit_s, TIMER, r) : -1;
}

static void send_request(double t, int r, int f) {
    requests[r].state = WAITING;
    limit(t, r, w.request_s);
    flights[f].sent_s = t;
    flights[f].first = connections[requests[r].connection].requests <= 1;
    at(t + w.client_path_s, DATA_AT_NODE, f);
}

static void send_syn(double t, int r) { at(t + w.client_path_s, SYN_AT_NODE, new_flight(t, r)); }

static int choose_node(int r) {
    Request *q = &requests[r];
    int n = (int)w.entries;
    if (w.policy == PINNED) return q->client % n;
    if (q->node >= 0 && !w.retry_next) return q->node;
    if (q->node >= 0) return (q->node + 1 + (w.policy == RANDOM ? (int)(q->u_node * (n - 1)) : 0)) % n;
    if (w.policy == RANDOM) return (int)(q->u_node * n);
    return (int)(dns_turn++ % n); /* no TTL: every look-up starts one record later */
}

static void connect_new(double t, int r) {
    Request *q = &requests[r];
    int k = connection_slots.free;
    Connection *c = &connections[k];
    connection_slots.free = c->next;
    *c = (Connection){.next = -1, .client = q->client, .node = choose_node(r), .pod = -1, .peer = -1,
                      .requests = 1, .life = c->life, .idle_s = t};
    clients[q->client].open++;
    q->connection = k;
    q->attempt_s = q->syn_s = t;
    q->syn = 0;
    q->state = CONNECTING;
    q->node = c->node;
    c->core = (int)(q->u_core * w.cores);
    c->peer_core = (int)(q->u_peer * w.cores);
    limit(t, r, w.connect_s);
    send_syn(t, r);
}

static void use(double t, int r, int k) {
    Request *q = &requests[r];
    connections[k].requests++;
    q->connection = k;
    q->attempt_s = t;
    q->syn = 0;
    q->node = connections[k].node;
    send_request(t, r, new_flight(t, r));
}

/* Conntrack keeps the entries for a while. */
static void close_connection(double t, int k, double ended_s) {
    Connection *c = &connections[k];
    if (c->tracked >= 1) untrack(t, c->node, ended_s + w.time_wait_s);
    if (c->tracked > 1) untrack(t, c->peer, ended_s + w.time_wait_s);
    clients[c->client].open--;
    c->life++;
    c->next = connection_slots.free;
    connection_slots.free = k;
}

/* The connection used last, if it is not too old. */
static int pick_idle(double t, Client *client) {
    while (client->idle_head >= 0) {
        int k = client->idle_head;
        double idle_s = connections[k].idle_s;
        client->idle_head = connections[k].next;
        if (!(w.idle_timeout_s > 0.0 && t - idle_s >= w.idle_timeout_s)) return k;
        close_connection(t, k, t < idle_s + w.idle_timeout_s ? t : idle_s + w.idle_timeout_s);
    }
    return -1;
}

static void acquire(double t, int r) {
    Request *q = &requests[r];
    Client *client = &clients[q->client];
    int k = w.reuse ? pick_idle(t, client) : -1;
    if (k >= 0) {
        use(t, r, k);
    } else if (!w.reuse || client->open < w.pool_size) {
        connect_new(t, r);
    } else {
        q->state = POOL_WAIT;
        q->wait_s = t;
        q->next = -1;
        if (client->wait_tail < 0) client->wait_head = r;
        else requests[client->wait_tail].next = r;
        client->wait_tail = r;
        q->timer = -1;
    }
}

static void serve_waiting(double t, Client *client) {
    int r = client->wait_head;
    if (r < 0 || !(client->idle_head >= 0 || client->open < w.pool_size)) return;
    client->wait_head = requests[r].next;
    if (client->wait_head < 0) client->wait_tail = -1;
    requests[r].pool_wait_s += t - requests[r].wait_s;
    int k = pick_idle(t, client);
    if (k >= 0) use(t, r, k);
    else connect_new(t, r);
}

/* A request is through with its connection, and it is kept or closed; then who waits is served. */
static void release(double t, int k, int keep) {
    Connection *c = &connections[k];
    Client *client = &clients[c->client];
    c->idle_s = t;
    if (keep && w.reuse && !(w.max_requests > 0 && c->requests >= w.max_requests)) {
        c->next = client->idle_head;
        client->idle_head = k;
    } else {
        close_connection(t, k, t);
    }
    serve_waiting(t, client);
}

/* ---- a client's requests ---- */

static double demand_s(double u) { return w.constant ? w.service_mean_s : -own_log(u) * w.service_mean_s; }

static double gap_s(double u) { return -own_log(u) * (w.clients / w.rate_rps); }

static void attempt(double t, int r) {
    Request *q = &requests[r];
    double u[4];
    uniform4(ATTEMPT, q->client, q->number, q->attempt, u);
    q->u_node = u[0], q->u_pod = u[1], q->u_core = u[2], q->u_peer = u[3];
    q->attempt_s = t;
    q->syn_backoff_s = q->rules_s = q->node_queue_s = 0.0;
    if (q->born_s >= w.warmup_s) w.tries++;
    acquire(t, r);
}

static void arrive(double t, int c) {
    int64_t number = clients[c].number++;
    double u[2];
    uniform2(ARRIVAL, c, number, 0, u);
    double next_s = t + gap_s(u[0]);
    if (next_s < w.duration_s) push(next_s, c, ARRIVE, c);
    int r = request_slots.free;
    Request *q = &requests[r];
    request_slots.free = q->next;
    *q = (Request){.client = c, .connection = -1, .node = -1, .number = number, .timer = -1, .life = q->life,
                   .born_s = t, .demand_s = demand_s(u[1])};
    open_requests++;
    if (t >= w.warmup_s) w.offered++, series_of(q)[0]++;
    attempt(t, r);
}

static void finish(double t, int r, int pod, int cause) {
    Request *q = &requests[r];
    note_end(t, r, pod, cause);
    q->life++;
    q->state = FREE;
    q->timer = -1;
    q->next = request_slots.free;
    request_slots.free = r;
    open_requests--;
}

static double backoff_s(Request *q) {
    double u[2], power = 1.0, wait_s;
    for (int k = 0; k < q->attempt; k++) power *= w.backoff_factor;
    wait_s = w.backoff_s * power;
    if (wait_s > w.backoff_max_s) wait_s = w.backoff_max_s;
    if (w.jitter == JITTER_NONE) return wait_s;
    uniform2(BACKOFF, q->client, q->number, q->attempt, u);
    return w.jitter == JITTER_FULL ? wait_s * u[0] : wait_s * (0.5 + 0.5 * u[0]);
}

static void fail_attempt(double t, int r, int cause) {
    Request *q = &requests[r];
    int k = q->connection, counted = q->born_s >= w.warmup_s;
    q->connection = -1;
    q->life++;
    q->timer = -1;
    if (counted) w.errors[1][cause]++;
    q->failed_s += t - q->attempt_s;
    release(t, k, cause == OVERLOADED); /* a time-out gives the connection up */
    if (q->attempt + 1 >= w.attempts) {
        if (counted) w.failed++, w.errors[0][cause]++, series_of(q)[2 + cause]++;
        finish(t, r, -1, cause);
        return;
    }
    double wait_s = backoff_s(q);
    q->attempt++;
    q->state = BACKING_OFF;
    q->backoff_s += wait_s;
    at(t + wait_s, RETRY, r);
}

static void timer(double t, int r) {
    fail_attempt(t, r, requests[r].state == CONNECTING ? CONNECT_TIMEOUT : REQUEST_TIMEOUT);
}

static void established(double t, int f) {
    if (!meant(f, CONNECTING)) {
        free_flight(f);
        return;
    }
    Flight *p = &flights[f];
    Request *q = &requests[p->request];
    Connection *k = &connections[p->connection];
    q->syn_backoff_s = p->sent_s - q->syn_s;
    q->rules_s = p->rules_s;
    q->node_queue_s = p->node_queue_s;
    p->rules_s = p->node_queue_s = 0.0;
    nodes[k->node].connections++;
    pods[k->pod].connections++;
    if (q->born_s >= w.warmup_s) w.first_packet[bucket(t - q->syn_s)]++;
    send_request(t, p->request, f);
}

static void reply(double t, int f) {
    int r = flights[f].request, pod = flights[f].pod;
    if (!meant(f, WAITING)) {
        w.orphans++;
        free_flight(f);
        return;
    }
    count_success(t, r, f);
    free_flight(f);
    release(t, requests[r].connection, 1);
    finish(t, r, pod, SUCCEEDED);
}

static void rejected(double t, int f) {
    int r = flights[f].request, mine = meant(f, WAITING);
    free_flight(f);
    if (mine) fail_attempt(t, r, OVERLOADED);
}

/* SYN dropped: the next one goes at its instant; the connect time-out may come first. */
static void lose_syn(double t, int f) {
    if (!meant(f, CONNECTING)) {
        free_flight(f);
        return;
    }
    Request *q = &requests[flights[f].request];
    q->syn++;
    at(latest(t, q->syn_s + w.syn_at_s[q->syn]), SYN_AGAIN, f);
}

static void syn_again(double t, int f) {
    int r = flights[f].request, mine = meant(f, CONNECTING);
    free_flight(f);
    if (!mine) return;
    if (w.syn_at_s[requests[r].syn + 1] > NEVER_S) {
        fail_attempt(t, r, CONNECT_TIMEOUT);
    } else {
        w.retransmissions++;
        send_syn(t, r);
    }
}

/* ---- at the nodes ---- */

static void forward_syn(double t, int f, double cost_s) {
    Flight *p = &flights[f];
    int here = p->peer == p->node;
    cost_s += here ? w.accept_s : w.overlay_s;
    p->rules_s += cost_s;
    double end = spend(p->node, p->core, t, cost_s, p);
    if (here) at(end, SYN_AT_POD, f);
    else at(end + w.node_path_s, SYN_AT_PEER, f);
}

static void syn_at_node(double t, int f) {
    Flight *p = &flights[f];
    Connection *k = &connections[p->connection];
    Price *price = &nodes[p->node].price;
    double cost_s = price->packet_s; /* conntrack knows the connection already */
    if (k->life != p->connection_life) {
        free_flight(f);
        return;
    }
    if (k->pod < 0) {
        if (!track(t, p->node)) {
            lose_syn(t, f);
            return;
        }
        int rank = (int)(requests[p->request].u_pod * w.endpoints);
        cost_s = price->walk_s + price->endpoint_s * (rank + 1);
        k->pod = w.endpoint[rank];
        k->peer = pods[k->pod].node;
        k->tracked = 1;
    }
    p->pod = k->pod;
    p->peer = k->peer;
    forward_syn(t, f, cost_s);
}

static void syn_at_peer(double t, int f) {
    Flight *p = &flights[f];
    Connection *k = &connections[p->connection];
    if (k->life == p->connection_life && k->tracked == 1) {
        if (!track(t, p->peer)) {
            lose_syn(t, f);
            return;
        }
        k->tracked = 2;
    }
    double cost_s = nodes[p->peer].price.transit_s + w.overlay_s + w.accept_s;
    p->rules_s += cost_s;
    at(spend(p->peer, p->peer_core, t, cost_s, p), SYN_AT_POD, f);
}

static void data_at_node(double t, int f) {
    Flight *p = &flights[f];
    int here = p->peer == p->node;
    double cost_s = nodes[p->node].price.packet_s + (here ? w.accept_packet_s : w.overlay_packet_s);
    double end = spend(p->node, p->core, t, cost_s, p);
    if (here) at(end, DATA_AT_POD, f);
    else at(end + w.node_path_s, DATA_AT_PEER, f);
}

static void data_at_peer(double t, int f) {
    Flight *p = &flights[f];
    double cost_s = nodes[p->peer].price.transit_packet_s + w.overlay_packet_s + w.accept_packet_s;
    at(spend(p->peer, p->peer_core, t, cost_s, p), DATA_AT_POD, f);
}

/* ---- at the pod ---- */

static void answer(double t, int f, int kind) {
    double back_s = flights[f].peer == flights[f].node ? 0.0 : w.node_path_s;
    at(t + (back_s + w.client_path_s), kind, f);
}

static void syn_at_pod(double t, int f) {
    if (pods[flights[f].pod].queued > w.backlog) {
        w.backlog_drops++;
        lose_syn(t, f);
    } else {
        answer(t, f, ESTABLISHED);
    }
}

static void data_at_pod(double t, int f) {
    Flight *p = &flights[f];
    Pod *pod = &pods[p->pod];
    if (w.reject && pod->inside >= w.workers + w.queue_limit) {
        answer(t, f, REJECTED);
        return;
    }
    pod->inside++;
    pod->busy_s += p->demand_s;
    double end = serve(&work_free_s[p->pod * w.workers], (int)w.workers, t, p->demand_s);
    double start = end - p->demand_s;
    p->pod_queue_s = latest(0.0, start - t);
    if (start > t && p->first) {
        pod->queued++; /* a first request that waits holds a place in the accept queue */
        at(start, POD_START, f);
    } else {
        at(end, POD_DONE, f);
    }
}

static void pod_start(double t, int f) {
    pods[flights[f].pod].queued--;
    at(t + flights[f].demand_s, POD_DONE, f);
}

static void pod_done(double t, int f) {
    pods[flights[f].pod].inside--;
    answer(t, f, REPLY);
}

/* ---- the run ---- */

static void happen(double t, int kind, int i) {
    make_room();
    switch (kind) {
    case ARRIVE: arrive(t, i); break;
    case RETRY: attempt(t, i); break;
    case TIMER: timer(t, i); break;
    case SYN_AT_NODE: syn_at_node(t, i); break;
    case SYN_AT_PEER: syn_at_peer(t, i); break;
    case SYN_AT_POD: syn_at_pod(t, i); break;
    case ESTABLISHED: established(t, i); break;
    case DATA_AT_NODE: data_at_node(t, i); break;
    case DATA_AT_PEER: data_at_peer(t, i); break;
    case DATA_AT_POD: data_at_pod(t, i); break;
    case POD_START: pod_start(t, i); break;
    case POD_DONE: pod_done(t, i); break;
    case REPLY: reply(t, i); break;
    case REJECTED: rejected(t, i); break;
    case SYN_AGAIN: syn_again(t, i); break;
    }
}

static void advance(double until) {
    while (pending && heap[0].t < until) {
        Event event = pop();
        if (event.kind == TIMER && requests[event.i].timer != event.number) {
            w.voided++;
        } else {
            w.events++;
            happen(event.t, event.kind, event.i);
        }
    }
}

static void set_up(void) {
    key0 = (uint32_t)w.key0, key1 = (uint32_t)w.key1;
    clients = zeros(w.clients, sizeof *clients);
    nodes = zeros(w.nodes, sizeof *nodes);
    pods = zeros(w.pods, sizeof *pods);
    cpu_free_s = zeros(w.nodes * w.cores, sizeof *cpu_free_s);
    work_free_s = zeros(w.pods * w.workers, sizeof *work_free_s);
    request_slots = connection_slots = flight_slots = (Slots){0, -1};
    requests = doubled(NULL, sizeof *requests, &request_slots);
    connections = doubled(NULL, sizeof *connections, &connection_slots);
    flights = doubled(NULL, sizeof *flights, &flight_slots);
    sequence = w.clients;
    open_requests = dns_turn = 0;
    for (int n = 0; n < w.nodes; n++) nodes[n].price = w.price[n];
    for (int p = 0; p < w.pods; p++) pods[p].node = w.pod_node[p];
    for (int c = 0; c < w.clients; c++) {
        clients[c] = (Client){.idle_head = -1, .wait_head = -1, .wait_tail = -1};
        double u[2];
        uniform2(ARRIVAL, c, 0, 1, u);
        if (gap_s(u[0]) < w.duration_s) push(gap_s(u[0]), c, ARRIVE, c);
    }
}

static void report(void) {
    for (int n = 0; n < w.nodes; n++) {
        w.node_counts[n][0] = nodes[n].connections, w.node_counts[n][1] = nodes[n].requests;
        w.conntrack_peak[n] = nodes[n].conntrack_peak;
        w.node_busy_s[n] = nodes[n].busy_s;
    }
    for (int p = 0; p < w.pods; p++) {
        w.pod_counts[p][0] = pods[p].connections, w.pod_counts[p][1] = pods[p].requests;
        w.pod_busy_s[p] = pods[p].busy_s;
    }
}

/* Run to the end of arrivals, then second by second until no request is open, as the engine does. */
void floor_run(Floor *question) {
    w = *question;
    set_up();
    double end_s = w.duration_s, last_s = end_s + w.drain_s;
    advance(end_s);
    while (open_requests && end_s < last_s) {
        end_s = end_s + 1.0 < last_s ? end_s + 1.0 : last_s;
        advance(end_s);
    }
    report();
    *question = w;
    drop_heap();
    free(clients), free(requests), free(connections), free(flights), free(nodes), free(pods);
    free(cpu_free_s), free(work_free_s);
}
