// gweight[o,c,kh,kw] = sum over n,oh,ow of gy[n,o,oh,ow] x[n,c, oh SH - PH + kh DH, ow SW - PW + kw DW]
// gbias[o] = sum over n,oh,ow of gy[n,o,oh,ow]; n runs through `order`
// x [N,C,H,W], gy [N,O,OH,OW]; o and c of one group of channels.
//
// For each group, the sum over k = n,oh,ow is cut into parts of `chunk` terms, each a matrix of partial
// [parts, len] (f32), which conv2d_backward_weight_reduce adds in order: O C/G KH KW elements of gweight, then with
// ROW_SUMS the O of gbias.
//
// A workgroup computes a tile of gemm for one kernel element, so that its columns are c. With NARROW, for few channels,
// it computes 8 x 8 elements, of which the columns are c,kh,kw; each thread adds every 64th term.
#import types
#ifdef NARROW
#import groups
#import block
const THREADS: u32 = 64u;
const ROW_STEP: u32 = 1u;
const COLUMN_STEP: u32 = 1u;
const TILE_M: u32 = 8u;
const TILE_N: u32 = 8u;
const TERMS: u32 = 64u;
#else
#import gemm
const A_ALONG_K: bool = true;
const B_ALONG_K: bool = true;
const TILE_M: u32 = TILE;
const TILE_N: u32 = TILE;
const TERMS: u32 = 16u;
#endif

struct Params {
    groups: u32, // workgroups
    tiles_m: u32,
    tiles_n: u32,
    tiles_k: u32, // kernel elements that have workgroups of their own
    channel_groups: u32, // G
    rows: u32, // O / G
    columns: u32, // C/G, or C/G KH KW with NARROW
    len: u32,
    k: u32, // N OH OW
    chunk: u32, // a multiple of TERMS
    x_image: u32, // C H W
    x_group: u32, // C/G H W
    h: u32,
    w: u32,
    gy_image: u32, // O OH OW
    gy_group: u32, // O/G OH OW
    oh: u32,
    ow: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    padding_h: i32,
    padding_w: i32,
    dilation_h: i32,
    dilation_w: i32,
    // TERMS = step_n OH OW + step_h OW + step_w
    step_n: u32,
    step_h: u32,
    step_w: u32,
    order: array<u32>, // N
}

@group(0) @binding(0) var<storage, read> x: array<T>;
@group(0) @binding(1) var<storage, read> gy: array<T>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;
@group(0) @binding(3) var<storage, read> params: Params;

// What the workgroup computes.
var<private> part: u32;
var<private> channel_group: u32;
var<private> tap: u32;
// The term that this thread fetches next.
var<private> image: u32;
var<private> oh: u32;
var<private> ow: u32;

fn find_term(k: u32) {
    let pixels = params.oh * params.ow;
    image = k / pixels;
    let pixel = k - image * pixels;
    oh = pixel / params.ow;
    ow = pixel - oh * params.ow;
}

// TERMS further: each coordinate carries at most once.
fn next_term() {
    ow += params.step_w;
    if (ow >= params.ow) {
        ow -= params.ow;
        oh += 1u;
    }
    oh += params.step_h;
    if (oh >= params.oh) {
        oh -= params.oh;
        image += 1u;
    }
    image += params.step_n;
}

// Element of gy of the term's first channel, offset in x of the image's, and the place in it for kh = kw = 0.
struct Term {
    gy: u32,
    x: u32,
    top: i32,
    left: i32,
}

fn term() -> Term {
    let sample = params.order[image];
    return Term(
        sample * params.gy_image + channel_group * params.gy_group + oh * params.ow + ow,
        sample * params.x_image + channel_group * params.x_group,
        i32(oh * params.stride_h) - params.padding_h,
        i32(ow * params.stride_w) - params.padding_w,
    );
}

fn gy_rows(rows: vec4<u32>) -> vec4<u32> {
    return min(rows, vec4(params.rows - 1u)) * (params.oh * params.ow);
}

