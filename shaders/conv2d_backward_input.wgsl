// gx[n,c,h,w] = sum over o,kh,kw of weight[o,c,kh,kw] gy[n,o,oh,ow]
//   where oh SH = h + PH - kh DH and ow SW = w + PW - kw DW have a solution inside of gy
// gy [N,O,OH,OW], weight [O,C/G,KH,KW], gx [N,C,H,W]; o and c of one group.
//
// With h = i SH + a, where a is the phase, only kh = kh0 + u SH / D with D = gcd(SH, DH) solve the first equation, and
// oh = i + (a + PH - kh0 DH) / SH - u DH / D: the sum of convolve.
#import types
#import convolve

@group(0) @binding(2) var<storage, read_write> gx: array<T>;
@group(0) @binding(3) var<storage, read> params: Params;

const A_ALONG_K: bool = false;

fn initial(_channel: u32) -> f32 {
    return 0.0;
}

fn written(index: u32) -> f32 {
    return f32(gx[index]);
}

fn write(index: u32, value: f32) {
    gx[index] = T(value);
}
