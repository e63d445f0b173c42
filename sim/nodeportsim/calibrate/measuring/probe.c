/* Times connections or requests between two network namespaces, in one thread.
 *
 * On veth without packet steering the whole way of a SYN, its answer and the last ACK runs on the caller's
 * CPU inside connect(): nothing sleeps, so what is timed is CPU time of the path and no scheduler's delay.
 * PythonTimer in timer.py does the same; both print nothing and leave the arithmetic to timer.py.
 *
 * Output: three doubles (elapsed, user, system seconds), then per connection or request three uint32:
 * connect and cycle in ns, and the address that accepted (0 for requests).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, MOST_FAILURES = 20 };

struct row { uint32_t connect_ns, cycle_ns, address; };

struct plan {
    int requests;                     /* requests on one connection, or connections */
    struct sockaddr_in to, from;
    uint32_t sources, first_port, count, warm, batch, cold_mib;
    int listener, netfilter;
};

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void enter(const char *path) {
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (namespace < 0 || setns(namespace, CLONE_NEWNET)) fail(path);
    close(namespace);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec * 1e-6; }

/* Forgets every connection: closed ones live on for 10 s and would fill the table. */
static void flush(int netfilter) {
    struct { struct nlmsghdr head; struct nfgenmsg body; } message = {
        {sizeof message, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
        {AF_INET, NFNETLINK_V0, 0}};
    char answer[512];
    if (send(netfilter, &message, sizeof message, 0) < 0 || recv(netfilter, answer, sizeof answer, 0) < 0)
        fail("cannot flush connections");
}

static int listen_at(int port) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&any, sizeof any) || listen(listener, 4096)) fail("cannot listen");
    return listener;
}

/* A socket bound to the next source: ports in order, so that none returns within 10 s. */
static int open_from(const struct plan *p, uint32_t number) {
    int one = 1, opened = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in from = p->from;
    from.sin_addr.s_addr = htonl(ntohl(from.sin_addr.s_addr) + number % p->sources);
    from.sin_port = htons(1024 + (p->first_port + number) % 64000);
    setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(opened, (void *)&from, sizeof from)) fail("cannot bind");
    return opened;
}

static void reset(int opened) {
    struct linger now = {1, 0};
    setsockopt(opened, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(opened);
}

/* Reads other memory, so that the caches hold no rules. */
static void cool(const char *memory, size_t bytes) {
    static volatile unsigned long sink;
    unsigned long sum = 0;
    for (size_t at = 0; at < bytes; at += 64) sum += memory[at];
    sink += sum;
}

static uint32_t accepted_at(int opened) {
    struct sockaddr_in here;
    socklen_t size = sizeof here;
    return getsockname(opened, (void *)&here, &size) ? 0 : ntohl(here.sin_addr.s_addr);
}

static struct row one_connection(const struct plan *p, uint32_t number, const char *memory) {
    struct row row = {0, 0, 0};
    static int failures;
    int here, there;
    for (;;) {
        here = open_from(p, number);
        if (memory) cool(memory, (size_t)p->cold_mib << 20);
        uint64_t begun = now_ns();
        int refused = connect(here, (const void *)&p->to, sizeof p->to);
        row.connect_ns = now_ns() - begun;
        if (!refused) {
            there = accept(p->listener, 0, 0);
            uint64_t pause = now_ns();
            row.address = accepted_at(there);
            pause = now_ns() - pause;
            reset(here);
            reset(there);
            row.cycle_ns = now_ns() - begun - pause;
            return row;
        }
        if (++failures > MOST_FAILURES) fail("connect");
        close(here);
    }
}

static void connections(const struct plan *p, struct row *rows) {
    char *memory = p->cold_mib ? malloc((size_t)p->cold_mib << 20) : 0;
    if (memory) memset(memory, 1, (size_t)p->cold_mib << 20);
    uint64_t flushing = 0, begun = 0;
    struct rusage before, after;
    for (uint32_t i = 0; i < p->warm + p->count; i++) {
        if (i % p->batch == 0) {
            uint64_t pause = now_ns();
            flush(p->netfilter);
            flushing += now_ns() - pause;
        }
        if (i == p->warm) {
            getrusage(RUSAGE_SELF, &before);
            begun = now_ns();
            flushing = 0;
        }
        struct row row = one_connection(p, i, memory);
        if (i >= p->warm) rows[i - p->warm] = row;
    }
    double totals[3] = {(now_ns() - begun - flushing) * 1e-9};
    getrusage(RUSAGE_SELF, &after);
    totals[1] = seconds(after.ru_utime) - seconds(before.ru_utime);
    totals[2] = seconds(after.ru_stime) - seconds(before.ru_stime);
    fwrite(totals, sizeof totals, 1, stdout);
}

static void pass(int from, int to) {
    char message[MESSAGE] = {0};
    if (write(from, message, MESSAGE) != MESSAGE || recv(to, message, MESSAGE, MSG_WAITALL) != MESSAGE)
        fail("request");
}

static void requests(const struct plan *p, struct row *rows) {
    int one = 1, here = open_from(p, 0), there;
    if (connect(here, (const void *)&p->to, sizeof p->to)) fail("connect");
    there = accept(p->listener, 0, 0);
    setsockopt(here, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(there, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    uint64_t begun = 0;
    for (uint32_t i = 0; i < p->warm + p->count; i++) {
        uint64_t sent = now_ns();
        if (i == p->warm) begun = sent;
        pass(here, there);
        pass(there, here);
        if (i >= p->warm) rows[i - p->warm] = (struct row){0, now_ns() - sent, 0};
    }
    double totals[3] = {(now_ns() - begun) * 1e-9};
    fwrite(totals, sizeof totals, 1, stdout);
    reset(here);
    reset(there);
}

int main(int given, char **word) {
    if (given != 15) {
        fprintf(stderr, "to be called by timer.py\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct plan p = {
        .requests = !strcmp(word[1], "requests"),
        .to = {.sin_family = AF_INET, .sin_port = htons(atoi(word[6]))},
        .from = {.sin_family = AF_INET},
        .sources = atoi(word[8]), .first_port = atoi(word[9]), .count = atoi(word[10]),
        .warm = atoi(word[11]), .batch = atoi(word[12]), .cold_mib = atoi(word[13])};
    inet_pton(AF_INET, word[5], &p.to.sin_addr);
    inet_pton(AF_INET, word[7], &p.from.sin_addr);
    enter(word[4]);
    p.netfilter = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    if (p.netfilter < 0) fail("cannot speak to netfilter");
    enter(word[3]);
    p.listener = listen_at(atoi(word[14]));
    enter(word[2]);
    struct row *rows = calloc(p.count, sizeof *rows);
    if (!rows) fail("memory");
    (p.requests ? requests : connections)(&p, rows);
    fwrite(rows, sizeof *rows, p.count, stdout);
    return fflush(stdout) ? 1 : 0;
}
