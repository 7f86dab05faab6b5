//! What tells one request from another.

/// A request's id, for the log and the answer's `x-hermes-request-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct RequestId(u64);

impl RequestId {
    pub(in crate::proxy) fn draw() -> Self {
        Self(fastrand::u64(..))
    }

    /// The id as 16 hexadecimal digits.
    pub(in crate::proxy) fn digits(self) -> [u8; 16] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 16];
        for (index, digit) in digits.iter_mut().enumerate() {
            let nibble = usize::try_from(self.0 >> (60 - 4 * index) & 15).unwrap_or_default();
            *digit = HEX.get(nibble).copied().unwrap_or(b'0');
        }
        digits
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
