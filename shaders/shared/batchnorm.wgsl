// Batch normalisation: the type P of weight, bias and running statistics, and S, that of the statistics in use:
// those of the batch (mean, 1 / sqrt(var + eps)), or with INFERENCE the running ones (mean, var).
#import types

#ifdef WIDE_PARAMETERS
alias P = f32;
#else
alias P = T;
#endif

#ifdef INFERENCE
alias S = P;

fn inverse_std(spread: f32, eps: f32) -> f32 {
    return 1.0 / sqrt(spread + eps);
}
#else
alias S = f32;

fn inverse_std(spread: f32, eps: f32) -> f32 {
    return spread;
}
#endif
