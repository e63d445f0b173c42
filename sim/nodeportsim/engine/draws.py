"""Random numbers addressed by who draws and why, never by the order of drawing.

Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405) is a keyed mixing of a 128-bit
counter. Key: (seed, replication). Counter: (purpose, entity, number, attempt). So two variants of
one scenario share arrivals and demands, and a new component moves nobody's draws.

Logarithm, exponential and inverse normal use only + - * / and exact scaling: the C libraries'
versions differ in the last bit from machine to machine, and results must not.
Everything here is in the step dialect (ARCHITECTURE.md): the file is loaded twice.
"""

from __future__ import annotations

from math import frexp, ldexp, sqrt

from .machine import rare, step

LOW = 0xFFFFFFFF

# Purposes: who draws, and what for. One table; a number is never reused.
ARRIVAL = 1  # (client, request number): gap to the next arrival, demand
ATTEMPT = 2  # (client, request number, attempt): entry node, endpoint, core there, core at the pod's node
BACKOFF = 3  # (client, request number, attempt): jitter of the wait after it
THINK = 4  # (client, request number): think time
JITTER = 5  # (client, request number, attempt * 256 + hop): loss, extra delay
POOL = 6  # (client, request number): which idle connection
CHOICE = 7  # (client, request number, attempt): a custom policy's choice of an entry node
SPREAD = 8  # (client, request number, attempt * 256 + visit): what a first packet costs over its price
HEDGE = 26  # (client, request number, attempt): the work of a copy
PORT = 29  # (client, request number, attempt): where the search for a free source port begins
SNAT = 30  # (client, request number, attempt * 256 + 8 * SYN + round): ... for a port to masquerade with
LEASE = 16  # (node): phase of the lease renewals
MONITOR = 17  # (): phase of the controller's passes
POSITION = 18  # (node, sync): place of the Service in KUBE-NODEPORTS and KUBE-SERVICES
RELIST = 19  # (pod, happening): phase of the kubelet's relist and of the probe
CHECK = 20  # (node, check): which endpoint a balancer's check meets
TURN = 21  # (node, sync): where an ipvs round robin starts
WATCH = 22  # (node, time it is told): how long the watch takes to tell kube-proxy
PRICE = 23  # (hash of a price's name, in two words, attempt): what the price is in this replication
IDEMPOTENT = 24  # (client, request number): whether the request may be sent twice
RESOLVER = 25  # (client): whether its resolver heeds the TTL
ERROR = 27  # (client, request number, attempt): whether the application answers with an error
SCHEDULE = 31  # (clock, cycle, event): time until a random fault, and until its repair
LIFE = 32  # (pod, event << 16 | crash): which pod is deleted first (0), phase of the relist after a crash

EXPONENTIAL, CONSTANT, LOGNORMAL, UNIFORM = range(4)

# AS 241, PPND16: coefficients in rising order.
CENTRE_TOP = (
    3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
    45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727,
)  # fmt: skip
CENTRE_LOW = (
    1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
    21213.794301586595867, 39307.895800092710610, 28729.085735721942674, 5226.4952788528545610,
)  # fmt: skip
MIDDLE_TOP = (
    1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
    1.27045825245236838258, 0.241780725177450611770, 0.0227238449892691845833, 7.74545014278341407640e-4,
)  # fmt: skip
MIDDLE_LOW = (
    1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
    0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
)  # fmt: skip
TAIL_TOP = (
    6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 0.296560571828504891230,
    0.0265321895265761230930, 1.24266094738807843860e-3, 2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)  # fmt: skip
TAIL_LOW = (
    1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
    7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)  # fmt: skip


@step
def philox(key0: int, key1: int, c0: int, c1: int, c2: int, c3: int) -> tuple[int, int, int, int]:
    """Mix a counter under a key: four 32-bit words (Philox4x32-10)."""
    x0, x1, x2, x3 = c0 & LOW, c1 & LOW, c2 & LOW, c3 & LOW
    k0, k1 = key0 & LOW, key1 & LOW
    for _ in range(10):
        p0 = 0xD2511F53 * x0
        p1 = 0xCD9E8D57 * x2
        x0, x1 = ((p1 >> 32) & LOW) ^ x1 ^ k0, p1 & LOW
        x2, x3 = ((p0 >> 32) & LOW) ^ x3 ^ k1, p0 & LOW
        k0 = (k0 + 0x9E3779B9) & LOW
        k1 = (k1 + 0xBB67AE85) & LOW
    return x0, x1, x2, x3


