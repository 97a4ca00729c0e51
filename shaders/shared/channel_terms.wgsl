// The N H W values of each channel of x [N,C,H,W], cut into parts of `chunk` terms: one workgroup a part, whose threads
// take terms THREADS apart. A shader that imports this has params that begin with `struct ChannelTerms`.
#import groups

const THREADS: u32 = 64u;

struct ChannelTerms {
    terms: u32, // N H W
    channels: u32, // C
    plane: u32, // H W
    parts: u32, // of a channel
    groups: u32, // C parts
    chunk: u32,
    // THREADS = step_n plane + step_p
    step_n: u32,
    step_p: u32,
    // The samples in the order in which they are added.
    order: array<u32>,
}

struct Term {
    n: u32,
    p: u32,
    left: u32, // terms of this thread, this one counted
}

// Terms of a part.
fn part_len(part: u32) -> u32 {
    return min(params.chunk, params.terms - part % params.parts * params.chunk);
}

fn first_term(part: u32, thread: u32) -> Term {
    let j = part % params.parts * params.chunk + thread;
    let n = j / params.plane;
    let len = part_len(part);
    return Term(n, j - n * params.plane, (max(len, thread) - thread + THREADS - 1u) / THREADS);
}

fn next_term(term: Term) -> Term {
    var next = Term(term.n + params.step_n, term.p + params.step_p, term.left - 1u);
    if (next.p >= params.plane) {
        next.p -= params.plane;
        next.n += 1u;
    }
    return next;
}

// Index of a term in x.
fn place(part: u32, term: Term) -> u32 {
    return (params.order[term.n] * params.channels + part / params.parts) * params.plane + term.p;
}
