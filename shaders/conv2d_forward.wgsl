// y[n,o,oh,ow] = bias[o] + sum over c,kh,kw of weight[o,c,kh,kw] x[n,c, oh SH - PH + kh DH, ow SW - PW + kw DW]
//   where x has that element
// x [N,C,H,W], weight [O,C/G,KH,KW], bias [O], y [N,O,OH,OW]; o and c of one group.
#import types
#import convolve

#ifdef BIAS
@group(0) @binding(2) var<storage, read> bias: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
@group(0) @binding(4) var<storage, read> params: Params;
#else
@group(0) @binding(2) var<storage, read_write> y: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;
#endif

const A_ALONG_K: bool = true;

fn initial(channel: u32) -> f32 {
#ifdef BIAS
    return f32(bias[channel]);
#else
    return 0.0;
#endif
}

fn written(index: u32) -> f32 {
    return f32(y[index]);
}

fn write(index: u32, value: f32) {
    y[index] = T(value);
}