@step
def uniform2(
    key0: int, key1: int, purpose: int, entity: int, number: int, attempt: int
) -> tuple[float, float]:
    """Two uniforms of 52 bits, strictly inside (0, 1)."""
    a, b, c, d = philox(key0, key1, purpose, entity, number, attempt)
    return (
        ((a >> 6) * 67108864.0 + (b >> 6) + 0.5) * 2.0**-52,
        ((c >> 6) * 67108864.0 + (d >> 6) + 0.5) * 2.0**-52,
    )


@step
def uniform4(
    key0: int, key1: int, purpose: int, entity: int, number: int, attempt: int
) -> tuple[float, float, float, float]:
    """Four uniforms of 32 bits, strictly inside (0, 1): enough for choices among few."""
    a, b, c, d = philox(key0, key1, purpose, entity, number, attempt)
    return (a + 0.5) * 2.0**-32, (b + 0.5) * 2.0**-32, (c + 0.5) * 2.0**-32, (d + 0.5) * 2.0**-32


@step
def log(x: float) -> float:
    """Natural logarithm of x > 0, within 1 ulp (fdlibm e_log.c: argument reduction and minimax)."""
    m, e = frexp(x)
    if m < 0.7071067811865476:
        m = m * 2.0
        e = e - 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    q = z * z
    t1 = q * (0.3999999999940941908 + q * (0.2222219843214978396 + q * 0.1531383769920937332))
    t2 = z * (
        0.6666666666666735130
        + q * (0.2857142874366239149 + q * (0.1818357216161805012 + q * 0.1479819860511658591))
    )
    half = 0.5 * f * f
    return e * 6.93147180369123816490e-01 - (
        (half - (s * (half + t1 + t2) + e * 1.90821492927058770002e-10)) - f
    )


@rare
def exp(x: float) -> float:
    """Exponential for |x| < 700, within 1 ulp (fdlibm e_exp.c)."""
    k = int(x * 1.44269504088896338700 + (0.5 if x >= 0.0 else -0.5))
    hi = x - k * 6.93147180369123816490e-01
    lo = k * 1.90821492927058770002e-10
    r = hi - lo
    z = r * r
    c = r - z * (
        0.166666666666666019
        + z
        * (
            -2.77777777770155933842e-03
            + z
            * (
                6.61375632143793436117e-05
                + z * (-1.65339022054652515390e-06 + z * 4.13813679705723846039e-08)
            )
        )
    )
    return ldexp(1.0 - ((lo - (r * c) / (2.0 - c)) - hi), k)


@rare
def normal(u: float) -> float:
    """Inverse of the standard normal distribution (Wichura 1988, AS 241, doi:10.2307/2347330)."""
    q = u - 0.5
    if abs(q) <= 0.425:
        return q * _ratio8(0.180625 - q * q, CENTRE_TOP, CENTRE_LOW)
    r = sqrt(-log(u if q < 0.0 else 1.0 - u))
    x = _ratio8(r - 1.6, MIDDLE_TOP, MIDDLE_LOW) if r <= 5.0 else _ratio8(r - 5.0, TAIL_TOP, TAIL_LOW)
    return -x if q < 0.0 else x


@rare
def _ratio8(
    r: float,
    a: tuple[float, float, float, float, float, float, float, float],
    b: tuple[float, float, float, float, float, float, float, float],
) -> float:
    """Quotient of two polynomials of degree seven, coefficients in rising order."""
    top = ((((((a[7] * r + a[6]) * r + a[5]) * r + a[4]) * r + a[3]) * r + a[2]) * r + a[1]) * r + a[0]
    low = ((((((b[7] * r + b[6]) * r + b[5]) * r + b[4]) * r + b[3]) * r + b[2]) * r + b[1]) * r + b[0]
    return top / low


@step
def draw_law(law: int, mean: float, sigma: float, u: float) -> float:
    """Turn a uniform into a time: `sigma` is the log-normal's, 0 elsewhere."""
    if law == EXPONENTIAL:
        return -log(u) * mean
    if law == CONSTANT:
        return mean
    if law == LOGNORMAL:
        return mean * exp(sigma * normal(u) - 0.5 * sigma * sigma)
    return 2.0 * mean * u