fn load_gy(i: vec4<u32>) -> vec4<f32> {
    return vec4(f32(gy[i.x]), f32(gy[i.y]), f32(gy[i.z]), f32(gy[i.w]));
}

fn load_x(i: vec4<u32>, inside: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(), vec4(f32(x[i.x]), f32(x[i.y]), f32(x[i.z]), f32(x[i.w])), inside);
}

// Where a row of the part begins in partial.
fn partial_row(row: u32) -> u32 {
    return part * params.len + (channel_group * params.rows + row) * (params.columns * params.tiles_k);
}

fn store(row: u32, even: vec4<f32>, odd: vec4<f32>) {
    store_group(row, 0u, even);
    store_group(row, 1u, odd);
}

fn store_group(row: u32, group: u32, values: vec4<f32>) {
    let r = first_row + row * ROW_STEP;
    if (r < params.rows) {
        let columns = params.columns;
        let taps = params.tiles_k;
        let begin = partial_row(r) + tap;
        for (var i = 0u; i < 4u; i += 1u) {
            let column = first_column + (2u * i + group) * COLUMN_STEP;
            if (column < columns) {
                partial[begin + column * taps] = values[i];
            }
        }
    }
}

#ifdef ROW_SUMS
fn store_row_sums(group: u32, values: vec4<f32>) {
    for (var i = 0u; i < 4u; i += 1u) {
        let r = first_row + (2u * i + group) * ROW_STEP;
        if (r < params.rows) {
            let weights = params.channel_groups * params.rows * (params.columns * params.tiles_k);
            partial[part * params.len + weights + channel_group * params.rows + r] = values[i];
        }
    }
}
#endif

#ifdef NARROW
var<workgroup> lanes: array<vec4<f32>, 8u * THREADS>;

// The sum over the workgroup of the eighth of the values whose number is thread / 8, in one fixed order; where
// thread % 8 is 0.
fn total(
    thread: u32,
    v0: vec4<f32>,
    v1: vec4<f32>,
    v2: vec4<f32>,
    v3: vec4<f32>,
    v4: vec4<f32>,
    v5: vec4<f32>,
    v6: vec4<f32>,
    v7: vec4<f32>,
) -> vec4<f32> {
    workgroupBarrier();
    lanes[thread] = v0;
    lanes[THREADS + thread] = v1;
    lanes[2u * THREADS + thread] = v2;
    lanes[3u * THREADS + thread] = v3;
    lanes[4u * THREADS + thread] = v4;
    lanes[5u * THREADS + thread] = v5;
    lanes[6u * THREADS + thread] = v6;
    lanes[7u * THREADS + thread] = v7;
    workgroupBarrier();
    let first = thread / 8u * THREADS;
    var s = vec4<f32>();
    for (var i = thread % 8u; i < THREADS; i += 8u) {
        s += lanes[first + i];
    }
    lanes[first + thread % 8u] = s;
    workgroupBarrier();
    s = lanes[first];
    for (var i = 1u; i < 8u; i += 1u) {
        s += lanes[first + i];
    }
    return s;
}

// Four columns: their offset in x from the place of kh = kw = 0, and their distance from it.
struct Columns {
    offset: vec4<u32>,
    h: vec4<i32>,
    w: vec4<i32>,
}

fn columns(column: vec4<u32>) -> Columns {
    let n = min(column, vec4(params.columns - 1u));
    let taps = params.kernel_h * params.kernel_w;
    let c = n / taps;
    let tap = n - c * taps;
    let kh = tap / params.kernel_w;
    let h = vec4<i32>(kh) * params.dilation_h;
    let w = vec4<i32>(tap - kh * params.kernel_w) * params.dilation_w;
    return Columns(c * params.h * params.w + vec4<u32>(h) * params.w + vec4<u32>(w), h, w);
}

