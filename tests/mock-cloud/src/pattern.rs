//! Bodies that both sides can compute, to compare proxied answers with.

use bytes::Bytes;

/// The bytes of `/v1/bytes?size=N&seed=S`.
///
/// Eight bytes at a time, little endian: the `SplitMix64` sequence that starts at `seed`.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut generator = Noise::new(seed, size);
    let mut all = Vec::with_capacity(size);
    while let Some(part) = generator.next(64 * 1024) {
        all.extend_from_slice(&part);
    }
    all
}

/// The bytes of `/v1/sse?events=N`, however they are cut: data events with text of two and
/// three byte characters, a comment before every eighth one, and `[DONE]`.
pub fn sse(events: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for index in 0..events {
        all.extend_from_slice(sse_event(index).as_bytes());
    }
    all.extend_from_slice(DONE.as_bytes());
    all
}

/// The content of a chat answer to a last user message.
pub fn reply_to(user: &str) -> String {
    format!("Hello from the mock cloud: {user}")
}

/// The vector of `/v1/embeddings` for an input: numbers between -1 and 1.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "any number will do"
)]
pub fn embedding(input: &str, dimensions: usize) -> Vec<f32> {
    let mut state = fnv(input.as_bytes());
    (0..dimensions)
        .map(|_| ((split_mix(&mut state) >> 40) as f32 / f64::from(1 << 23) as f32) - 1.0)
        .collect()
}

/// A gzip file whose contents are stored, not compressed (RFC 1951 §3.2.4, RFC 1952).
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = data.chunks(usize::from(u16::MAX)).peekable();
    if blocks.peek().is_none() {
        file.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        file.push(u8::from(blocks.peek().is_none()));
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(&(!length).to_le_bytes());
        file.extend_from_slice(block);
    }
    file.extend_from_slice(&crc32(data).to_le_bytes());
    let size = u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    file.extend_from_slice(&size.to_le_bytes());
    file
}

pub(crate) const DONE: &str = "data: [DONE]\n\n";

pub(crate) fn sse_event(index: usize) -> String {
    let comment = if index % 8 == 7 {
        ": keep-alive\n\n"
    } else {
        ""
    };
    format!("{comment}data: {{\"index\":{index},\"text\":\"größe {index} ✓\"}}\n\n")
}

/// FNV-1a.
pub(crate) fn fnv(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The generator behind [`noise`], part by part.
#[derive(Debug)]
pub(crate) struct Noise {
    state: u64,
    spare: Vec<u8>,
    left: usize,
}

impl Noise {
    pub(crate) fn new(seed: u64, size: usize) -> Self {
        Self {
            state: seed,
            spare: Vec::new(),
            left: size,
        }
    }

    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// At most `most` bytes; `None` at the end.
    pub(crate) fn next(&mut self, most: usize) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let size = most.min(self.left).max(1);
        let mut part = std::mem::take(&mut self.spare);
        while part.len() < size {
            part.extend_from_slice(&split_mix(&mut self.state).to_le_bytes());
        }
        self.spare = part.split_off(size);
        self.left -= size;
        Some(part.into())
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = (crc & 1).wrapping_neg();
            crc = (crc >> 1) ^ (0xedb8_8320 & mask);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_does_not_depend_on_the_cut() {
        let whole = noise(7, 1000);
        let mut generator = Noise::new(7, 1000);
        let mut parts = Vec::new();
        while let Some(part) = generator.next(3) {
            parts.extend_from_slice(&part);
        }
        assert_eq!(whole, parts);
        assert_eq!(whole.len(), 1000);
    }

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
