// Tie sets. A shader that imports this has their words in `ties`, and params with
//   share: 2^share windows in a word: 2, 1 or 0
//   words: words of a window, 1 where windows share one

// The bit for NaN, in the last word of a set.
fn nan_bit() -> u32 {
    return 1u << ((32u >> params.share) - 1u);
}

// One word of the set of a window, the bit for NaN included.
fn set_word(window: u32, word: u32) -> u32 {
    let bits = 32u >> params.share;
    let shift = (window & ((1u << params.share) - 1u)) * bits;
    return (ties[(window >> params.share) * params.words + word] >> shift) & (0xffffffffu >> (32u - bits));
}

fn holds_nan(window: u32) -> bool {
    return (set_word(window, params.words - 1u) & nan_bit()) != 0u;
}

// One word of the set, without the bit for NaN.
fn member_word(window: u32, word: u32) -> u32 {
    let members = set_word(window, word);
    return select(members, members & ~nan_bit(), word + 1u == params.words);
}
