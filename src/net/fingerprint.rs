//! A number for the bits of a network.

use super::network::Network;
use crate::error::Result;
use crate::tensor::Tensor;

/// FNV-1a in 64 bits, which is the same everywhere.
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub fn new() -> Fingerprint {
        Fingerprint(0xcbf2_9ce4_8422_2325)
    }

    /// Takes the bits of a tensor.
    pub fn add(&mut self, tensor: &Tensor) {
        for byte in tensor.bytes() {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub fn value(&self) -> u64 {
        self.0
    }
}

impl Network {
    /// A hash of the bits of all parameters and running statistics: two networks of one graph and precision that differ in
    /// a single bit have, but for chance, different ones. The same on every machine.
    pub fn fingerprint(&mut self) -> Result<u64> {
        let mut fingerprint = Fingerprint::new();
        for index in 0..self.tensors.len() {
            fingerprint.add(&self.read_value(index)?);
        }
        Ok(fingerprint.value())
    }
}