fn gather(at: Term, c: Columns) -> vec4<f32> {
    let inside = (vec4<u32>(at.top + c.h) < vec4(params.h)) & (vec4<u32>(at.left + c.w) < vec4(params.w));
    let i = u32(at.top) * params.w + u32(at.left) + c.offset;
    return load_x(at.x + select(vec4<u32>(), i, inside), inside);
}

fn sum_part(thread: u32, begin: u32, end: u32) {
    let rows0 = gy_rows(first_row + vec4(0u, 2u, 4u, 6u));
    let rows1 = gy_rows(first_row + vec4(1u, 3u, 5u, 7u));
    let columns0 = columns(first_column + vec4(0u, 2u, 4u, 6u));
    let columns1 = columns(first_column + vec4(1u, 3u, 5u, 7u));
    find_term(begin + thread);
    for (var k = begin + thread; k < end; k += TERMS) {
        let at = term();
        accumulate(load_gy(at.gy + rows0), load_gy(at.gy + rows1), gather(at, columns0), gather(at, columns1));
        next_term();
    }
    let group = thread / 8u;
    let even = total(thread, sum[0], sum[1], sum[2], sum[3], sum[4], sum[5], sum[6], sum[7]);
    let odd = total(thread, sum[8], sum[9], sum[10], sum[11], sum[12], sum[13], sum[14], sum[15]);
    if (thread % 8u == 0u) {
        store_group(group / 2u * 2u, group % 2u, even);
        store_group(group / 2u * 2u + 1u, group % 2u, odd);
    }
#ifdef ROW_SUMS
    let zero = vec4<f32>();
    let sums = total(thread, row_sum[0], row_sum[1], zero, zero, zero, zero, zero, zero);
    if (first_column == 0u && (thread == 0u || thread == 8u)) {
        store_row_sums(group, sums);
    }
#endif
}
#else
// The term that this thread stages: elements of gy and x of its first channels, and whether x has it.
var<private> staged_gy: u32;
var<private> staged_x: u32;
var<private> staged_inside: bool;

fn load_a(rows: vec4<u32>, _k: u32) -> vec4<f32> {
    return load_gy(staged_gy + gy_rows(rows));
}

fn load_b(columns: vec4<u32>, _k: u32) -> vec4<f32> {
    let c = min(columns, vec4(params.columns - 1u));
    return load_x(staged_x + c * (params.h * params.w), vec4(staged_inside));
}

fn sum_part(thread: u32, begin: u32, end: u32) {
    let kh = tap / params.kernel_w;
    let down = i32(kh) * params.dilation_h;
    let right = i32(tap - kh * params.kernel_w) * params.dilation_w;
    find_term(begin + thread % TERMS);
    for (var k0 = begin; k0 < end; k0 += TERMS) {
        if (k0 + thread % TERMS < end) {
            let at = term();
            let h = u32(at.top + down);
            let w = u32(at.left + right);
            staged_gy = at.gy;
            staged_inside = h < params.h && w < params.w;
            staged_x = at.x + select(0u, h * params.w + w, staged_inside);
        }
        multiply(thread, k0, end);
        next_term();
    }
    find_block(thread);
    store_block();
#ifdef ROW_SUMS
    if (first_column == 0u && tap == 0u) {
        store_row_sums(0u, row_sum[0]);
        store_row_sums(1u, row_sum[1]);
    }
#endif
}
#endif

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group_index(group, groups);
    if (index >= params.groups) {
        return;
    }
    var rest = index / params.tiles_m;
    let row = (index - rest * params.tiles_m) * TILE_M;
    let column = rest % params.tiles_n * TILE_N;
    rest /= params.tiles_n;
    tap = rest % params.tiles_k;
    rest /= params.tiles_k;
    channel_group = rest % params.channel_groups;
    let number = rest / params.channel_groups;
    let begin = number * params.chunk;
    part = number;
#ifdef NARROW
    first_row = row;
    first_column = column;
#else
    row0 = row;
    column0 = column;
#endif
    sum_part(thread, begin, min(begin + params.chunk, params.k));
}
