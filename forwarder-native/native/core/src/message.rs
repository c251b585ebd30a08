//! Netlink framing: messages, attributes and nests, written and read with every length checked.

use libc::{nlattr, nlmsghdr};
use std::mem::size_of;

const HEADER: usize = size_of::<nlmsghdr>();
const ATTRIBUTE: usize = size_of::<nlattr>();
const NESTED: u16 = libc::NLA_F_NESTED as u16;

fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// One request, being written.
pub struct Message {
    bytes: Vec<u8>,
}

/// Where a nest began.
pub struct Nest(usize);

impl Message {
    /// A request of this type; `NLM_F_REQUEST` is always set.
    pub fn new(kind: u16, flags: i32) -> Message {
        let mut bytes = Vec::with_capacity(192);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Message { bytes }
    }

    /// The fixed part that follows the header, as its bytes.
    pub fn body(mut self, bytes: &[u8]) -> Message {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(aligned(self.bytes.len()), 0);
        self
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// A text with the zero byte that the kernel wants.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes);
    }

    pub fn nest(&mut self, kind: u16) -> Nest {
        let at = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        Nest(at)
    }

    /// Bytes in the middle of a nest that are no attribute (veth's inner ifinfomsg).
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    pub fn end(&mut self, nest: Nest) {
        let length = (self.bytes.len() - nest.0) as u16;
        self.bytes[nest.0..nest.0 + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// The finished bytes, with length, sequence number and, when asked for, an acknowledgement.
    pub fn finish(mut self, sequence: u32, acknowledged: bool) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        if acknowledged {
            let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | libc::NLM_F_ACK as u16;
            self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    pub fn kind(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[4], self.bytes[5]])
    }
}

/// One message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages of one datagram; ends at the first that does not fit.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        if length < HEADER || length > bytes.len() {
            return None;
        }
        let (this, rest) = bytes.split_at(length);
        bytes = rest.get(aligned(length) - length..).unwrap_or_default();
        Some(Received {
            kind: u16_at(this, 4)?,
            flags: u16_at(this, 6)?,
            sequence: u32_at(this, 8)?,
            payload: &this[HEADER..],
        })
    })
}

/// The attributes in a stretch of bytes, by type without flags; ends at the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        if length < ATTRIBUTE || length > bytes.len() {
            return None;
        }
        let (this, rest) = bytes.split_at(length);
        bytes = rest.get(aligned(length) - length..).unwrap_or_default();
        let kind = u16_at(this, 2)? & libc::NLA_TYPE_MASK as u16;
        Some((kind, &this[ATTRIBUTE..]))
    })
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A text that may or may not end with a zero byte.
pub fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut message = Message::new(16, libc::NLM_F_CREATE).body(&[1, 2, 3, 4]);
        message.text(3, "nsm-1");
        let nest = message.nest(18);
        message.u32(1, 7);
        message.end(nest);
        let bytes = message.finish(9, true);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].sequence), (16, 9));
        assert_eq!(all[0].flags, (libc::NLM_F_CREATE | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16);
        let found: Vec<_> = attributes(&all[0].payload[4..]).collect();
        assert_eq!(found[0], (3, &b"nsm-1\0"[..]));
        assert_eq!(found[1].0, 18);
        assert_eq!(attributes(found[1].1).collect::<Vec<_>>(), [(1, &7_u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn cut_or_lying_lengths_end_the_reading() {
        let bytes = Message::new(16, 0).body(&[0; 16]).finish(1, false);
        for cut in 0..bytes.len() {
            assert_eq!(messages(&bytes[..cut]).count(), 0);
        }
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[255, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[5, 0, 1, 0, 9]).count(), 1);
        assert_eq!(messages(&[0; 64]).count(), 0);
    }
}
