//! Rounding to nearest even, subnormals kept, whatever the host program has set.

/// Gives the calling thread the default floating-point environment. A thread inherits that of its creator, and a C
/// program built with `-ffast-math` starts with subnormals flushed to zero, which would make them tie with 0.
#[allow(unsafe_code)]
pub(super) fn reset() {
    #[cfg(target_arch = "x86_64")]
    {
        const DEFAULT: u32 = 0x1f80;
        // SAFETY: loads a valid control word: all exceptions masked, nothing flushed.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &DEFAULT, options(readonly, nostack)) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: 0 is the default control word.
    unsafe {
        std::arch::asm!("msr fpcr, {}", in(reg) 0u64, options(nomem, nostack))
    };
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use crate::kink::MaxPoolKink;
    use crate::shape::Window2d;
    use crate::{DType, Engine, Tensor};

    #[test]
    #[allow(unsafe_code)]
    fn a_host_that_flushes_subnormals_changes_nothing() {
        // On a thread of its own, whose environment ends with it.
        let flushing = std::thread::spawn(|| {
            const FLUSH: u32 = 0x1f80 | 0x8040;
            // SAFETY: a valid control word: flush to zero, subnormals are zero.
            unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &FLUSH, options(readonly, nostack)) };
            let engine = Engine::cpu();
            let mut x = Tensor::zeros(DType::F32, &[1, 1, 2, 2]).unwrap();
            x.bytes_mut()[4..8].copy_from_slice(&0x10000u32.to_ne_bytes());
            let mut y = Tensor::zeros(DType::F32, &[1, 1, 1, 1]).unwrap();
            let mut ties = [0];
            let window = Window2d::new(2, 2, 0);
            let kink = MaxPoolKink::default();
            engine.maxpool2d_forward(x.view(), window, kink, y.view_mut(), &mut ties[..]).unwrap();
            (y.bytes().to_vec(), ties)
        });
        assert_eq!(flushing.join().unwrap(), (0x10000u32.to_ne_bytes().to_vec(), [0b10]));
    }
}
