//! Counts the bytes that an engine holds.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in use and the most that were.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Meter {
    pub fn grow(&self, bytes: usize) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    pub fn shrink(&self, bytes: usize) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn read(&self) -> MemoryUse {
        let [bytes, peak] = [&self.now, &self.peak].map(|v| v.load(Ordering::Relaxed));
        MemoryUse { bytes, peak }
    }
}

/// What an engine holds for all its networks and calls, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// Now.
    pub bytes: usize,
    /// The most so far.
    pub peak: usize,
}
